"""Chains of steps in this process, without Ray: one batch after the other.

The same stages, files and counts as on a cluster; a run may begin with one and continue with the
other. What a stage raises is raised here unchanged.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import chain

import pyarrow as pa

from raypipe.engine.batch import finish_batch
from raypipe.engine.monitor import Monitor, Recorder
from raypipe.engine.progress import Display
from raypipe.engine.session import Session
from raypipe.engine.stage import Chain, Step, units_of
from raypipe.storage import claims
from raypipe.storage.files import Folder


def run_chains(
    folder: Folder, chains: Sequence[Chain], totals: Mapping[str, int], session: Session
) -> None:
    """Send each chain's parts through its steps; see `raypipe.engine.work.work_through`."""
    monitor = Monitor()
    with (
        Recorder(folder, totals, monitor.state, lambda: None),
        Display(totals, units_of(chains), monitor.counts),
    ):
        for parts, steps in chains:
            workers = [_Worker(step, monitor) for step in steps]
            for samples in chain.from_iterable(part.read() for part in parts):
                claims.go_on(folder.uri)
                for worker in workers:
                    samples = worker(samples)


class _Worker:
    """A step with its stage, loaded once."""

    def __init__(self, step: Step, monitor: Monitor):
        self._step, self._monitor = step, monitor
        started = time.monotonic()
        self._stage = step.make()
        self._loading_s = time.monotonic() - started

    def __call__(self, samples: pa.Table) -> pa.Table:
        """The batch with the step's columns, without those that are no longer needed."""
        step, stage = self._step, self._stage
        batch_id = samples["batch_id"][0].as_py()
        new = stage(samples.select(stage.reads))
        samples, failed = finish_batch(step, stage, batch_id, samples, new, self._loading_s)
        self._loading_s = 0.0
        self._monitor.add(step.name, batch_id, len(samples), failed)
        self._monitor.beat("local", step.name, stage.device.seconds)
        return samples.drop_columns([name for name in stage.drops if name in samples.column_names])
