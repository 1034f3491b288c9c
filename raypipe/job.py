"""What every job shares: one command line, one life from config to manifest, exit statuses.

    python jobs/<job>.py configs/<job>/<name>.yaml [a.b=c ...] [--dry-run] [--output URI]
                                                   [--address ADDR] [--local] [--verbose]

Exit status 0, with the run directory's path as the last line on stdout; 2 for a user's mistake,
with one line on stderr; see `raypipe.console.leave`. Importing this loads neither torch nor ray.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import pyarrow as pa

from raypipe.config.paths import base_of, find_config
from raypipe.config.strict import JobConfig, Strict, absolute, load, near_miss
from raypipe.console import message
from raypipe.console.leave import way_out
from raypipe.engine.session import Session
from raypipe.errors import UserError
from raypipe.storage import claims, starts
from raypipe.storage.directory import RunDirectory, config_hash
from raypipe.storage.files import impatient
from raypipe.storage.mend import mending
from raypipe.storage.reach import check_answers

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
        with way_out():
            print(self.body(*_parse(self.about, self.settings, self.flags, arguments)), flush=True)


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
        """Claim the run, and write the config, and notes beside it as JSON files of their names."""
        self.run.claim()
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
        self.run.forget_previous()
        for name, table in (tables or {}).items():
            self.run.write_table(f"{name}.parquet", table)
        if results is not None:
            self.run.write_json("results.json", results)
        files = [f"{name}.parquet" for name in tables or {}]
        files += ["results.json"] * (results is not None) + ["report.html"] * (page is not None)
        whole = {
            **manifest,
            "files": files,
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
        self.directory.check_output(stored.output)
        check_answers(stored.output)  # of the inputs' buckets a finished run needs none
        run = self.directory(stored.output)
        job = Job(config, stored, run, session, dry_run)
        if not dry_run and self._is_finished(job):
            return config.output
        check_answers(stored.model_dump(mode="json"))
        if dry_run:
            run.check(stored)
            self.steps(job)
            return config.output
        with working_on(run, stored):
            if not self._is_finished(job):  # nor made so by who worked on it meanwhile
                run.check(stored)
                mending(run, stored, lambda: self.steps(job))
        return config.output

    def _is_finished(self, job: Job[C, R]) -> bool:
        """Whether there is nothing to do, which is told."""
        # a run of raypipe 0.1 hashed its paths as they were written
        finished = self.ends and (
            job.run.is_finished(job.stored) or job.run.is_finished(job.config)
        )
        if finished:
            message(f"already complete: {job.config.output}")
        return finished


@contextlib.contextmanager
def working_on(run: RunDirectory, config: JobConfig) -> Iterator[None]:
    """A driver's stay in a run directory: alone, and without a trace if it comes to nothing.

    An earlier start that was killed before anything was made of it is taken back. UserError where
    another driver works there, or has taken over.
    """
    folder, missing = run.folder, run.folder.missing()
    is_new = is_done = False
    try:
        try:
            is_new = bool(missing) or not folder.entries()
            claims.wait(folder, run.does)
            if not is_new and starts.can_be_taken_back(run, config):
                run.claim()
                run.is_begun_anew = starts.take_back(run, is_own=False)
        except OSError as error:
            raise UserError(f"output cannot be used: {run.uri}: {error}") from None
        yield
        is_done = True
    except KeyboardInterrupt:
        claims.go_on(run.uri)  # where it came from our own sign of life
        raise
    finally:
        claim = claims.held(folder)
        if claim is not None:
            with impatient():
                _leave(run, config, claim, is_done, is_new)
            for made in missing:
                with contextlib.suppress(OSError):
                    made.rmdir()


def _leave(
    run: RunDirectory, config: JobConfig, claim: claims.Claim, is_done: bool, is_new: bool
) -> None:
    """Take a start back that came to nothing, and let others work; whatever the store answers."""
    is_empty, is_open = False, True
    with contextlib.suppress(OSError, UserError):
        if not is_done and starts.can_be_taken_back(run, config):
            is_empty = starts.take_back(run, is_own=is_new)
    with contextlib.suppress(OSError, UserError):
        is_open = run.manifest() is None
    claim.release(keep=not is_empty and is_open)


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, as all others are told."""

    def error(self, message: str) -> NoReturn:
        if "arguments are required" in message:
            message = f"a config is missing: {self.prog} CONFIG [a.b=c ...]; --help says more"
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            known = [option for action in self._actions for option in action.option_strings]
            name = unknown.split()[0]
            near = near_miss(name.partition("=")[0], known).replace("known keys", "options")
            message = f"unknown option {name}{near}"
        raise UserError(message)


def _parse(
    about: str | None,
    settings: type[S],
    flags: Mapping[str, str],
    arguments: Sequence[str] | None,
) -> tuple[S, Session, bool]:
    """Config, session, and whether it is a dry run."""
    parser = _Parser(description=about)
    parser.add_argument("config", help="a YAML file, or the name of one that comes with raypipe")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="set one key of the config")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--output", metavar="URI", help="run directory: a path, s3:// or gs://")
    parser.add_argument("--address", metavar="ADDR", help="Ray cluster (default: a local Ray)")
    parser.add_argument("--local", action="store_true", help="work in this process, without Ray")
    parser.add_argument("--verbose", action="store_true", help="show Ray's own messages too")
    for key, text in flags.items():
        parser.add_argument(f"--{key.replace('_', '-')}", metavar=key.upper(), help=text)
    try:
        given = parser.parse_intermixed_args(arguments)
    except argparse.ArgumentError as error:  # some of its checks raise past `error`
        raise UserError(str(error)) from None
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
