"""What every job shares: one command line, exit statuses, and where output goes.

    python jobs/<job>.py configs/<job>/<name>.yaml [a.b=c ...] [--dry-run] [--output URI]
                                                   [--address ADDR] [--verbose]

Exit status 0, with the run directory's path as the last line on stdout; 2 for a user's mistake,
with one line on stderr; 1 for anything else. Importing this loads neither torch nor ray.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from raypipe.config import Strict, load
from raypipe.errors import UserError

C = TypeVar("C", bound=Strict)

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable that Ray sets in the process that `ray job submit` starts, and in no other."""


@dataclass(frozen=True)
class Job(Generic[C]):
    """A parsed command line."""

    config: C
    dry_run: bool
    address: str | None
    """Ray address, or None for RAY_ADDRESS or else a local Ray."""
    verbose: bool


def run(
    description: str,
    kind: type[C],
    body: Callable[[Job[C]], str],
    flags: Mapping[str, str] | None = None,
) -> None:
    """Parse the command line, call `body`, print the path that it returns, and exit.

    flags: keys of the config that this job also takes as `--key VALUE`, with their help.
    """
    try:
        path = body(_parse(description, kind, flags or {}))
    except KeyboardInterrupt:
        tell("interrupted; the same command goes on from here")
        sys.exit(130)
    except UserError as error:
        tell("error: " + " ".join(str(error).split()))
        sys.exit(2)
    print(path, flush=True)


def tell(line: str) -> None:
    """Say something to the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


def _parse(description: str, kind: type[C], flags: Mapping[str, str]) -> Job[C]:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help="a YAML file, such as those under configs/")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="set one key of the config")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--output", metavar="URI", help="run directory: a path, s3:// or gs://")
    parser.add_argument("--address", metavar="ADDR", help="Ray cluster (default: a local Ray)")
    parser.add_argument("--verbose", action="store_true", help="show Ray's own messages too")
    for key, told in flags.items():
        parser.add_argument(f"--{key.replace('_', '-')}", metavar=key.upper(), help=told)
    arguments = parser.parse_intermixed_args()
    overrides = list(arguments.overrides)
    overrides += [
        f"{key}={json.dumps(getattr(arguments, key))}"  # as text, whatever it says
        for key in ("output", *flags)
        if getattr(arguments, key) is not None
    ]
    config = load(arguments.config, overrides, kind)
    _check_output(str(getattr(config, "output", "")))
    return Job(config, arguments.dry_run, arguments.address, arguments.verbose)


def _check_output(output: str) -> None:
    """UserError for a run directory that would be lost with a submitted job's working directory."""
    if (
        SUBMITTED in os.environ
        and "://" not in output
        and not Path(output).expanduser().is_absolute()
    ):
        raise UserError(
            "the output of a submitted job must be a URI or an absolute path that every node can "
            f"write, since its working directory is a temporary copy, got {output}"
        )
