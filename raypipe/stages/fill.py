"""Makes whatever a run lacks: pictures, embeddings, or only embeddings of stored pictures."""

from functools import partial

import pyarrow as pa

from raypipe.run import Run
from raypipe.settings import Consistency, Pool
from raypipe.stages.embed import Embed, file_name, stored_embeddings
from raypipe.stages.generate import Generate
from raypipe.stages.images import stored_images
from raypipe.stages.progress import Display
from raypipe.stages.read import LoadImages, ReadImages
from raypipe.stages.stage import Progress, Step, run_chain, start_ray

Work = dict[str, dict[str, pa.Table]]
"""Per way of getting pictures (generate, read, load): batches by id that still need it."""


def missing(run: Run, config: Consistency, samples: pa.Table) -> Work:
    """Whole batches that lack a file, by what they need. Half-made batches are made again.

    A plain comparison of the plan with the files that are there: a file appears whole or not at
    all, and its name says which batch it holds.
    """
    images = set(run.folder.names("images"))
    embeddings = {f"embeddings/{name}" for name in run.folder.names("embeddings")}
    work: Work = {"generate": {}, "read": {}, "load": {}}
    for batch_id, batch in _batches(samples):
        names = [file_name(encoder, batch_id) for encoder in config.encoder]
        if f"{batch_id}.parquet" not in images:
            way = "generate" if batch["source"][0].as_py() is None else "read"
            work[way][batch_id] = batch
        elif not all(name in embeddings for name in names):
            work["load"][batch_id] = batch
    return {way: batches for way, batches in work.items() if batches}


def fill(run: Run, config: Consistency, work: Work, address: str | None, verbose: bool) -> None:
    """Do the missing work on Ray."""
    pools = [_pool(config, way) for way in work] + [config.pools.embed] * len(config.encoder)
    start_ray(address, verbose, pools)
    import ray

    progress = ray.remote(Progress).options(num_cpus=0).remote()
    totals: dict[str, int] = {}
    for way, batches in work.items():
        totals[way] = sum(map(len, batches.values()))
    totals["embed"] = sum(totals.values())
    try:
        with Display(totals, lambda: ray.get(progress.counts.remote())):
            for way, batches in work.items():
                run_chain(batches, _steps(run, config, way), progress)
    finally:
        ray.shutdown()


def _batches(samples: pa.Table):
    """(batch_id, its samples) in the order of the plan; a batch's rows are neighbours."""
    ids = samples["batch_id"].to_pylist()
    start = 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or ids[end] != ids[start]:
            yield ids[start], samples.slice(start, end - start)
            start = end


def _steps(run: Run, config: Consistency, way: str) -> list[Step]:
    """The chain for one way of getting pictures: the pictures, then every encoder."""
    first = {
        "generate": partial(Generate, config),
        "read": partial(ReadImages, config.images),
        "load": partial(LoadImages, run.uri),
    }[way]
    file = "" if way == "load" else "images/{batch_id}.parquet"
    steps = [Step(way, first, _pool(config, way), run.uri, file, stored_images)]
    for index, encoder in enumerate(config.encoder):
        is_last = index == len(config.encoder) - 1
        steps.append(
            Step(
                name="embed" if index == 0 else f"embed {encoder.name}",
                make=partial(Embed, encoder, config.pools.embed, is_last),
                pool=config.pools.embed,
                uri=run.uri,
                file=file_name(encoder, "{batch_id}"),
                keep=partial(stored_embeddings, encoder),
            )
        )
    return steps


def _pool(config: Consistency, way: str) -> Pool:
    return config.pools.generate if way == "generate" else config.pools.read
