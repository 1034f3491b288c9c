"""Fine-tune ImageReward to tell good faces from bad ones: pairs → Face Score, and how often it is
right on photos that it has not seen."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.storage.directory import RunDirectory
from raypipe.studies.face_score.settings import FaceScore


def face_score(job: Job[FaceScore, RunDirectory]) -> None:
    from raypipe.inputs import runs
    from raypipe.models.reward.layout import check_reward
    from raypipe.studies.face_score import data
    from raypipe.weights.locate import fingerprint, locate

    config, run = job.config, job.run
    check_reward(config.start, None, "start")
    fingerprint(locate(config.start.id), config.start.revision, "start")
    runs.check_pairs(config.pairs)
    if job.dry_run:
        message(
            f"would train {config.start.id} for {config.training.steps:,} steps of "
            f"{config.training.batch} pairs of {', '.join(config.pairs)}"
        )
        return

    job.begin()
    counts = data.prepare(config.pairs, run.folder, config.kinds)

    from raypipe.report import sheet
    from raypipe.studies.face_score import page, results, work

    work.train(config, run, job.session)
    found = results.results(config, run.folder, counts)
    job.finish(
        found,
        work.manifest(config, found),
        partial(sheet.render, page.sheet(found, run.folder)),
        page.summary(found),
    )


JOB = Recipe(__doc__, FaceScore, RunDirectory, face_score)
