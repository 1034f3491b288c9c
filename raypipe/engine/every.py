"""Calls a function periodically beside the main thread: progress, metrics, losses."""

import threading
from collections.abc import Callable
from typing import Self


class Every:
    """Calls a function every so many seconds while its `with` block runs, and once at its end."""

    def __init__(self, seconds: float, call: Callable[[], None]):
        self._seconds, self._call = seconds, call
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._call()

    def stop(self) -> None:
        """Call it no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._call()
