"""`raypipe JOB CONFIG [a.b=c ...]` from anywhere: `python jobs/JOB.py ...` of a checkout."""

import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from raypipe.console import as_line, leave, message

if TYPE_CHECKING:
    from raypipe.config.strict import JobConfig
    from raypipe.storage.directory import RunDirectory

JOBS = (
    "consistency",
    "evaluate",
    "align",
    "face_pairs",
    "face_score",
    "face_lora",
    "face_ablation",
    "questions",
    "annotate",
    "agreement",
    "train_miniature",
)

USAGE = f"""usage: raypipe JOB CONFIG [a.b=c ...] [--dry-run] [--output URI] [--help]
       raypipe rates RUN
       raypipe check RUN [--mend]

CONFIG is a YAML file, or the name of one that comes with raypipe: raypipe consistency miniature.
`rates` prints the measured rates of a finished run. `check` reads all of a run and names each file
that is missing or has changed. `raypipe JOB --help` says what a job does:

{textwrap.fill(", ".join(JOBS), 79, initial_indent="  ", subsequent_indent="  ")}"""


def main() -> None:
    """The command `raypipe`."""
    leave.run(lambda: _command(*(sys.argv[1:] or ["--help"])))


def job(name: str) -> None:
    """The command line of a job alone: `python jobs/JOB.py`."""
    leave.run(lambda: _job(name, sys.argv[1:]))


def _command(name: str, *arguments: str) -> None:
    # nothing else is imported before Ctrl-C has its way out
    if name in ("--help", "-h"):
        print(USAGE)
    elif name == "--version":
        from raypipe import __version__

        print(f"raypipe {__version__}")
    elif name == "rates":
        from raypipe.studies.consistency import rates

        rates.main(arguments)
    elif name == "check":
        from raypipe.storage import check_command

        runs = [job for job in JOBS if job != "train_miniature"]  # which writes none
        check_command.main(arguments, {job: partial(_types_of, job) for job in runs})
    elif name in JOBS:
        sys.argv[0] = f"raypipe {name}"
        _job(name, arguments)
    else:
        from raypipe.config.strict import near_miss

        known = near_miss(name, [*JOBS, "rates", "check"]).replace("known keys", "jobs")
        message(f"error: unknown job {as_line(name[:200])}{known}")
        sys.exit(2)


def _job(name: str, arguments: Sequence[str]) -> None:
    from importlib import import_module

    import_module(f"raypipe.jobs.{name}").JOB.main(list(arguments))


def _types_of(name: str) -> "tuple[type[JobConfig], type[RunDirectory]]":
    """A job's config and run directory."""
    from importlib import import_module

    job = import_module(f"raypipe.jobs.{name}").JOB
    return job.settings, job.directory


if __name__ == "__main__":
    main()
