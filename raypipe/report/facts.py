"""What was compared, and with what: plain rows of text from results.json and the manifest."""

from collections.abc import Iterator, Mapping
from typing import Any

from raypipe.report.words import count

MAX_ITEMS = 12
"""Items shown of a long list, such as the prompts of a config."""

MAX_TEXT = 300


def settings(results: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings that a reader asks for first; those that the manifest lacks are left out."""
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


def flatten(value: Any) -> list[tuple[str, str]]:
    """Rows of (dotted key, text) of a JSON-like value; long lists and texts are cut, and say so."""
    return [(key, _cut(text)) for key, text in _walk(value, "")]


def _walk(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value[:MAX_ITEMS]):
            name = item.get("name", index) if isinstance(item, Mapping) else index
            yield from _walk(item, f"{key}.{name}" if key else str(name))
        if len(value) > MAX_ITEMS:
            yield key, f"… {len(value):,} in all"
    elif isinstance(value, list | tuple):
        more = f", … {len(value):,} in all" if len(value) > MAX_ITEMS else ""
        yield key, ", ".join(_cut(str(item)) for item in value[:MAX_ITEMS]) + more
    elif value is not None:
        yield key, f"{value:,.1f}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


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
    return f"{n:,} of {source}" if isinstance(source, str) else f"{n:,}"


def _images_per_prompt(results: Mapping[str, Any]) -> str:
    ranges = [model["images_per_prompt"] for model in results["models"]]
    ends = [end for item in ranges for end in item.values() if end is not None]
    if not ends:
        return ""
    return str(max(ends)) if min(ends) == max(ends) else f"{min(ends)} to {max(ends)}"
