"""jobs/face_pairs.py on a few miniature photos, and its chains without Ray."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe.engine.stage import Stage
from raypipe.engine.work import parts_without
from raypipe.miniature.photos import photo_specs, write_folder
from raypipe.storage.directory import write_table
from raypipe.studies.face_pairs import plan as face_pairs_plan
from raypipe.studies.face_pairs import run as pair_run
from raypipe.studies.face_pairs.check import CHECKS_FILE, CheckPairs, stored_checks
from raypipe.studies.face_pairs.look import Look, stored_photos
from raypipe.studies.face_pairs.paint import PAIRS_FILE, PHOTOS_FILE, Paint, stored_pairs
from raypipe.studies.face_pairs.settings import FacePairs


def photos(folder: Path, count: int, first: int = 0, faceless: float = 0.0) -> Path:
    """A folder of miniature photos with their captions."""
    write_folder(photo_specs(count, faceless, first), folder)
    return folder


def tree(photos: Path | dict[str, Any], output: Path, **changes: Any) -> dict[str, Any]:
    """A config of few steps."""
    return {
        "photos": photos if isinstance(photos, dict) else str(photos),
        "model": {"name": "sd15", "id": "miniature/sd15"},
        "sampler": {"steps": 4, "guidance": 1, "width": 64, "height": 64},
        "longest": 64,
        "min_face": 16,
        "strengths": [0.5, 1.0],
        "splits": {"train": 0.5, "validation": 0.25, "test": 0.25},
        "pools": {"look": {"batch_size": 3}},
        "output": str(output),
        **changes,
    }


def config(photos: Path | dict[str, Any], output: Path, **changes: Any) -> FacePairs:
    """The config itself."""
    return FacePairs.model_validate(tree(photos, output, **changes))


def begin(config: FacePairs) -> pair_run.PairRun:
    """A run directory as far as its plan, as the job begins one."""
    run = pair_run.PairRun(config.output)
    run.check(config)
    made_by = face_pairs_plan.identity(config)
    run.check_model(made_by)
    planned = face_pairs_plan.plan_photos(run, config)
    run.begin(config, model=made_by)
    if not run.next_part():
        run.add_samples(planned, 0)
    return run


def look(run: pair_run.PairRun, config: FacePairs) -> None:
    """The first chain, here."""
    _work(run, PHOTOS_FILE, partial(Look, config), stored_photos)


def paint(run: pair_run.PairRun, config: FacePairs) -> None:
    """The chains that follow the splits, here."""
    plan = pair_run.SplitPlan(run.uri)
    _work(plan, PAIRS_FILE, partial(Paint, config, run.uri, "settings"), stored_pairs)
    _work(plan, CHECKS_FILE, partial(CheckPairs, config, run.uri), stored_checks)


def _work(
    run: pair_run.PairRun,
    file: str,
    make: Callable[[], Stage],
    keep: Callable[[pa.Table], pa.Table],
) -> None:
    parts = parts_without(run, [file])
    stage = make() if parts else None
    for part in parts:
        for batch in part.read():
            assert stage is not None
            new = stage(batch.select(stage.reads))
            assert len(new) == len(batch)
            for name in new.column_names:
                batch = batch.append_column(new.schema.field(name), new[name])
            write_table(run.folder, file.format(batch_id=batch["batch_id"][0].as_py()), keep(batch))
