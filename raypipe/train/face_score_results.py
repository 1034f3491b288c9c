"""What a Face Score training has shown: results.json and the report."""

import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from raypipe import schema
from raypipe.core.ranking import Accuracy, accuracy, compare_metrics
from raypipe.face_settings import FaceScore
from raypipe.files import Folder
from raypipe.metrics.settings import Sharpness as SharpnessSettings
from raypipe.metrics.sharpness import Sharpness
from raypipe.report import figures
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.words import UNDEFINED, number, p_phrase
from raypipe.train.face_score import TESTED
from raypipe.train.loop import STEPS, VALIDATIONS, read_log
from raypipe.train.pairs import FOLDER

SIDES = ("good", "bad")
SHOWN = 8
"""Pairs shown on the page, the hardest ones first."""


def results(config: FaceScore, folder: Folder, counts: dict[str, int]) -> dict[str, Any]:
    """results.json: pair accuracy on the test split, in all, by tag and by kind.

    Sharpness stands beside it, as the shortcut that a score of faces must not be.
    """
    tested = pq.read_table(folder.open(TESTED))
    correct_M = right(tested["good_score"].to_numpy(), tested["bad_score"].to_numpy())
    photos_M = tested["photo_id"].to_numpy(zero_copy_only=False)
    baseline_M = _sharpness_right(folder)

    def judged(correct: NDArray[np.float64], rows: NDArray[np.bool_]) -> dict[str, Any]:
        found = accuracy(
            correct[rows],
            photos_M[rows],
            seed=config.training.seed,
            resamples=config.resamples,
            confidence=1 - config.alpha,
        )
        return _told(found)

    everything = np.ones(len(tested), bool)
    comparison = compare_metrics(
        correct_M,
        baseline_M,
        photos_M,
        a="Face Score",
        b="sharpness",
        seed=config.training.seed,
        resamples=config.resamples,
        confidence=1 - config.alpha,
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


def right(good: NDArray[np.float64], bad: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the good one scores higher, 0 where the bad one does, ½ where neither."""
    return np.asarray((1 + np.sign(good - bad)) / 2, np.float64)


def alarm(config: FaceScore, losses: Sequence[float]) -> str | None:
    """A warning where the loss stands at ln 2 at the end: nothing was learned."""
    recent = losses[-config.alarm.after :]
    if not recent or abs(float(np.mean(recent)) - math.log(2)) > config.alarm.within:
        return None
    return (
        f"the loss stands at {np.mean(recent):.3f}, which is ln 2, that of a coin: nothing was "
        "learned; a larger training.lr, a smaller frozen share or more steps may help"
    )


def _groups(tested: pa.Table, column: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """Rows of each tag, or of each kind, by name."""
    lists = [v if isinstance(v, list) else [v] for v in tested[column].to_pylist()]
    names = sorted({name for row in lists for name in row})
    return [(name, np.array([name in row for row in lists])) for name in names]


def _told(found: Accuracy) -> dict[str, Any]:
    keys = ("value", "low", "high", "n", "ties", "photos", "method", "reason")
    return {key: value for key, value in asdict(found).items() if key in keys}


def _test_crops(folder: Folder, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The crops of the test split, in the order of TESTED."""
    rows: list[dict[str, Any]] = []
    for name in folder.names(f"{FOLDER}/test"):
        with folder.open(f"{FOLDER}/test/{name}") as file:
            rows += pa.ipc.open_file(file).read_all().select(list(columns)).to_pylist()
    return rows


def _sharpness_right(folder: Folder) -> NDArray[np.float64]:
    rows, measure = _test_crops(folder, SIDES), Sharpness(SharpnessSettings())
    sides = {side: measure([Image.open(io.BytesIO(row[side])) for row in rows]) for side in SIDES}
    return right(sides["good"], sides["bad"])


def sheet(results: dict[str, Any], folder: Folder) -> Sheet:
    """The report."""
    test = results["test"]
    level = f"{100 * (1 - results['alpha']):.4g} %"
    accuracy_, sharp = test["pair_accuracy"], test["sharpness"]
    against = test["against_sharpness"]
    sentences = [
        f"On {accuracy_['n']:,} pairs of {accuracy_['photos']:,} unseen photos, Face Score prefers "
        f"the good face in {_percent(accuracy_)}.",
        f"Sharpness alone does so in {_percent(sharp)} ({p_phrase(against['p_value'])}).",
    ]
    rows = [["all", *_row(accuracy_)]]
    rows += [[f"kind: {name}", *_row(found)] for name, found in test["by_kind"].items()]
    rows += [[n, *_row(found)] for n, found in test["by_tag"].items() if n not in test["by_kind"]]
    head = ["pairs", "accuracy", f"{level} interval", "n", "photos"]
    table = Table(head, rows, "Share of test pairs whose good face scores higher")
    steps, validations = read_log(folder, STEPS), results["training"]["validations"]
    curves = [
        (_curve("loss", steps, "loss", math.log(2)), "Loss of each step; the line is ln 2."),
        (
            _curve("accuracy", validations, "accuracy", 0.5),
            "Pair accuracy on the validation split; the line is chance.",
        ),
    ]
    return Sheet(
        eyebrow="Face Score",
        title="Does it tell good faces from bad ones?",
        sentences=sentences,
        facts=[(f"{split} pairs", f"{n:,}") for split, n in results["pairs"].items()]
        + [("best step", f"{results['training']['best_step']:,}")],
        notes=results["notes"],
        sections=[
            Section("Accuracy", tables=[table]),
            Section("Training", figures=curves),
            Section(
                "Hardest pairs",
                "The test pairs whose bad face leads by most, or whose good face leads by least.",
                strips=_hardest(folder),
            ),
        ],
    )


def _percent(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return UNDEFINED
    ends = f" ({100 * found['low']:.1f} to {100 * found['high']:.1f})" if found["low"] else ""
    return f"{100 * found['value']:.1f} %{ends}"


def _row(found: dict[str, Any]) -> list[str]:
    if found["value"] is None:
        return [UNDEFINED, UNDEFINED, "0", "0"]
    ends = UNDEFINED if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"
    return [number(found["value"], 3), ends, f"{found['n']:,}", f"{found['photos']:,}"]


def _curve(name: str, lines: Sequence[dict[str, Any]], key: str, level: float) -> str:
    return figures.curve(
        name, [line["step"] for line in lines], [line[key] for line in lines], "step", key, level
    )


def _hardest(folder: Folder) -> list[Strip]:
    tested = pq.read_table(folder.open(TESTED)).to_pylist()
    crops = _test_crops(folder, ["good", "bad"])
    order = sorted(
        range(len(tested)), key=lambda i: tested[i]["good_score"] - tested[i]["bad_score"]
    )
    return [
        Strip(
            f"{tested[i]['kind']}, {', '.join(tested[i]['tags'])}",
            [(crops[i][side], f"{side} {tested[i][f'{side}_score']:.2f}") for side in SIDES],
        )
        for i in order[:SHOWN]
    ]


def summary(results: dict[str, Any]) -> str:
    """The last lines that the job prints."""
    test = results["test"]
    lines = [
        f"Face Score  {_percent(test['pair_accuracy']):<24} {test['pair_accuracy']['n']} pairs"
    ]
    lines += [f"  {name:<18}{_percent(found)}" for name, found in test["by_kind"].items()]
    lines += [f"sharpness   {_percent(test['sharpness'])}", *results["notes"]]
    return "\n".join(lines)
