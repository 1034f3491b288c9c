"""Do people agree with each other, and the scores with people? Answers × scores → a report."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.studies.agreement.run import AgreementRun
from raypipe.studies.agreement.settings import Agreement


def agreement(job: Job[Agreement, AgreementRun]) -> None:
    from raypipe.inputs.answers import choices_table
    from raypipe.report import sheet
    from raypipe.studies.agreement import answers, disputed, page, results, scores

    config = job.config
    answered = answers.read(config)
    automatic = scores.read(config, answered)
    if job.dry_run:
        message(results.describe(config, answered, automatic))
        return

    job.begin()
    found = results.results(config, answered, automatic)
    decisions = results.decisions(answered, automatic)
    shown = disputed.strips(config, answered, decisions)
    job.finish(
        found,
        results.manifest(config, found),
        partial(sheet.render, page.sheet(found, shown)),
        page.summary(found),
        {"decisions": decisions, "choices": choices_table(answered.table)},
    )


JOB = Recipe(__doc__, Agreement, AgreementRun, agreement)
