"""What every benchmark needs: rows of the table, and two sides timed in turn."""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

Action = Callable[[], Any]


def row(name: str, values: float | Sequence[float], goal: str) -> dict[str, Any]:
    """One line of the table: the median of the repetitions, the lowest and the highest."""
    given = [values] if isinstance(values, int | float) else list(values)
    middle = statistics.median(given)
    return {"name": name, "ratio": middle, "low": min(given), "high": max(given), "goal": goal}


def seconds(action: Action) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def speedups(ours: Action, theirs: Action, repetitions: int) -> list[float]:
    """How many times faster `ours` is, by repetition; the sides take turns, after one warm-up each.

    Neighbours in time meet the same noise of the machine, so each ratio is of neighbours.
    """
    ours()
    theirs()
    return [seconds(theirs) / seconds(ours) for _ in range(repetitions)]


def read_rate() -> float:
    """Bytes a second that one thread reads from memory: the sum of what no cache holds."""
    values = torch.ones(2**27)  # 512 MiB
    with one_thread():
        return values.nbytes / min(seconds(values.sum) for _ in range(5))


def makes_environment() -> dict[str, str]:
    """What the Makefile sets for every command."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    return dict(re.findall(r"^export (\w+) \?= (\S+)$", makefile, re.MULTILINE))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
