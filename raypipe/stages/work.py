"""Sends the missing batches of any job through its stages on Ray."""

from collections.abc import Sequence
from functools import partial

from raypipe.directory import RunDirectory, plan_batches, split_batches
from raypipe.files import Folder
from raypipe.stages.progress import Display
from raypipe.stages.stage import Part, Step


def parts_without(run: RunDirectory, files: Sequence[str]) -> list[Part]:
    """The planned batches that lack one of these files, as the work that is left.

    files: names below the run directory with {batch_id}. A file appears whole or not at all, so a
    comparison of names is all it takes.
    """
    folders = {file.rpartition("/")[0] for file in files}
    there = {f"{folder}/{name}" for folder in folders for name in run.folder.names(folder)}
    parts = []
    for name, group, samples in run.plan_groups(["batch_id"]):
        sizes = {
            batch_id: len(batch)
            for batch_id, batch in split_batches(samples)
            if not there.issuperset(file.format(batch_id=batch_id) for file in files)
        }
        if sizes:
            read = partial(plan_batches, run.uri, name, group, frozenset(sizes))
            parts.append(Part(len(sizes), sum(sizes.values()), read))
    return parts


def work_through(folder: Folder, chains: list[tuple[list[Part], list[Step]]]) -> None:
    """Send each chain's parts through its steps, one chain after the other; then leave Ray."""
    import ray

    from raypipe.stages.chain import run_chain
    from raypipe.stages.cluster import object_store_mib
    from raypipe.stages.monitor import Monitor, Recorder

    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )  # beside the driver: a node that is lost later takes no count with it
    monitor = (
        ray.remote(Monitor)
        .options(num_cpus=0, scheduling_strategy=here, max_concurrency=1)
        .remote()
    )
    totals: dict[str, int] = {}
    for parts, steps in chains:
        for step in steps:
            n = sum(part.n_samples for part in parts)
            totals[step.name] = totals.get(step.name, 0) + n
    try:
        with (
            Recorder(folder, totals, lambda: ray.get(monitor.state.remote()), object_store_mib),
            Display(totals, lambda: ray.get(monitor.counts.remote())),
        ):
            for parts, steps in chains:
                run_chain(parts, steps, monitor)
    finally:
        ray.shutdown()
