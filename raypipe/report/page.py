"""The report: one HTML page that needs no network, rendered from results.json and its tables."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.report import figures, words
from raypipe.report.facts import flatten, settings
from raypipe.report.pictures import Thumbnails, choose
from raypipe.report.tests_table import rows

MAX_LISTED = 200
"""Rows shown of a list that may be long (quarantined samples, prompts without a score)."""

HERE = Path(__file__).parent


def render(
    results: Mapping[str, Any],
    scores: pa.Table,
    manifest: Mapping[str, Any],
    thumbnails: Thumbnails,
    *,
    quarantined: pa.Table | None = None,
    max_prompts: int = 24,
) -> str:
    """Render the report of a consistency run as one self-contained HTML page.

    results: what build_results made. scores: raypipe.schema.SCORES. manifest: the content of
    manifest.json; `config`, `models`, `packages`, `counts` and whatever else is there is shown.
    thumbnails: called for at most `max_prompts` prompts, once per model. quarantined: rows of
    raypipe.schema.IMAGES (the image itself may be left out), of which the first are listed.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {f.__name__: f for f in (words.number, words.signed, words.percent)}
    script = (HERE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    main = scores.filter(pc.field("encoder") == results["encoder"])
    return environment.get_template("template.html").render(
        results=results,
        names=[model["name"] for model in results["models"]],
        level=f"{100 * (1 - results['alpha']):.4g} %",
        settings=settings(results, manifest),
        comparisons=_comparisons(results, Markup),
        figures={name: Markup(svg) for name, svg in _figures(results, main).items()},
        pictures=choose(results, main, thumbnails, max_prompts),
        quarantined=_listed(quarantined, ["model", "prompt", "seed", "reason"]),
        unscored=_listed(main.filter(pc.field("scs").is_null()), ["model", "prompt", "reason"]),
        provenance={key: flatten(value) for key, value in _provenance(manifest).items()},
        config=json.dumps(manifest.get("config"), indent=2, ensure_ascii=False, default=str),
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,
    )


def _figures(results: Mapping[str, Any], scores: pa.Table) -> dict[str, str]:
    """Inline SVG by name; a figure without data is an empty string."""
    samples = []
    for model in results["models"]:
        own = scores.filter(pc.field("model") == model["name"])["scs"].drop_null()
        samples.append((model["name"], own.to_numpy()))
    curves = [
        (curve["model"], index, curve["n_images"], curve["scs"], curve["se"])
        for index, curve in enumerate(results["convergence"])
        if len(curve["n_images"]) > 1
    ]
    return {
        "distributions": figures.distributions(samples) if any(len(s) for _, s in samples) else "",
        "convergence": figures.convergence_curves(curves) if curves else "",
    }


def _comparisons(results: Mapping[str, Any], markup: Any) -> list[dict[str, Any]]:
    """Each comparison with its sentence, its place on the shared axis, its figure and its rows."""
    models = {model["name"]: (index, model) for index, model in enumerate(results["models"])}
    axis = _axis(results["comparisons"])
    told = []
    for index, item in enumerate(results["comparisons"]):
        (index_a, a), (index_b, b) = models[item["a"]], models[item["b"]]
        mean = item["mean_difference"]
        interval = None if mean["low"] is None else (mean["value"], mean["low"], mean["high"])
        figure = ""
        if item["sorted_differences"]:
            pair, colours = (item["a"], item["b"]), (index_a, index_b)
            figure = figures.paired_differences(
                item["sorted_differences"], interval, pair, colours, str(index)
            )
        told.append(
            {
                "item": item,
                "sentence": _unbroken(words.verdict_sentence(item, results["alpha"])),
                "decided": item["verdict"] in ("a_more_consistent", "b_more_consistent"),
                "colours": (index_a % 6, index_b % 6),
                "clip": (a["clip_score"], b["clip_score"]),
                "place": {key: _place(mean[key], axis) for key in ("value", "low", "high")},
                "zero": _place(0.0, axis),
                "figure": markup(figure),
                "rows": rows(item),
            }
        )
    return told


def _unbroken(sentence: str) -> str:
    """Keep a number with its unit and an equation on one line."""
    return sentence.replace(" %", "\u00a0%").replace(" = ", "\u00a0=\u00a0")


def _axis(comparisons: list[dict[str, Any]]) -> tuple[float, float]:
    """Range of differences around zero that holds every interval, with some air."""
    values = [value for item in comparisons for value in item["mean_difference"].values()]
    reach = 1.08 * max((abs(v) for v in values if isinstance(v, float)), default=0.0) or 1.0
    return -reach, reach


def _place(value: float | None, axis: tuple[float, float]) -> float | None:
    """Percent of the way along the axis."""
    low, high = axis
    return None if value is None else round(100 * (value - low) / (high - low), 2)


def _listed(table: pa.Table | None, columns: list[str]) -> dict[str, Any]:
    """The first rows of a table, and how many there are in all."""
    if table is None:
        return {"n": 0, "rows": []}
    return {"n": table.num_rows, "rows": table.select(columns).slice(0, MAX_LISTED).to_pylist()}


def _provenance(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest in parts: the run itself, then models, packages and counts."""
    parts = {key: manifest[key] for key in ("models", "packages", "counts") if manifest.get(key)}
    run = {key: manifest[key] for key in manifest if key not in parts and key != "config"}
    return {"run": run, **parts}
