"""Ask people, blind: serves the questions of a run until Ctrl-C, and keeps every answer."""

from raypipe.console import leave, message
from raypipe.job import Job, Recipe
from raypipe.studies.annotate.run import AnswerRun
from raypipe.studies.annotate.settings import Annotate


def annotate(job: Job[Annotate, AnswerRun]) -> None:
    """Serve the questions; each start continues with the stored answers."""
    from raypipe.studies.annotate import results, serve
    from raypipe.studies.annotate.study import Study

    config, run = job.config, job.run
    study = Study(config)
    if job.dry_run:
        message(serve.describe(config, study))
        return

    try:
        serve.serve(run, config, study, job.begin)
    finally:
        leave.listen()  # asyncio had the signals; another one now interrupts
    run.forget_previous()  # and not where another has taken over
    counts = results.export(run, study)
    job.finish(None, results.manifest(config, counts))
    message(f"{counts['answers']:,} answers of {counts['annotators']:,} annotators")


SHARE = {"share_on": "host or address at which others may reach the app, by a link with a token"}

JOB = Recipe(__doc__, Annotate, AnswerRun, annotate, SHARE, ends=False)
