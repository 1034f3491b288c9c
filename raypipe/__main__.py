"""`raypipe JOB CONFIG [a.b=c ...]` from anywhere: `python jobs/JOB.py ...` of a checkout."""

import sys
import textwrap
from importlib import import_module

from raypipe import __version__
from raypipe.config.strict import near_miss
from raypipe.console import message

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

CONFIG is a YAML file, or the name of one that comes with raypipe: raypipe consistency miniature.
`rates` prints the measured rates of a finished run. `raypipe JOB --help` says what a job does:

{textwrap.fill(", ".join(JOBS), 79, initial_indent="  ", subsequent_indent="  ")}"""


def main() -> None:
    """The command `raypipe`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(USAGE)
    elif name == "--version":
        print(f"raypipe {__version__}")
    elif name == "rates":
        from raypipe.studies.consistency import rates

        rates.main(arguments)
    elif name in JOBS:
        sys.argv[0] = f"raypipe {name}"
        import_module(f"raypipe.jobs.{name}").JOB.main(arguments)
    else:
        known = near_miss(name, [*JOBS, "rates"]).replace("known keys", "jobs")
        message(f"error: unknown job {name}{known}")
        sys.exit(2)


if __name__ == "__main__":
    main()
