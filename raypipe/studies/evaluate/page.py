"""The page and the last lines of jobs/evaluate.py."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from raypipe.inputs.runs import read_usable
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.thumbnail import make_thumbnail
from raypipe.report.words import (
    change_cells,
    clear_change,
    confidence,
    count,
    ends,
    number,
    p_phrase,
    signed,
)
from raypipe.studies.evaluate.read import source_of
from raypipe.studies.evaluate.results import Outcome
from raypipe.studies.evaluate.run import EvaluateRun
from raypipe.studies.evaluate.settings import Evaluate

READS = {"picture": "picture", "face": "faces", "prompt": "pictures of a prompt", "set": "set"}
"""What a metric's scores are of."""

SHOWN = 4
"""Pictures shown from each end of a metric."""

SIDE = 160
"""Longest side of a picture on the page, pixels."""


def extremes(run: EvaluateRun, config: Evaluate, outcome: Outcome) -> list[Strip]:
    """The pictures with the lowest and the highest scores, by every metric of pictures."""
    pictures = run.samples().filter(pc.invert(run.samples()["is_reference"]))
    strips = []
    source = source_of(config)
    for metric in config.metrics:
        if metric.reads == "set":
            continue
        scores = outcome.table[metric.label].to_numpy()
        known = np.flatnonzero(np.isfinite(scores))
        order = known[np.argsort(scores[known], kind="stable")]
        rows = np.unique(np.r_[order[:SHOWN], order[-SHOWN:]])
        if not len(rows):
            continue
        rows = rows[np.argsort(scores[rows], kind="stable")]
        chosen = pictures.take(rows)
        images = read_usable(source, chosen.to_pylist())
        names = chosen["model"].to_pylist()
        strips.append(
            Strip(
                f"{metric.label}: lowest to highest",
                [
                    (make_thumbnail(image, SIDE), f"{name} {number(scores[row])}")
                    for image, name, row in zip(images, names, rows, strict=True)
                    if image is not None
                ],
            )
        )
    return strips


def sheet(results: dict[str, Any], strips: Sequence[Strip]) -> Sheet:
    level = confidence(results["alpha"])
    sections = [Section("Scores", tables=[_scores(results, level)])]
    if results["comparisons"]:
        sections.append(
            Section(
                "Changes",
                f"Every model minus {results['baseline']}, paired by prompt; p-values are "
                "corrected for all rows of the table (Holm).",
                tables=[_changes(results, level)],
            )
        )
    sections.append(Section("Metrics", tables=[_metrics(results)]))
    if strips:
        sections.append(Section("Pictures", strips=strips))
    unusable = sum(results["quarantined"].values())
    return Sheet(
        eyebrow="Evaluation",
        title="How good are the pictures?",
        sentences=_sentences(results),
        facts=[
            ("pictures", f"{results['images']:,}"),
            ("models", ", ".join(results["models"])),
            ("metrics", f"{len(results['metrics'])}"),
            ("unusable", f"{unusable:,}"),
        ]
        + [(f"pairs left out: {reason}", f"{n:,}") for reason, n in results["left_out"].items()],
        notes=results["notes"],
        sections=sections,
    )


def summary(results: dict[str, Any]) -> str:
    width = max(len(metric["name"]) for metric in results["metrics"])
    lines = []
    for metric in results["metrics"]:
        for model in metric["models"]:
            interval = ends(model["interval"])
            lines.append(
                f"{metric['name']:<{width}}  {model['model']:<12} {number(model['mean'], 3):>9}"
                f"  {interval:<20} n = {model['n']:,}"
            )
    lines += [
        f"{change['metric']:<{width}}  {change['variant']} minus {change['baseline']}: "
        f"{signed(change['mean_change'], 3)} ({p_phrase(change['p_adjusted'])})"
        for change in results["comparisons"]
    ]
    return "\n".join([*lines, *results["notes"]])


def _sentences(results: dict[str, Any]) -> list[str]:
    names = count(len(results["metrics"]), "metric")
    first = f"{results['images']:,} pictures of {', '.join(results['models'])}, by {names}."
    changed = [c for c in results["comparisons"] if c["mean_change"] is not None]
    if not changed:
        return [first]
    found = [
        f"{clause} ({p_phrase(c['p_adjusted'])})"
        for c in changed
        if (clause := clear_change(c, results["alpha"]))
    ]
    rest = f"Against {results['baseline']}: " + ("; ".join(found) or "no change is shown") + "."
    return [first, rest]


def _scores(results: dict[str, Any], level: str) -> Table:
    rows = [
        [
            metric["name"],
            model["model"],
            number(model["mean"], 3),
            ends(model["interval"]),
            number(model["sd"], 3),
            f"{model['n']:,}",
            f"{sum(model['quarantined'].values()):,}",
        ]
        for metric in results["metrics"]
        for model in metric["models"]
    ]
    head = ["metric", "model", "mean", f"{level} interval", "sd", "n", "without a score"]
    return Table(head, rows, "Intervals are over prompts, or source photos, not over pictures")


def _changes(results: dict[str, Any], level: str) -> Table:
    rows = [[c["metric"], c["variant"], *change_cells(c)] for c in results["comparisons"]]
    return Table(["metric", "model", "change", f"{level} interval", "p", "wins", "prompts"], rows)


def _metrics(results: dict[str, Any]) -> Table:
    rows = [
        [
            metric["name"],
            metric["title"],
            "higher" if metric["higher_is_better"] else "lower",
            f"{_bound(metric['range']['low'], '−')} to {_bound(metric['range']['high'], '')}",
            READS[metric["reads"]],
            metric["source"],
        ]
        for metric in results["metrics"]
    ]
    return Table(["name", "metric", "better", "range", "reads", "source"], rows)


def _bound(value: float | None, sign: str) -> str:
    return f"{sign}∞" if value is None else f"{value:g}".replace("-", "−")
