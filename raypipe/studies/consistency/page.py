"""The report: one HTML page that needs no network, rendered from results.json and its tables."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.report import figures, words
from raypipe.report.html import fill
from raypipe.report.sheet import provenance
from raypipe.report.words import count
from raypipe.studies.consistency.pictures import Thumbnails, choose
from raypipe.studies.consistency.tests_table import rows

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

    results: from build_results. scores: raypipe.storage.schema.SCORES. manifest: the
    content of manifest.json; `config`, `models`, `packages`, `counts` and all other keys are
    shown.
    thumbnails: called for at most `max_prompts` prompts, once per model. quarantined: rows of
    raypipe.storage.schema.IMAGES (the image itself may be left out), of which the first are listed.
    """
    from markupsafe import Markup

    script = (HERE / "page.js").read_text(encoding="utf-8")
    main = scores.filter(pc.field("encoder") == results["encoder"])
    values = {
        "results": results,
        "names": [model["name"] for model in results["models"]],
        "level": words.confidence(results["alpha"]),
        "settings": settings(results, manifest),
        "comparisons": _comparisons(results, Markup),
        "figures": {name: Markup(svg) for name, svg in _figures(results, main).items()},
        "pictures": choose(results, main, thumbnails, max_prompts),
        "quarantined": _listed(quarantined, ["model", "prompt", "seed", "reason"]),
        "unscored": _listed(main.filter(pc.field("scs").is_null()), ["model", "prompt", "reason"]),
        **provenance(manifest, ("models", "packages", "counts")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    filters = {f.__name__: f for f in (words.number, words.signed, words.percent)}
    return fill(HERE, "page.html", values, filters)


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
    entries = []
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
        entries.append(
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
    return entries


def _unbroken(sentence: str) -> str:
    """Keep a number with its unit and an equation on one line."""
    return sentence.replace(" %", "\u00a0%").replace(" = ", "\u00a0=\u00a0")


def _axis(comparisons: list[dict[str, Any]]) -> tuple[float, float]:
    """Range of differences around zero that holds every interval, with some margin."""
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


def settings(results: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The main settings; those that the manifest does not have are left out."""
    config = manifest.get("config") or {}
    models = [_model(model) for model in config.get("models") or []]
    rows = [
        ("Models", "\n".join(models or [model["name"] for model in results["models"]])),
        ("Prompts", _prompts(results, config)),
        ("Images per prompt", _images_per_prompt(results)),
        ("Encoder", results["encoder"]),
    ]
    if any(model.get("id") for model in config.get("models") or []):
        rows.append(("Sampler", _sampler(config.get("sampler") or {})))
    images = config.get("images") or {}
    sources = [images.get(kind) for kind in ("folder", "parquet", "huggingface")]
    rows.append(("Existing images", ", ".join(str(source) for source in sources if source)))
    return [(label, value) for label, value in rows if value]


def _model(model: Mapping[str, Any]) -> str:
    """`sdxl-monet: stabilityai/… @ fp16 + LoRA … × 0.6`, one line a model."""
    parts = [str(model.get("id") or "existing images")]
    if model.get("revision"):
        parts.append(f"@ {model['revision']}")
    if model.get("lora"):
        parts.append(f"+ LoRA {model['lora'].get('id')} × {model['lora'].get('scale', 1)}")
    if model.get("prompt_suffix"):
        parts.append(f"“…{model['prompt_suffix']}”")
    parts += [f"{key} {value}" for key, value in (model.get("sampler") or {}).items()]
    return f"{model.get('name')}: " + " ".join(parts)


def _sampler(sampler: Mapping[str, Any]) -> str:
    parts = [str(sampler.get("scheduler") or "each model's own scheduler")]
    if "steps" in sampler:
        parts.append(count(sampler["steps"], "step"))
    if "guidance" in sampler:
        parts.append(f"guidance {sampler['guidance']}")
    if sampler.get("guidance_interval"):
        parts.append("within {:g} to {:g} of the steps".format(*sampler["guidance_interval"]))
    if "width" in sampler and "height" in sampler:
        parts.append(f"{sampler['width']} × {sampler['height']} px")
    if sampler.get("negative_prompt"):
        parts.append(f"negative prompt “{sampler['negative_prompt']}”")
    return ", ".join(parts)


def _prompts(results: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    n = max((model["n_prompts"] for model in results["models"]), default=0)
    source = config.get("prompts")
    return f"{n:,} of {source.rpartition('/')[2]}" if isinstance(source, str) else f"{n:,}"


def _images_per_prompt(results: Mapping[str, Any]) -> str:
    ranges = [model["images_per_prompt"] for model in results["models"]]
    ends = [end for item in ranges for end in item.values() if end is not None]
    if not ends:
        return ""
    return str(max(ends)) if min(ends) == max(ends) else f"{min(ends)} to {max(ends)}"
