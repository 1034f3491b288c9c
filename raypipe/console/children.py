"""The processes below this one, and their end. Linux alone shows them; elsewhere there are none."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")

KILL_S = 2.0
"""How long the kernel may take to clear away a process that was killed."""


def children(parent: int) -> set[int]:
    """Processes that a process has started, and that it is still the parent of."""
    return {pid for pid, above in _parents().items() if above == parent}


def descendants(roots: Iterable[int]) -> set[int]:
    """These processes, those that they have started, and so on, as far as they run."""
    parents = _parents()
    found: set[int] = set()
    layer = set(roots) & parents.keys()
    while layer:
        found |= layer
        layer = {pid for pid, above in parents.items() if above in layer} - found
    return found


def end(pids: Iterable[int], patience_s: float) -> None:
    """Wait for processes to end by themselves; kill what is left then, and see it gone."""
    left = _left(set(pids), patience_s)
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _left(left, KILL_S)


def _left(pids: set[int], seconds: float) -> set[int]:
    """Those that still run, after so many seconds at most."""
    deadline = time.monotonic() + seconds
    while pids := pids & _parents().keys():
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return pids


def _parents() -> dict[int, int]:
    """Every process that runs, with its parent."""
    found = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found[int(entry.name)] = int(parent)
    return found
