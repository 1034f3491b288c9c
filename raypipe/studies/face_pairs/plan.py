"""The plan of a run of pairs: its photos, and the split of each."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.core import near_duplicates
from raypipe.errors import UserError
from raypipe.inputs.finished import finished
from raypipe.inputs.photos import list_photos
from raypipe.inputs.runs import columns_of
from raypipe.models.faces.check import check_detector
from raypipe.storage import schema
from raypipe.studies.face_pairs.run import PairRun, SplitPlan
from raypipe.studies.face_pairs.settings import FacePairs
from raypipe.weights.families import inpainting_of
from raypipe.weights.identity import model_identity
from raypipe.weights.locate import pipeline_index

COPY = "copy"
"""Reason of a photo that is in the set a second time, byte for byte."""

BETWEEN = "two splits"
"""Reason of a new photo that is near to known ones of different splits."""


def identity(config: FacePairs) -> dict[str, Any]:
    """All that determines what is inpainted. UserError for a model that cannot inpaint."""
    check_detector(config.detector)
    inpainting_of(pipeline_index(config.model)["_class_name"], config.model.name)
    sampler = config.sampler_of_model.model_dump(mode="json")
    return {**model_identity(config.model), "sampler": sampler}


def plan_photos(run: PairRun, config: FacePairs) -> pa.Table:
    """The photos of the run: those that it was begun with, else those that the source lists now."""
    if run.next_part():
        return run.samples()
    return list_photos(config.photos, config.pools.look.batch_size)


def describe(config: FacePairs, photos: pa.Table) -> str:
    """What a run would do, for --dry-run."""
    each = len(config.strengths) * len(config.seed_list)
    sampler = config.sampler_of_model
    most = len(photos) * config.faces * each
    lines = [
        f"{len(photos):,} photos, up to {config.faces} faces each, inpainted {each} times: up to "
        f"{most:,} inpainted faces, {most * len(config.kinds):,} pairs "
        f"({', '.join(config.kinds)})",
        f"  {config.model.name}: {config.model.id}, {sampler.scheduler or 'own scheduler'}, "
        f"{sampler.steps} steps × strength {', '.join(f'{s:g}' for s in config.strengths)}, "
        f"guidance {sampler.guidance:g}, {sampler.width}×{sampler.height}, {config.model.dtype}",
        f"  faces: {config.detector.backend}, at least {config.min_face:g} pixels",
    ]
    return "\n".join([*lines, *(f"  pool {name}: {pool}" for name, pool in config.pools)])


def assign_splits(run: PairRun, config: FacePairs) -> None:
    """Write the split of every photo, once. UserError where no photo has a face to inpaint.

    Near-duplicates share a group and so a split; a photo that is there twice makes pairs once.
    """
    plan = SplitPlan(run.uri)
    if plan.next_part():
        return
    photos = columns_of(run.folder, "photos", ["photo_id", "hash", "status", "reason"])
    batches = run.samples()["batch_id"]
    if len(batches) != len(photos):
        raise UserError(
            f"photos must be those that are planned, but of {len(batches):,} rows of the plan "
            f"{run.uri}/photos holds {len(photos):,}"
        )
    usable = [i for i, status in enumerate(photos["status"].to_pylist()) if status == schema.OK]
    if not usable:
        reasons = ", ".join(f"{n:,} {r}" for r, n in Counter(photos["reason"].to_pylist()).items())
        raise UserError(
            f"no photo has a face to inpaint, of {len(photos):,}: {reasons}; detector, min_face "
            f"and photos decide, and {run.uri}/photos has the reason of each photo"
        )
    ids = photos["photo_id"].to_pylist()
    hashes_NW = np.array(photos["hash"].take(pa.array(usable)).to_pylist(), np.uint64)
    groups, splits = divide([ids[i] for i in usable], hashes_NW, config)
    at = {i: (group, split) for i, group, split in zip(usable, groups, splits, strict=True)}
    seen: set[str] = set()
    rows = []
    for i, (photo_id, batch_id) in enumerate(zip(ids, batches.to_pylist(), strict=True)):
        group, split = at.get(i, (None, None))
        reason = BETWEEN if i in at and split is None else None
        if i in at and photo_id in seen:
            split, reason = None, COPY
        if i in at:
            seen.add(photo_id)
        rows.append((photo_id, batch_id, group, split, reason))
    columns = [list(column) for column in zip(*rows, strict=True)]
    plan.add_samples(pa.table(columns, schema=schema.SPLITS), 0)


def divide(
    ids: list[str], hashes_NW: near_duplicates.Hashes, config: FacePairs
) -> tuple[list[int], list[str | None]]:
    """Group and split of each photo; those of a known run stay."""
    settings = config.splits
    known, before_MW = known_splits(settings.known)
    together = np.concatenate([hashes_NW, before_MW])
    groups = near_duplicates.group(together, settings.within)
    splits = near_duplicates.split(
        [*ids, *known], groups, settings.shares, settings.seed, known=known
    )
    return groups[: len(ids)].tolist(), splits[: len(ids)]


def known_splits(uri: str | None) -> tuple[dict[str, str], near_duplicates.Hashes]:
    """Splits of a finished run's photos by id, and their hashes in the same order.

    UserError for a directory that is not a finished run of this job.
    """
    if uri is None:
        return {}, np.empty((0, near_duplicates.WORDS), np.uint64)
    run = SplitPlan(finished(uri, "face_pairs", "splits.known").folder.uri)
    split_of = {
        row["photo_id"]: row["split"]
        for row in run.samples().select(["photo_id", "split"]).to_pylist()
        if row["split"] is not None
    }
    photos = columns_of(run.folder, "photos", ["photo_id", "hash", "status"]).to_pylist()
    hash_of = {row["photo_id"]: row["hash"] for row in photos if row["status"] == schema.OK}
    return split_of, np.array([hash_of[i] for i in split_of], np.uint64).reshape(
        -1, near_duplicates.WORDS
    )
