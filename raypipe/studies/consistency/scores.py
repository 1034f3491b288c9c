"""From stored embeddings to scores, a few prompts at a time, on the driver and without Ray."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config.networks import Encoder
from raypipe.core.consistency import PromptScore, score_prompts
from raypipe.core.pairs import pair_scores
from raypipe.engine.stage import SECONDS
from raypipe.storage import parquet, schema
from raypipe.storage.damage import DamagedError
from raypipe.storage.directory import split_batches
from raypipe.storage.files import read_ahead
from raypipe.storage.names import BatchFiles
from raypipe.studies.consistency.embed import check_embeddings, embedding_files
from raypipe.studies.consistency.read import read_images
from raypipe.studies.consistency.run import Run

VALUES_AT_A_TIME = 2**23
"""Embedding values held at once (32 MiB)."""

MAX_PAIR_SCORES = 2 * 10**7
"""Pair scores kept of one model (80 MB): the evidence for power and convergence."""


@dataclass(frozen=True)
class Survey:
    """The outcome of every planned sample."""

    left_out: frozenset[tuple[str, int]]
    """(prompt_id, seed) that failed in some model, and is left out in all."""
    failed: pa.Table
    """The quarantined samples (schema.IMAGES without the pictures)."""
    quarantined: dict[str, int]
    """How many of them there are, by reason."""
    truncated: dict[str, int]
    """Samples of a model whose prompt was cut off by a text encoder."""
    devices: dict[str, list[str]]
    """Kinds of device that made a model's pictures."""
    device_seconds: float
    """Seconds that making or reading the pictures held devices, with loading, in all sessions."""


@dataclass(frozen=True)
class ModelScores:
    """One model under one encoder."""

    rows: list[dict[str, object]]
    """Rows of schema.SCORES."""
    complete: list[str]
    """Prompt ids of `pairs_PM`: those with an image for every seed."""
    pairs_PM: np.ndarray | None
    """Their pair scores, float32; None where there were none, or too many to keep."""
    too_many: bool
    """Whether there were too many."""
    sums_PN: np.ndarray
    """Each picture's sum of pair scores, prompts as in `rows`, seeds by number; NaN where there is
    no picture."""


def survey(run: Run, samples: pa.Table) -> Survey:
    """Read every stored image's status; the images must be exactly the planned samples.

    samples: the plan, the rows of a batch together. DamagedError for a file of other samples.
    """
    columns = [name for name in schema.IMAGES.names if name != "image"]
    failed = [schema.IMAGES.empty_table().select(columns)]
    truncated: Counter[str] = Counter()
    devices: dict[str, set[str]] = defaultdict(set)
    seconds = 0.0

    def read(planned: tuple[str, pa.Table]) -> pa.Table:
        batch_id, batch = planned
        return read_images(run.folder, f"images/{batch_id}.parquet", batch, columns)

    for _, table in read_ahead(split_batches(samples), read):
        seconds += float((table.schema.metadata or {}).get(SECONDS, 0))
        bad = table.filter(pc.not_equal(table["status"], schema.OK)).replace_schema_metadata()
        if len(bad):  # empty tables of 10⁵ files would be a gigabyte
            failed.append(bad)
        model = table["model"][0].as_py()  # a batch is of one model
        truncated[model] += pc.sum(table["truncated"]).as_py()
        devices[model] |= set(table["device"].drop_null().to_pylist())
    all_failed = pa.concat_tables(failed)
    return Survey(
        left_out=frozenset(
            zip(all_failed["prompt_id"].to_pylist(), all_failed["seed"].to_pylist(), strict=True)
        ),
        failed=all_failed,
        quarantined=dict(sorted(Counter(all_failed["reason"].to_pylist()).items())),
        truncated={model: n for model, n in sorted(truncated.items()) if n},
        devices={model: sorted(kinds) for model, kinds in sorted(devices.items()) if kinds},
        device_seconds=seconds,
    )


