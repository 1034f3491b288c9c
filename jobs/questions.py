"""Questions for people: a finished run → what is asked, blind, and the pictures that are shown."""

import time

from raypipe.annotate.settings import Questions
from raypipe.job import Job, run, tell


def questions(job: Job[Questions]) -> str:
    """The recipe, from a config to a finished run directory; returns the directory."""
    from raypipe.annotate import questions as parts

    config, output = job.config, parts.QuestionRun(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe.annotate.sources import Source

    started = time.monotonic()
    source = Source(config)
    plan = parts.make_plan(config, source)
    tell(parts.describe(config, plan))
    if job.dry_run:
        return config.output
    output.begin(config)
    table = parts.make(output, config, source, plan)
    output.finish(parts.manifest(config, table, time.monotonic() - started))
    return config.output


if __name__ == "__main__":
    run(__doc__, Questions, questions)
