"""Makes the missing parts of a run: pictures, embeddings, or embeddings of stored pictures."""

from functools import partial

import pyarrow as pa

from raypipe.engine.session import Session
from raypipe.engine.stage import Part, Step
from raypipe.engine.work import part_of, work_through
from raypipe.storage.directory import split_batches
from raypipe.studies.consistency.embed import Embed, embedding_files, stored_embeddings
from raypipe.studies.consistency.encode import TEXTS, Encode, text_id
from raypipe.studies.consistency.generate import Generate
from raypipe.studies.consistency.images import stored_images
from raypipe.studies.consistency.plan import pinned
from raypipe.studies.consistency.read import LoadImages, ReadImages
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from raypipe.weights.identity import can_encode_apart

WAYS = ("generate", "read", "load")
"""How a batch gets its pictures: generated, copied in, or loaded from the run itself."""

ENCODE = "encode"
"""The chain that comes before them: texts that are encoded apart."""


BATCHES_A_PART = 100
"""Batches of texts that one task of the cluster hands out."""


def missing(run: Run, config: Consistency) -> dict[str, list[Part]]:
    """Whole batches with a missing file, by way, `encode` first. Half-made ones are made again.

    Compares the plan with the names of the files: a file appears whole or not at all, and is named
    after its batch.
    """
    images = set(run.folder.names("images"))
    embeddings = embedding_files(run.folder, config.encoder)
    apart = models_apart(config)
    texts: dict[str, tuple[str, str]] = {}
    work: dict[str, list[Part]] = {}
    for name, group, samples in run.plan_groups(["batch_id", "source", "model", "prompt_sent"]):
        found: dict[str, dict[str, int]] = {way: {} for way in WAYS}
        for batch_id, batch in split_batches(samples):
            if f"{batch_id}.parquet" not in images:
                way = "generate" if batch["source"][0].as_py() is None else "read"
                found[way][batch_id] = len(batch)
                if way == "generate" and batch["model"][0].as_py() in apart:
                    texts |= _texts(batch)
            elif not all(embeddings.has(e.name, batch_id) for e in config.encoder):
                found["load"][batch_id] = len(batch)
        for way, batches in found.items():
            if batches:
                work.setdefault(way, []).append(part_of(run, name, group, batches))
    there = set(run.folder.names("texts"))
    texts = {key: text for key, text in texts.items() if f"{key}.safetensors" not in there}
    if texts:
        assert config.pools.encode is not None
        work = {ENCODE: _text_parts(texts, config.pools.encode.batch_size)} | work
    return work


def models_apart(config: Consistency) -> frozenset[str]:
    """Names of the models whose text is encoded apart."""
    if config.pools.encode is None:
        return frozenset()
    return frozenset(m.name for m in config.models if m.id and can_encode_apart(m))


def _texts(batch: pa.Table) -> dict[str, tuple[str, str]]:
    """The texts of a batch, by id: (model, text sent)."""
    name = batch["model"][0].as_py()
    return {text_id(name, sent): (name, sent) for sent in batch["prompt_sent"].unique().to_pylist()}


def _text_parts(texts: dict[str, tuple[str, str]], batch_size: int) -> list[Part]:
    """Texts in batches, of one model each."""
    batches = []
    for model in dict.fromkeys(name for name, _ in texts.values()):
        mine = [(key, sent) for key, (name, sent) in texts.items() if name == model]
        for first in range(0, len(mine), batch_size):
            some = mine[first : first + batch_size]
            columns = {
                "batch_id": [f"{model} {first}"] * len(some),
                "sample_id": [key for key, _ in some],
                "model": [model] * len(some),
                "prompt_sent": [sent for _, sent in some],
            }
            batches.append(pa.table(columns, schema=TEXTS))
    slices = [batches[i : i + BATCHES_A_PART] for i in range(0, len(batches), BATCHES_A_PART)]
    return [Part(len(some), sum(map(len, some)), partial(iter, some)) for some in slices]


def fill(run: Run, config: Consistency, work: dict[str, list[Part]], session: Session) -> None:
    """Do the missing work."""
    if work:
        config = pinned(config)
    chains = [(parts, steps(run, config, way)) for way, parts in work.items()]
    work_through(run.folder, chains, session)


def steps(run: Run, config: Consistency, way: str) -> list[Step]:
    """The chain for one way of getting pictures: the pictures, then every encoder."""
    if way == ENCODE:
        assert config.pools.encode is not None
        make = partial(Encode, config, run.uri)
        return [Step(ENCODE, make, config.pools.encode, run.uri, unit="prompts")]
    first = {
        "generate": partial(Generate, config, run.uri, models_apart(config)),
        "read": partial(ReadImages, config.images),
        "load": partial(LoadImages, run.uri),
    }[way]
    file = None if way == "load" else "images/{batch_id}.parquet"
    key = "generate" if way == "generate" else "read"
    pool = getattr(config.pools, key)
    files = embedding_files(run.folder, config.encoder)
    steps = [Step(way, first, pool, run.uri, file, stored_images, key)]
    for index, encoder in enumerate(config.encoder):
        is_last = index == len(config.encoder) - 1
        steps.append(
            Step(
                name="embed" if index == 0 else f"embed {encoder.name}",
                make=partial(Embed, encoder, config.pools.embed, is_last),
                pool=config.pools.embed,
                uri=run.uri,
                file=files.of(encoder.name, "{batch_id}"),
                keep=partial(stored_embeddings, encoder),
                key="embed",
            )
        )
    return steps
