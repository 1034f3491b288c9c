"""Progress of a run on stderr: one line for each step, with its rate and time left."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Self

from raypipe.engine.every import Every

EVERY_S = 0.5
"""Seconds between two updates of a terminal."""

LOG_EVERY_S = 15.0
"""Seconds between two updates of a log file."""


class Display(Every):
    """Shows counts while its `with` block runs; a terminal's lines are drawn over."""

    def __init__(
        self,
        totals: Mapping[str, int],
        units: Mapping[str, str],
        counts: Callable[[], dict[str, int]],
    ):
        self._totals, self._units, self._counts = totals, units, counts
        self._started = time.monotonic()
        self._drawn = 0
        super().__init__(EVERY_S if sys.stderr.isatty() else LOG_EVERY_S, self._draw)

    def __enter__(self) -> Self:
        self._draw()
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.stop()
        if kind is None:
            self._draw()

    def _draw(self) -> None:
        try:
            counts = self._counts()
        except Exception:  # the cluster is going down; the run itself reports why
            return
        if sys.stderr.isatty() and self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}F")
        clear = "\x1b[K" if sys.stderr.isatty() else ""
        for step, total in self._totals.items():
            sys.stderr.write(f"{self._line(step, counts.get(step, 0), total)}{clear}\n")
        sys.stderr.flush()
        self._drawn = len(self._totals)

    def _line(self, step: str, done: int, total: int) -> str:
        """A step with its bar, rate and time left."""
        now = time.monotonic()
        elapsed = now - self._started
        share = done / total
        bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
        text = f"{step:<10} {bar} {done:>7,}/{total:,} {self._units[step]}"
        if done == 0:
            return f"{text}  starting, {clock(elapsed)}"
        text += f"  {done / elapsed:6.2f}/s"
        if done == total:
            return f"{text}  {clock(elapsed)}"
        return f"{text}  {clock(elapsed * (total - done) / done)} left"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss.

    >>> clock(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
