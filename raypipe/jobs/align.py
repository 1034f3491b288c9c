"""Which metric chooses what people choose? Human choices × scores → each metric's accuracy."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.storage.directory import RunDirectory
from raypipe.studies.align.settings import Align


def align(job: Job[Align, RunDirectory]) -> None:
    from raypipe.inputs.scores import read_scores
    from raypipe.report import sheet
    from raypipe.studies.align import page, results

    config = job.config
    scored = read_scores(config.run, config.metrics)
    decided = results.read_pairs(config, scored)
    if job.dry_run:
        message(results.describe(config, scored, decided))
        return

    job.begin()
    found = results.results(config, scored, decided)
    job.finish(
        found,
        results.manifest(config, found),
        partial(sheet.render, page.sheet(found)),
        page.summary(found),
    )


JOB = Recipe(__doc__, Align, RunDirectory, align)
