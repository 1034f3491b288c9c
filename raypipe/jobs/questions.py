"""Questions for people: a finished run → what is asked, blind, and the pictures that are shown."""

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.studies.questions.run import QuestionRun
from raypipe.studies.questions.settings import Questions


def questions(job: Job[Questions, QuestionRun]) -> None:
    from raypipe.studies.questions import plan, work
    from raypipe.studies.questions.sources import Source

    config, run = job.config, job.run
    source = Source(config)
    planned = plan.make_plan(config, source)
    message(plan.describe(config, planned))
    if job.dry_run:
        return

    job.begin()
    table = work.make(run, config, source, planned)
    job.finish(None, work.manifest(config, table))


JOB = Recipe(__doc__, Questions, QuestionRun, questions)
