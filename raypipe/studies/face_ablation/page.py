"""The page and the last lines of jobs/face_ablation.py."""

from collections.abc import Sequence
from typing import Any

import pyarrow.dataset as pads

from raypipe.inputs.runs import tables
from raypipe.report import figures
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.thumbnail import make_thumbnail
from raypipe.report.words import (
    UNDEFINED,
    change_cells,
    clear_change,
    confidence,
    count,
    ends,
    number,
    p_phrase,
    signed,
)
from raypipe.storage.files import Folder
from raypipe.studies.face_ablation.plan import BASE, Plan

SHOWN = 8
"""Prompts whose pictures are shown side by side."""

SIDE = 128
"""Longest side of a picture on the page, pixels."""


def describe(plan: Plan) -> str:
    """What would be done, for --dry-run."""
    steps = sum(training.config.training.steps for training in plan.trainings)
    lines = [f"would train {len(plan.trainings)} LoRAs, {steps:,} steps in all"]
    for name, tree in plan.pictures.items():
        metrics = ", ".join(metric.label for metric in plan.scores[name].metrics)
        models = count(len(tree.models), "model")
        lines.append(f"{name}: pictures by {models}, {tree.seeds} seeds a prompt, by {metrics}")
    return "\n".join(lines)


def side_by_side(plan: Plan) -> list[Strip]:
    """The same picture of a few face prompts by the base and by the first LoRA of each variant."""
    folder = Folder(plan.pictures["faces"].output)
    names = {BASE: BASE} | {t.name: t.variant for t in plan.trainings if t.seed == 0}
    chosen: dict[str, dict[str, bytes]] = {}
    wanted = pads.field("model").isin(list(names)) & (pads.field("seed") == 0)
    for _, table in tables(folder, "images", ["model", "prompt", "seed", "image"]):
        for row in table.filter(wanted).to_pylist():
            if row["image"] is not None:
                chosen.setdefault(row["prompt"], {})[row["model"]] = row["image"]
    complete = [(p, made) for p, made in sorted(chosen.items()) if len(made) == len(names)]
    return [
        Strip(
            prompt,
            [(make_thumbnail(made[name], SIDE), variant) for name, variant in names.items()],
            large=True,
        )
        for prompt, made in complete[:SHOWN]
    ]


def sheet(results: dict[str, Any], strips: Sequence[Strip]) -> Sheet:
    """The report: what each variant changes, where faces are asked for and elsewhere."""
    level = confidence(results["alpha"])
    sections = []
    for name, title in (("faces", "Faces"), ("general", "General ability")):
        rows = [c for c in results["comparisons"] if c["set"] == name]
        drawn = [
            (_figure(name, metric, rows), f"{metric}: change against the base, {level} interval.")
            for metric in dict.fromkeys(row["metric"] for row in rows)
        ]
        lead = (
            "Every variant, over all its trainings, minus the base; paired by prompt. p-values are "
            "corrected for all rows of both tables (Holm)."
        )
        tables = [_changes(rows, level)] + ([_kept(results)] if name == "general" else [])
        sections.append(Section(title, lead, tables=tables, figures=drawn))
    sections.append(Section("Trainings", "The same by single LoRAs.", tables=[_by_seed(results)]))
    if strips:
        sections.append(Section("Side by side", "The same prompt and seed.", strips=strips))
    return Sheet(
        eyebrow="Ablation",
        title="Which loss improves faces, and what does it cost?",
        sentences=_sentences(results),
        facts=[
            ("variants", ", ".join(results["variants"])),
            ("trainings of each", f"{results['training_seeds']}"),
        ],
        sections=sections,
    )


def summary(results: dict[str, Any]) -> str:
    width = max(len(c["metric"]) for c in results["comparisons"])
    return "\n".join(
        f"{c['set']:<8} {c['metric']:<{width}}  {c['variant']} minus {c['baseline']}: "
        f"{signed(c['mean_change'], 3)}  {ends(c)} ({p_phrase(c['p_adjusted'])})"
        for c in results["comparisons"]
    )


def _sentences(results: dict[str, Any]) -> list[str]:
    mine = [c for c in results["comparisons"] if (c["set"], c["baseline"]) == ("faces", BASE)]
    found = [clause for c in mine if (clause := clear_change(c, results["alpha"]))]
    lost = [f"{k['variant']} ({k['metric']})" for k in results["kept"] if not k["kept"]]
    faces = "On faces: " + ("; ".join(found) or "no change is shown") + "."
    limit = f"{results['margin']:g} standard deviations"
    if not lost:
        return [faces, f"A loss of general ability beyond {limit} is excluded for every variant."]
    return [faces, f"A loss of more than {limit} is not excluded for {', '.join(lost)}."]


def _figure(name: str, metric: str, rows: Sequence[dict[str, Any]]) -> str:
    mine = [
        (c["variant"], c["mean_change"], c["low"], c["high"])
        for c in rows
        if c["metric"] == metric and c["baseline"] == BASE and c["mean_change"] is not None
    ]
    return figures.intervals(f"{name}-{metric}", mine, f"change of {metric}", 0.0)


def _changes(rows: Sequence[dict[str, Any]], level: str) -> Table:
    head = ["metric", "variant", "minus", "change", f"{level} interval", "p", "wins", "prompts"]
    return Table(head, [[c["metric"], c["variant"], c["baseline"], *change_cells(c)] for c in rows])


def _kept(results: dict[str, Any]) -> Table:
    head = ["metric", "variant", "largest loss that is allowed", "loss beyond it excluded"]
    words = {True: "yes", False: "no", None: UNDEFINED}
    lines = [
        [k["metric"], k["variant"], number(k["largest_loss"], 3), words[k["kept"]]]
        for k in results["kept"]
    ]
    margin = f"{results['margin']:g} standard deviations of the base's prompts are allowed"
    return Table(head, lines, margin)


def _by_seed(results: dict[str, Any]) -> Table:
    seeds = range(results["training_seeds"])
    cells: dict[tuple[str, str, str], dict[int, float | None]] = {}
    for row in results["by_seed"]:
        key = row["set"], row["metric"], row["variant"]
        cells.setdefault(key, {})[row["seed"]] = row["mean_change"]
    lines = [[*key, *(signed(values[seed], 3) for seed in seeds)] for key, values in cells.items()]
    return Table(["prompts", "metric", "variant", *(f"seed {seed}" for seed in seeds)], lines)
