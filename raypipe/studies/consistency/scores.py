"""From stored embeddings to scores, a few prompts at a time, on the driver and without Ray."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raypipe.config.networks import Encoder
from raypipe.core.consistency import PromptScore, score_prompts
from raypipe.core.pairs import pair_scores
from raypipe.engine.stage import SECONDS
from raypipe.storage import schema
from raypipe.storage.files import read_ahead
from raypipe.studies.consistency.embed import file_name
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
    """Read every stored image's status. UserError unless they are exactly the planned samples."""
    columns = [name for name in schema.IMAGES.names if name != "image"]
    names = (f"images/{name}" for name in run.folder.names("images"))
    found: list[pa.Table] = []
    failed = [schema.IMAGES.empty_table().select(columns)]
    truncated: Counter[str] = Counter()
    devices: dict[str, set[str]] = defaultdict(set)
    seconds = 0.0
    for table in _read(run, names, columns):
        found.append(table.select(run.keys).replace_schema_metadata().combine_chunks())
        seconds += float((table.schema.metadata or {}).get(SECONDS, 0))
        bad = table.filter(pc.not_equal(table["status"], schema.OK)).replace_schema_metadata()
        if len(bad):  # empty tables of 10⁵ files would be a gigabyte
            failed.append(bad)
        model = table["model"][0].as_py()  # a batch is of one model
        truncated[model] += pc.sum(table["truncated"]).as_py()
        devices[model] |= set(table["device"].drop_null().to_pylist())
    run.check_made("images", found, samples)
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
    run: Run, samples: pa.Table, model: str, encoder: Encoder, known: Survey
) -> ModelScores:
    """Score every prompt of one model; a prompt under two usable images gets a reason instead.

    Prompts come out by id and pairs by seed, whatever the order in which the run grew.
    """
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
        prompts = list(_load(run, chunk, encoder, known))
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


def _load(run: Run, chunk: pa.Table, encoder: Encoder, known: Survey) -> Iterator[_Prompt]:
    """The usable embeddings of a chunk's prompts."""
    batches = chunk["batch_id"].unique().to_pylist()
    vectors: dict[str, tuple[np.ndarray, float | None]] = {}
    names = (file_name(encoder, batch_id) for batch_id in batches)
    for table in _read(run, names, ["sample_id", "embedding", "clip_score"]):
        if len(table):
            flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            embeddings = flat.reshape(len(table), -1)
            clip = table["clip_score"].to_pylist()
            ids = table["sample_id"].to_pylist()
            vectors |= {i: (e, c) for i, e, c in zip(ids, embeddings, clip, strict=True)}
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in chunk.select(["sample_id", "prompt_id", "prompt", "seed"]).to_pylist():
        by_prompt[row["prompt_id"]].append(row)
    for prompt_id, rows in by_prompt.items():
        usable = [r for r in rows if (prompt_id, r["seed"]) not in known.left_out]
        ids = [row["sample_id"] for row in usable]
        found = [vectors[sample_id] for sample_id in ids]
        yield _Prompt(
            prompt_id=prompt_id,
            prompt=rows[0]["prompt"],
            seeds=[row["seed"] for row in usable],
            sample_ids=ids,
            embeddings_ND=np.stack([e for e, _ in found]) if found else np.empty((0, 0)),
            clip_scores=[c for _, c in found],
        )


def _read(run: Run, names: Iterator[str], columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of many small files, in order, a few files ahead."""
    for _, table in read_ahead(
        names, lambda name: pq.read_table(run.folder.open(name), columns=columns)
    ):
        yield table
