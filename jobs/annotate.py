"""Ask people, blind: serves the questions of a run until Ctrl-C, and keeps every answer."""

import time

from raypipe.annotate.settings import Annotate
from raypipe.job import Job, run, tell

FLAGS = {"share_on": "host or address at which others may reach the app, by a link with a token"}


def annotate(job: Job[Annotate]) -> str:
    """The recipe: each start goes on with the answers that are there; returns the directory."""
    from raypipe.annotate import collect as parts
    from raypipe.annotate.study import Study

    config, output = job.config, parts.AnswerRun(job.config.output)
    output.check(config)
    study = Study(config)
    if job.dry_run:
        tell(parts.describe(config, study))
        return config.output
    output.begin(config)

    started = time.monotonic()
    parts.serve(output, config, study)
    counts = parts.export(output, study)
    output.finish(parts.manifest(config, counts, time.monotonic() - started))
    tell(f"{counts['answers']:,} answers of {counts['annotators']:,} annotators")
    return config.output


if __name__ == "__main__":
    run(__doc__, Annotate, annotate, FLAGS)
