"""Jobs as a user runs them: in a process of their own, on a Ray that is there, or without one."""

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import yaml

from tests.support import ROOT

LOCAL = ("--local",)


def save(tree: dict[str, Any], file: Path) -> Path:
    """Write a config; returns its path."""
    file.write_text(yaml.safe_dump(tree))
    return file


def start(
    command: str,
    tree: dict[str, Any],
    folder: Path,
    *arguments: str,
    log: IO | int = subprocess.PIPE,
    **environment: str,
) -> subprocess.Popen:
    """`python COMMAND CONFIG ...` in a session of its own; the config is written into `folder`.

    command: below the checkout, such as jobs/consistency.py.
    """
    file = save(tree, folder / f"config{time.monotonic_ns()}.yaml")
    return subprocess.Popen(
        [sys.executable, command, str(file), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=log,
        stderr=log,
        text=True,
        start_new_session=True,
    )


def wait_for(
    reached: Callable[[], object],
    *processes: subprocess.Popen,
    seconds: float = 300,
    pause: float = 0.01,
) -> None:
    """Until this is so; AssertionError if one of the processes ends first, or it takes longer."""
    until = time.monotonic() + seconds
    while not reached():
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, ended[0].communicate()
        assert time.monotonic() < until, "it took too long"
        time.sleep(pause)


def finish(process: subprocess.Popen, status: int = 0) -> tuple[str, str]:
    """What a job printed; AssertionError unless it ends with this status, without a traceback."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in (err or "")
    return out, err


@dataclass(frozen=True)
class Done:
    """What a job did."""

    returncode: int
    stdout: str
    stderr: str


def run_here(name: str, *arguments: object) -> Done:
    """A job's command line in this process, from the checkout: seconds faster than a new one."""
    main = import_module(f"raypipe.jobs.{name}").JOB.main
    return _done(lambda: main([str(argument) for argument in arguments]))


def raypipe(*arguments: object) -> Done:
    """The command `raypipe` in this process, from the checkout."""
    with patch.object(sys, "argv", ["raypipe", *map(str, arguments)]):
        return _done(import_module("raypipe.__main__").main)


def _done(main: Callable[[], None]) -> Done:
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            status = stop.code
    assert isinstance(status, int)
    return Done(status, out.getvalue(), err.getvalue())