def score_model(
    run: Run,
    samples: pa.Table,
    model: str,
    encoder: Encoder,
    known: Survey,
    files: BatchFiles | None = None,
) -> ModelScores:
    """Score every prompt of one model; a prompt under two usable images gets a reason instead.

    Prompts come out by id and pairs by seed, whatever the order in which the run grew. files: of
    the run's encoders, where it has several. DamagedError for a file that is not this encoder's.
    """
    files = files or embedding_files(run.folder, [encoder])
    mine = samples.filter(pc.equal(samples["model"], model))
    column = {seed: i for i, seed in enumerate(np.unique(samples["seed"].to_numpy()).tolist())}
    n_seeds = len(mine["seed"].unique())
    n_prompts = len(mine["prompt_id"].unique())
    keeps_pairs = n_prompts * n_seeds * (n_seeds - 1) // 2 <= MAX_PAIR_SCORES
    rows: list[dict[str, object]] = []
    complete: list[str] = []
    kept: list[np.ndarray] = []
    sums: list[np.ndarray] = []
    for chunk in _prompt_chunks(mine, n_seeds):
        prompts = list(_load(run, chunk, encoder, known, files))
        scorable = [prompt for prompt in prompts if len(prompt.sample_ids) >= 2]
        scores = dict(
            zip(
                [prompt.prompt_id for prompt in scorable],
                score_prompts([prompt.embeddings_ND for prompt in scorable]) if scorable else [],
                strict=True,
            )
        )
        rows += [_row(model, encoder, p, scores.get(p.prompt_id)) for p in prompts]
        for prompt in prompts:
            sums.append(np.full(len(column), np.nan))
            if score := scores.get(prompt.prompt_id):
                sums[-1][[column[seed] for seed in prompt.seeds]] = score.sums_N
        full = [prompt for prompt in scorable if len(prompt.sample_ids) == n_seeds]
        if full and keeps_pairs:
            complete += [prompt.prompt_id for prompt in full]
            e_PND = np.stack([prompt.embeddings_ND for prompt in full])
            kept.append(pair_scores(e_PND).astype(np.float32))
    by_id = sorted(range(len(rows)), key=lambda index: str(rows[index]["prompt_id"]))
    order = np.argsort(complete)
    return ModelScores(
        rows=[rows[index] for index in by_id],
        complete=[complete[i] for i in order],
        pairs_PM=np.concatenate(kept)[order] if kept else None,
        too_many=not keeps_pairs,
        sums_PN=np.stack([sums[index] for index in by_id]),
    )


@dataclass(frozen=True)
class _Prompt:
    prompt_id: str
    prompt: str
    seeds: list[int]
    sample_ids: list[str]
    embeddings_ND: np.ndarray
    clip_scores: list[float | None]


def _row(
    model: str, encoder: Encoder, prompt: _Prompt, score: PromptScore | None
) -> dict[str, object]:
    n = len(prompt.sample_ids)
    clip = [value for value in prompt.clip_scores if value is not None]
    reason = None
    if score is None:
        reason = f"a score needs 2 usable images, got {n}"
    elif score.scs_se is None:
        reason = "a standard error needs 3 usable images, got 2"
    return {
        "model": model,
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.prompt,
        "encoder": encoder.name,
        "scs": score and score.scs,
        "scs_se": score and score.scs_se,
        "n_images": n,
        "medoid_sample_id": score and prompt.sample_ids[score.medoid],
        "outlier_sample_id": score and prompt.sample_ids[score.outlier],
        "clip_score": float(np.mean(clip)) if clip else None,
        "reason": reason,
    }


def _prompt_chunks(mine: pa.Table, n_seeds: int, dim: int = 1024) -> Iterator[pa.Table]:
    """Slices of a model's samples, by seed within whole prompts, a bounded number at a time.

    Prompts keep the order of the plan, so that neighbours in a batch's file are read together.
    """
    codes = mine["prompt_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort([mine["seed"].to_numpy(), codes])
    mine, codes = mine.take(order), codes[order]
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    step = max(1, VALUES_AT_A_TIME // (n_seeds * dim))
    edges = [*starts[::step].tolist(), len(mine)]
    for start, end in pairwise(edges):
        yield mine.slice(start, end - start)


def _load(
    run: Run, chunk: pa.Table, encoder: Encoder, known: Survey, files: BatchFiles
) -> Iterator[_Prompt]:
    """The usable embeddings of a chunk's prompts."""
    batches = chunk["batch_id"].unique().to_pylist()
    vectors: dict[str, tuple[np.ndarray, float | None]] = {}
    file_of = {files.of(encoder.name, batch_id): batch_id for batch_id in batches}
    name_of = {batch_id: name for name, batch_id in file_of.items()}

    def read(name: str) -> tuple[list[str], np.ndarray, list[float | None]]:
        table = parquet.read(run.folder, name, ["sample_id", "encoder", "embedding", "clip_score"])
        embeddings_ND = check_embeddings(run.folder, name, table, encoder.name)
        return table["sample_id"].to_pylist(), embeddings_ND, table["clip_score"].to_pylist()

    for _, (ids, embeddings_ND, clip) in read_ahead(file_of, read):
        vectors |= {i: (e, c) for i, e, c in zip(ids, embeddings_ND, clip, strict=True)}
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    columns = ["sample_id", "prompt_id", "prompt", "seed", "batch_id"]
    for row in chunk.select(columns).to_pylist():
        by_prompt[row["prompt_id"]].append(row)
    for prompt_id, rows in by_prompt.items():
        usable = [row for row in rows if (prompt_id, row["seed"]) not in known.left_out]
        ids = [row["sample_id"] for row in usable]
        for row in usable:
            if row["sample_id"] not in vectors:
                rule = f"must have a vector of sample {row['sample_id']}"
                raise DamagedError(run.uri, name_of[row["batch_id"]], rule)
        found = [vectors[sample_id] for sample_id in ids]
        yield _Prompt(
            prompt_id=prompt_id,
            prompt=rows[0]["prompt"],
            seeds=[row["seed"] for row in usable],
            sample_ids=ids,
            embeddings_ND=np.stack([e for e, _ in found]) if found else np.empty((0, 0)),
            clip_scores=[c for _, c in found],
        )
