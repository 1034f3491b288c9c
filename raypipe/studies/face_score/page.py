"""The page and the last lines of jobs/face_score.py."""

import math
from collections.abc import Sequence
from typing import Any

from raypipe.report import figures
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.words import confidence, ends, number, p_phrase, share
from raypipe.storage import parquet
from raypipe.storage.files import Folder
from raypipe.studies.face_score.results import SIDES, crops_of_test
from raypipe.studies.face_score.task import TESTED
from raypipe.training.loop import STEPS, read_log

SHOWN = 8
"""Pairs shown on the page, the hardest ones first."""


def sheet(results: dict[str, Any], folder: Folder) -> Sheet:
    test = results["test"]
    level = confidence(results["alpha"])
    accuracy_, sharp = test["pair_accuracy"], test["sharpness"]
    against = test["against_sharpness"]
    sentences = [
        f"On {accuracy_['n']:,} pairs of {accuracy_['photos']:,} unseen photos, Face Score prefers "
        f"the good face in {share(accuracy_)}.",
        f"Sharpness alone does so in {share(sharp)} ({p_phrase(against['p_value'])}).",
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


def _row(found: dict[str, Any]) -> list[str]:
    return [number(found["value"], 3), ends(found), f"{found['n']:,}", f"{found['photos']:,}"]


def _curve(name: str, lines: Sequence[dict[str, Any]], key: str, level: float) -> str:
    return figures.curve(
        name, [line["step"] for line in lines], [line[key] for line in lines], "step", key, level
    )


def _hardest(folder: Folder) -> list[Strip]:
    tested = parquet.read(folder, TESTED).to_pylist()
    crops = crops_of_test(folder, ["good", "bad"])
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
    test = results["test"]
    lines = [f"Face Score  {share(test['pair_accuracy']):<24} {test['pair_accuracy']['n']} pairs"]
    lines += [f"  {name:<18}{share(found)}" for name, found in test["by_kind"].items()]
    lines += [f"sharpness   {share(test['sharpness'])}", *results["notes"]]
    return "\n".join(lines)
