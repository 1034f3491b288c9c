"""The face_pairs job between its recipe (jobs/face_pairs.py) and its parts: plans, splits, work."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.core import near_duplicates
from raypipe.core.ids import content_hash
from raypipe.directory import RunDirectory
from raypipe.errors import UserError
from raypipe.files import Folder
from raypipe.models.families import INPAINTING
from raypipe.pair_settings import FacePairs
from raypipe.photos import list_photos
from raypipe.stages.check_pairs import CHECKS_FILE, CheckPairs, stored_checks
from raypipe.stages.inpaint import PAIRS_FILE, PHOTOS_FILE, Paint, stored_pairs
from raypipe.stages.look import Look, stored_photos
from raypipe.stages.stage import Step
from raypipe.stages.work import parts_without, work_through
from raypipe.weights import model_identity, pinned_model, pipeline_index

COPY = "copy"
"""Reason of a photo that is in the set a second time, byte for byte."""
BETWEEN = "two splits"
"""Reason of a new photo that is near to known ones of different splits."""


class PairRun(RunDirectory):
    """A face_pairs run; its plan is the list of photos."""

    plan = schema.SOURCES
    plan_folder = "sources"
    folders = ("sources", "splits", "photos", "pairs", "checks", "metrics")


class SplitPlan(PairRun):
    """The same run once every photo has its split, which is the plan of painting."""

    plan = schema.SPLITS
    plan_folder = "splits"


def identity(config: FacePairs) -> dict[str, Any]:
    """All that determines what is painted. UserError for a model that cannot inpaint."""
    kind = pipeline_index(config.model)["_class_name"]
    if kind not in INPAINTING:
        raise UserError(
            f"a model that inpaints must be of Stable Diffusion 1.5 or SDXL, got {kind} "
            f"(model {config.model.name})"
        )
    sampler = config.sampler_of_model.model_dump(mode="json")
    return {**model_identity(config.model), "sampler": sampler}


def plan_photos(run: PairRun, config: FacePairs) -> pa.Table:
    """The photos of the run: what it was begun with, else what the source lists now."""
    if run.next_part():
        return run.samples()
    return list_photos(config.photos, config.pools.look.batch_size)


def describe(config: FacePairs, photos: pa.Table) -> str:
    """What a run would do, for --dry-run."""
    each = len(config.strengths) * len(config.seed_list)
    sampler = config.sampler_of_model
    most = len(photos) * config.faces * each
    lines = [
        f"{len(photos):,} photos, up to {config.faces} faces each, painted {each} times: up to "
        f"{most:,} painted faces, {most * len(config.kinds):,} pairs "
        f"({', '.join(config.kinds)})",
        f"  {config.model.name}: {config.model.id}, {sampler.scheduler or 'own scheduler'}, "
        f"{sampler.steps} steps × strength {', '.join(f'{s:g}' for s in config.strengths)}, "
        f"guidance {sampler.guidance:g}, {sampler.width}×{sampler.height}, {config.model.dtype}",
        f"  faces: {config.detector.backend}, at least {config.min_face:g} pixels",
    ]
    lines += [
        f"  pool {name}: {pool.min} to {pool.max} actors of {pool.gpus_per_actor:g} GPU and "
        f"{pool.cpus_per_actor:g} CPU"
        for name, pool in config.pools
    ]
    return "\n".join(lines)


def look(run: PairRun, config: FacePairs, **how: Any) -> None:
    """Open the photos that were not opened yet, and find their faces; see `_work`."""
    parts = parts_without(run, [PHOTOS_FILE])
    step = Step(
        "look", partial(Look, config), config.pools.look, run.uri, PHOTOS_FILE, stored_photos
    )
    _work(run, [(parts, [step])], [[("look", config.pools.look)]], **how)


def paint(run: PairRun, config: FacePairs, made_by: dict[str, Any], **how: Any) -> None:
    """Make the pairs that are not there yet, then look at what is stored; see `_work`."""
    plan, pools = SplitPlan(run.uri), config.pools
    pinned = config.model_copy(update={"model": pinned_model(config.model)})
    make = partial(Paint, pinned, run.uri, content_hash(made_by))
    painting = Step("inpaint", make, pools.inpaint, run.uri, PAIRS_FILE, stored_pairs)
    check = partial(CheckPairs, config, run.uri)
    checking = Step("check", check, pools.look, run.uri, CHECKS_FILE, stored_checks)
    chains = [
        (parts_without(plan, [PAIRS_FILE]), [painting]),
        (parts_without(plan, [CHECKS_FILE]), [checking]),
    ]
    _work(run, chains, [[("inpaint", pools.inpaint)], [("look", pools.look)]], **how)


def _work(
    run: PairRun,
    chains: list[Any],
    pools: list[Any],
    *,
    address: str | None,
    verbose: bool,
    tell: Callable[[str], None],
) -> None:
    """Send what is missing through its chains on Ray, which is left alone if nothing is."""
    todo = [(parts, steps) for parts, steps in chains if parts]
    if not todo:
        return
    from raypipe.stages import cluster

    for warning in cluster.connect(address, verbose, pools):
        tell(f"warning: {warning}")
    work_through(run.folder, todo)


def assign_splits(run: PairRun, config: FacePairs) -> None:
    """Write the split of every photo, once. UserError where no photo has a face to paint.

    Near-duplicates share a group and so a split; a photo that is there twice makes pairs once.
    """
    plan = SplitPlan(run.uri)
    if plan.next_part():
        return
    photos = run_columns(run, "photos", ["photo_id", "hash", "status", "reason"])
    batches = run.samples()["batch_id"]
    assert len(batches) == len(photos)
    usable = [i for i, status in enumerate(photos["status"].to_pylist()) if status == schema.OK]
    if not usable:
        told = ", ".join(f"{n:,} {r}" for r, n in Counter(photos["reason"].to_pylist()).items())
        raise UserError(
            f"no photo has a face to paint, of {len(photos):,}: {told}; detector, min_face and "
            f"photos decide, and {run.uri}/photos says which photo has which reason"
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
    """Group and split of each photo, those of a known run in mind."""
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

    UserError for a directory that is no finished run of this job.
    """
    if uri is None:
        return {}, np.empty((0, near_duplicates.WORDS), np.uint64)
    run = SplitPlan(uri)
    if run.manifest() is None or not run.next_part():
        raise UserError(f"splits.known must name a finished run of jobs/face_pairs.py, got {uri}")
    split_of = {
        row["photo_id"]: row["split"]
        for row in run.samples().select(["photo_id", "split"]).to_pylist()
        if row["split"] is not None
    }
    photos = run_columns(run, "photos", ["photo_id", "hash", "status"]).to_pylist()
    hash_of = {row["photo_id"]: row["hash"] for row in photos if row["status"] == schema.OK}
    return split_of, np.array([hash_of[i] for i in split_of], np.uint64).reshape(
        -1, near_duplicates.WORDS
    )


def run_columns(run: PairRun, folder: str, columns: list[str]) -> pa.Table:
    """Some columns of every file of a folder, in order."""
    return pa.concat_tables(
        pq.read_table(run.folder.open(f"{folder}/{name}"), columns=columns)
        for name in run.folder.names(folder)
    )


def read_rows(folder: Folder, name: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows of one file of a run."""
    return pq.read_table(folder.open(name), columns=columns).to_pylist()
