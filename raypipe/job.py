"""What every job shares: one command line, one life from config to manifest, exit statuses.

    python jobs/<job>.py configs/<job>/<name>.yaml [a.b=c ...] [--dry-run] [--output URI]
                                                   [--address ADDR] [--local] [--verbose]

Exit status 0, with the run directory's path as the last line on stdout; 2 for a user's mistake,
with one line on stderr; 1 for anything else. Importing this loads neither torch nor ray.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa

from raypipe.config.paths import base_of, find_config
from raypipe.config.strict import JobConfig, Strict, absolute, load
from raypipe.console import message
from raypipe.engine.session import Session
from raypipe.errors import UserError
from raypipe.storage.directory import RunDirectory, config_hash

C = TypeVar("C", bound=JobConfig)
S = TypeVar("S", bound=Strict)
R = TypeVar("R", bound=RunDirectory)

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable that Ray sets in the process that `ray job submit` starts, and in no other."""


@dataclass(frozen=True)
class Command(Generic[S]):
    """A command line that a config drives."""

    about: str | None
    settings: type[S]
    body: Callable[[S, Session, bool], str]
    """From config, session, and whether it is a dry run, to the path that is printed."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Keys of the config that are also taken as `--key VALUE`, with their help."""

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Parse the command line, do what it asks for, and exit."""
        try:
            path = self.body(*_parse(self.about, self.settings, self.flags, arguments))
        except KeyboardInterrupt:
            message("interrupted; the same command goes on from here")
            sys.exit(130)
        except UserError as error:
            message("error: " + " ".join(str(error).split()))
            sys.exit(2)
        print(path, flush=True)


@dataclass(frozen=True)
class Job(Generic[C, R]):
    """One job at work: what its recipe is given."""

    config: C
    stored: C
    """The same, as it is kept: a submitted job's working directory may be gone before its end."""
    run: R
    """Its run directory, which holds nothing that contradicts the config."""
    session: Session
    dry_run: bool
    started: float = field(default_factory=time.monotonic)

    def begin(self, **notes: Any) -> None:
        """Write the config, and notes beside it, each as a JSON file of its name."""
        self.run.begin(self.stored, **notes)

    def finish(
        self,
        results: Mapping[str, Any] | None,
        manifest: Mapping[str, Any],
        page: Callable[[Mapping[str, Any]], str] | None = None,
        summary: str = "",
        tables: Mapping[str, pa.Table] | None = None,
    ) -> None:
        """Write what the job has found, the manifest last, and print the summary.

        page: from the manifest to the report's HTML. tables: by the name of their Parquet file.
        """
        for name, table in (tables or {}).items():
            self.run.write_table(f"{name}.parquet", table)
        if results is not None:
            self.run.write_json("results.json", results)
        whole = {
            **manifest,
            "config_hash": config_hash(self.stored),
            "config": self.stored.model_dump(mode="json"),
            "wall_seconds": time.monotonic() - self.started,
        }
        if page is not None:
            self.run.folder.write("report.html", page(whole).encode())
        self.run.finish(whole)
        if summary:
            print(summary)


@dataclass(frozen=True)
class Recipe(Generic[C, R]):
    """A job: its config, its run directory, and its own steps."""

    about: str | None
    settings: type[C]
    directory: type[R]
    steps: Callable[[Job[C, R]], None]
    """Everything that can be checked first; then, unless it is a dry run, the work."""
    flags: Mapping[str, str] = field(default_factory=dict)
    ends: bool = True
    """Whether a finished run is left alone; else each start goes on with it."""

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """The command line; exits with the status."""
        Command(self.about, self.settings, self.perform, self.flags).main(arguments)

    def perform(self, config: C, session: Session, dry_run: bool = False) -> str:
        """Do what a config asks for, or what of it is missing; returns the run directory."""
        stored = absolute(config)
        run = self.directory(stored.output)
        # a run of raypipe 0.1 hashed its paths as they were written
        if self.ends and not dry_run and (run.is_finished(stored) or run.is_finished(config)):
            message(f"already complete: {config.output}")
            return config.output
        run.check(stored)
        self.steps(Job(config, stored, run, session, dry_run))
        return config.output


def _parse(
    about: str | None,
    settings: type[S],
    flags: Mapping[str, str],
    arguments: Sequence[str] | None,
) -> tuple[S, Session, bool]:
    """Config, session, and whether it is a dry run."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("config", help="a YAML file, or the name of one that comes with raypipe")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="set one key of the config")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--output", metavar="URI", help="run directory: a path, s3:// or gs://")
    parser.add_argument("--address", metavar="ADDR", help="Ray cluster (default: a local Ray)")
    parser.add_argument("--local", action="store_true", help="work in this process, without Ray")
    parser.add_argument("--verbose", action="store_true", help="show Ray's own messages too")
    for key, text in flags.items():
        parser.add_argument(f"--{key.replace('_', '-')}", metavar=key.upper(), help=text)
    given = parser.parse_intermixed_args(arguments)
    if given.local and given.address:
        raise UserError(f"--local works without a cluster, got --address {given.address} as well")
    overrides = list(given.overrides)
    overrides += [
        f"{key}={json.dumps(getattr(given, key))}"  # as text, whatever it says
        for key in ("output", *flags)
        if getattr(given, key) is not None
    ]
    path = find_config(_job_of(settings), given.config)
    config = load(path, overrides, settings, base_of(path))
    _check_output(str(getattr(config, "output", "")))
    return config, Session(given.address, given.verbose, given.local), given.dry_run


def _job_of(settings: type[Strict]) -> str:
    """The job whose settings these are: its folder's name."""
    return settings.__module__.split(".")[-2]


def _check_output(output: str) -> None:
    """UserError for a run directory that would be lost with a submitted job's working directory."""
    if SUBMITTED not in os.environ or "://" in output:
        return
    if Path(output).expanduser().absolute().is_relative_to(Path.cwd()):
        raise UserError(
            "the output of a submitted job must be a URI or an absolute path that every node can "
            f"write, since its working directory is a temporary copy, got {output}"
        )
