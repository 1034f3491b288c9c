"""results.json of jobs/face_score.py."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.config.sections import Statistics
from raypipe.core.pictures import open_picture
from raypipe.core.ranking import accuracy, agreement, compare_metrics
from raypipe.metrics.settings import Sharpness as SharpnessSettings
from raypipe.metrics.sharpness import Sharpness
from raypipe.storage import parquet, schema
from raypipe.storage.damage import reading
from raypipe.storage.files import Folder
from raypipe.studies.face_score.data import FOLDER
from raypipe.studies.face_score.settings import FaceScore
from raypipe.studies.face_score.task import TESTED
from raypipe.training.loop import STEPS, VALIDATIONS, read_log

SIDES = ("good", "bad")


def results(config: FaceScore, folder: Folder, counts: dict[str, int]) -> dict[str, Any]:
    """results.json: pair accuracy on the test split, in all, by tag and by kind.

    Sharpness is tested too: a score of faces must do better than that shortcut.
    """
    tested = parquet.read(folder, TESTED)
    good_M = np.ones(len(tested))
    correct_M = agreement(tested["good_score"].to_numpy(), tested["bad_score"].to_numpy(), good_M)
    clusters_M = tested["photo_id"].to_numpy(zero_copy_only=False)
    baseline_M = _sharpness_right(folder)
    settings = Statistics(
        alpha=config.alpha, resamples=config.resamples, seed=config.training.seed
    ).bootstrap

    def judged(correct: NDArray[np.float64], rows: NDArray[np.bool_]) -> dict[str, Any]:
        return asdict(accuracy(correct[rows], clusters_M[rows], **settings))

    everything = np.ones(len(tested), bool)
    comparison = compare_metrics(
        correct_M, baseline_M, clusters_M, a="Face Score", b="sharpness", **settings
    )
    steps, validations = read_log(folder, STEPS), read_log(folder, VALIDATIONS)
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "alpha": config.alpha,
        "pairs": {split: counts[split] for split in ("train", "validation", "test")},
        "left_out": {k: n for k, n in counts.items() if k in ("refused", "same", "other kind")},
        "test": {
            "pair_accuracy": judged(correct_M, everything),
            "by_tag": {name: judged(correct_M, rows) for name, rows in _groups(tested, "tags")},
            "by_kind": {name: judged(correct_M, rows) for name, rows in _groups(tested, "kind")},
            "sharpness": judged(baseline_M, everything),
            "against_sharpness": {
                "difference": asdict(comparison.difference),
                "p_value": comparison.test.p_value,
                "method": comparison.test.method,
            },
        },
        "training": {
            "steps": len(steps),
            "best_step": max(validations, key=lambda line: line["accuracy"])["step"],
            "validations": validations,
        },
        "notes": [note for note in [alarm(config, [line["loss"] for line in steps])] if note],
    }


def alarm(config: FaceScore, losses: Sequence[float]) -> str | None:
    """A warning where the loss is still ln 2 at the end: nothing was learned."""
    recent = losses[-config.alarm.after :]
    if not recent or abs(float(np.mean(recent)) - math.log(2)) > config.alarm.within:
        return None
    return (
        f"the loss stays at {np.mean(recent):.3f}, near ln 2, that of a coin flip: nothing was "
        "learned; a larger training.lr, a smaller frozen share or more steps may help"
    )


def _groups(tested: pa.Table, column: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """Rows of each tag, or of each kind, by name."""
    lists = [v if isinstance(v, list) else [v] for v in tested[column].to_pylist()]
    names = sorted({name for row in lists for name in row})
    return [(name, np.array([name in row for row in lists])) for name in names]


def crops_of_test(folder: Folder, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The crops of the test split, in the order of TESTED."""
    rows: list[dict[str, Any]] = []
    for name in folder.names(f"{FOLDER}/test"):
        path = f"{FOLDER}/test/{name}"
        with folder.open(path) as file, reading(folder.uri, path, "an Arrow file"):
            rows += pa.ipc.open_file(file).read_all().select(list(columns)).to_pylist()
    return rows


def _sharpness_right(folder: Folder) -> NDArray[np.float64]:
    rows, measure = crops_of_test(folder, SIDES), Sharpness(SharpnessSettings())
    sides = {side: measure([open_picture(row[side]) for row in rows]) for side in SIDES}
    return agreement(sides["good"], sides["bad"], np.ones(len(rows)))
