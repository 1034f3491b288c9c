"""Finds the missing batches of a run, and sends them through their steps, on Ray or without."""

from collections.abc import Mapping, Sequence
from functools import partial

from raypipe.engine.session import Session
from raypipe.engine.stage import Chain, Part
from raypipe.storage.directory import RunDirectory, plan_batches, split_batches
from raypipe.storage.files import Folder


def parts_without(run: RunDirectory, files: Sequence[str]) -> list[Part]:
    """The planned batches with one of these files missing, as the work that is left.

    files: names below the run directory with {batch_id}. A file appears whole or not at all, so
    comparing names is enough.
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
            parts.append(part_of(run, name, group, sizes))
    return parts


def part_of(run: RunDirectory, name: str, group: int, sizes: Mapping[str, int]) -> Part:
    """Some batches of one group of a run's plan, by their sizes."""
    read = partial(plan_batches, run.uri, name, group, frozenset(sizes))
    return Part(len(sizes), sum(sizes.values()), read)


def work_through(folder: Folder, chains: Sequence[Chain], session: Session) -> None:
    """Send each chain's parts through its steps, one chain after the other.

    Ray is not started where there is nothing to do. UserError for a mistake found on a worker.
    """
    chains = [(parts, steps) for parts, steps in chains if parts]
    if not chains:
        return
    totals: dict[str, int] = {}
    for parts, steps in chains:
        for step in steps:
            n = sum(part.n_samples for part in parts)
            totals[step.name] = totals.get(step.name, 0) + n
    if session.local:
        from raypipe.engine.local import run_chains
    else:
        from raypipe.engine.on_ray import run_chains
    run_chains(folder, chains, totals, session)
