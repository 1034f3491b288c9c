"""What workers report to the driver while they run, and the metrics kept of it."""

import contextlib
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from raypipe.engine.every import Every
from raypipe.errors import UserError
from raypipe.storage.files import Folder

BEAT_S = 5.0
"""Seconds between two signs of life of a worker."""

RECORD_S = 30.0
"""Seconds between two lines of a run's metrics."""


class Monitor:
    """What workers report to; on Ray an actor on the driver's node, so no lost node takes it along.

    Finished batches per step (one that was made twice counts once), attempts, signs of life, and a
    user's mistake: Ray does not carry the original exception through its own.
    """

    def __init__(self) -> None:
        self._done: dict[str, dict[str, int]] = {}
        self._quarantined: dict[str, dict[str, int]] = {}
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._busy_s: dict[str, dict[str, float]] = {}
        self._seen: dict[str, float] = {}
        self._mistake: UserError | None = None

    def refuse(self, mistake: UserError) -> None:
        """Note a UserError."""
        self._mistake = self._mistake or mistake

    def mistake(self) -> UserError | None:
        """The first UserError."""
        return self._mistake

    def begin(self, step: str, batch_id: str) -> int:
        """Note that a worker starts a batch; returns how often that has happened."""
        self._attempts[step, batch_id] += 1
        return self._attempts[step, batch_id]

    def add(self, step: str, batch_id: str, n: int, quarantined: int) -> None:
        """Note that a step has finished a batch of `n` samples, so many of them unusable."""
        self._done.setdefault(step, {})[batch_id] = n
        self._quarantined.setdefault(step, {})[batch_id] = quarantined

    def beat(self, worker: str, step: str, busy_s: float) -> None:
        """Note that a worker is alive, and how long its device has worked so far."""
        self._busy_s.setdefault(step, {})[worker] = busy_s
        self._seen[worker] = time.monotonic()

    def finished(self, step: str) -> int:
        """Batches that a step has finished."""
        return len(self._done.get(step, {}))

    def counts(self) -> dict[str, int]:
        """Samples done, per step."""
        return {step: sum(batches.values()) for step, batches in self._done.items()}

    def state(self) -> dict[str, dict[str, float]]:
        """All counts, per step."""
        now = time.monotonic()
        lives = {worker for worker, seen in self._seen.items() if now - seen < 3 * BEAT_S}
        retried: Counter[str] = Counter()
        for (step, _), attempts in self._attempts.items():
            retried[step] += attempts - 1
        return {
            step: {
                "done": sum(self._done.get(step, {}).values()),
                "quarantined": sum(self._quarantined.get(step, {}).values()),
                "retried_batches": retried[step],
                "workers": len(lives & self._busy_s.get(step, {}).keys()),
                "busy_s": sum(self._busy_s.get(step, {}).values()),
            }
            for step in self._done.keys() | self._busy_s.keys()
        }


class Recorder(Every):
    """Keeps a run's metrics while its `with` block runs: JSON lines, and gauges for Prometheus.

    One file for each session of the run, `metrics/NNNN.jsonl`, rewritten with each line, since
    an object store cannot append. docs/results.md documents a line.
    """

    def __init__(
        self,
        folder: Folder,
        totals: Mapping[str, int],
        state: Callable[[], dict[str, dict[str, float]]],
        object_store_mib: Callable[[], float | None],
        publish: Callable[[str, str, float], None] | None = None,
    ):
        """publish: takes a number's name, its step, and the number, as `prometheus` does."""
        self._folder, self._totals, self._state = folder, totals, state
        self._object_store_mib = object_store_mib
        self._name = f"metrics/{len(folder.names('metrics')):04d}.jsonl"
        self._lines: list[str] = []
        self._started = self._last_time = time.monotonic()
        self._last: dict[str, dict[str, float]] = {}
        self._publish = publish
        super().__init__(RECORD_S, self._record)

    def _record(self) -> None:
        try:
            state = self._state()
        except Exception:  # the cluster is going down; the run itself reports why
            return
        line = self._line(state)
        self._lines.append(json.dumps(line))
        with contextlib.suppress(OSError, UserError):  # writing pictures reports a full disk
            self._folder.write(self._name, "\n".join([*self._lines, ""]).encode())
        if self._publish is None:
            return
        for step, numbers in line["steps"].items():
            for key, value in numbers.items():
                self._publish(key, step, value)

    def _line(self, state: dict[str, dict[str, float]]) -> dict[str, Any]:
        """One line: rates and shares are since the line before."""
        now = time.monotonic()
        elapsed, self._last_time = max(now - self._last_time, 1e-9), now
        steps: dict[str, dict[str, float]] = {}
        before: float | None = None
        for step, total in self._totals.items():
            here = state.get(step, {})
            last = self._last.get(step, {})
            done, workers = here.get("done", 0), here.get("workers", 0)
            busy = here.get("busy_s", 0.0) - last.get("busy_s", 0.0)
            steps[step] = {
                "done": done,
                "total": total,
                "per_s": round((done - last.get("done", 0)) / elapsed, 3),
                "queue": (total if before is None else before) - done,
                "workers": workers,
                "busy": round(min(busy / (elapsed * workers), 1.0), 4) if workers else 0.0,
                "quarantined": here.get("quarantined", 0),
                "retried_batches": here.get("retried_batches", 0),
            }
            before = done
        self._last = state
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "elapsed_s": round(now - self._started, 1),
            "driver_peak_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1),
            "object_store_mib": self._object_store_mib(),
            "steps": steps,
        }


def prometheus() -> Callable[[str, str, float], None]:
    """A function that sets a number of a step as a gauge of Ray's Prometheus endpoint."""
    from ray.util.metrics import Gauge

    gauges: dict[str, Any] = {}

    def publish(key: str, step: str, value: float) -> None:
        if key not in gauges:
            gauges[key] = Gauge(f"raypipe_{key}", f"{key} of a step", tag_keys=("step",))
        gauges[key].set(value, tags={"step": step})

    return publish
