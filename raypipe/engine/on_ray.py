"""Chains of steps on a Ray cluster: connect, watch them work, leave."""

from collections.abc import Mapping, Sequence

from raypipe.console import message
from raypipe.engine import cluster
from raypipe.engine.monitor import Monitor, Recorder, prometheus
from raypipe.engine.progress import Display
from raypipe.engine.session import Session
from raypipe.engine.stage import Chain, units_of
from raypipe.storage.files import Folder


def run_chains(
    folder: Folder, chains: Sequence[Chain], totals: Mapping[str, int], session: Session
) -> None:
    """Send each chain's parts through its steps; see `raypipe.engine.work.work_through`."""
    pools = [[(step.key or step.name, step.pool) for step in steps] for _, steps in chains]
    for warning in cluster.connect(session, pools):
        message(f"warning: {warning}")
    try:
        # not before: Ray Data reads when it is imported how much it may print
        import ray

        from raypipe.engine.chain import run_chain

        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )  # beside the driver: a node that is lost later takes no count with it
        monitor = (
            ray.remote(Monitor)
            .options(num_cpus=0, scheduling_strategy=here, max_concurrency=1)
            .remote()
        )
        with (
            Recorder(
                folder,
                totals,
                lambda: ray.get(monitor.state.remote()),
                cluster.object_store_mib,
                prometheus(),
            ),
            Display(totals, units_of(chains), lambda: ray.get(monitor.counts.remote())),
        ):
            for parts, steps in chains:
                run_chain(list(parts), list(steps), monitor)
    finally:
        cluster.disconnect()
