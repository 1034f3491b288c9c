"""Jobs as a user runs them: in a process of their own, on a Ray that is there, or without one."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import yaml

from tests.support import ROOT

LOCAL = ("--local",)


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
    file = folder / f"config{time.monotonic_ns()}.yaml"
    file.write_text(yaml.safe_dump(tree))
    return subprocess.Popen(
        [sys.executable, command, str(file), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=log,
        stderr=log,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, status: int = 0) -> tuple[str, str]:
    """What a job printed; AssertionError unless it ends with this status, without a traceback."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in (err or "")
    return out, err
