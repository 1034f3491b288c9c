"""Models by a short name, with the settings that their published weights need.

Data alone. `id: zoo/sdxl` in a config stands for the keys below; other keys of the
config's model win. Revisions are commits of the hub's repositories, so that a name always
means the same weights. docs/models.md has the table, with where each figure comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raypipe.config.strict import near_miss

PREFIX = "zoo/"


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    licence: str
    keys: Mapping[str, Any]
    """Keys of a config's model."""
    sampler: Mapping[str, Any]
    """What it is sampled with where neither the run's `sampler` nor the model's sets it."""
    half: Mapping[str, Any] = field(default_factory=dict)
    """More keys for float16, the dtype of the whole zoo."""


ZOO: Mapping[str, Entry] = {
    "sdxl": Entry(
        licence="CreativeML Open RAIL++-M; its VAE MIT",
        keys={
            "id": "stabilityai/stable-diffusion-xl-base-1.0",
            "revision": "462165984030d82259a11f4367a4eed129e94a7b",
        },
        half={
            "variant": "fp16",
            "vae": "madebyollin/sdxl-vae-fp16-fix",  # SDXL's own overflows to black pictures
            "vae_revision": "207b116dae70ace3637169f1ddd2434b91b3a8cd",
        },
        sampler={"steps": 50, "guidance": 5.0, "width": 1024, "height": 1024},
    ),
    "pixart-512": Entry(
        licence="CreativeML Open RAIL++-M; its T5 Apache-2.0",
        keys={
            "id": "PixArt-alpha/PixArt-XL-2-512x512",
            "revision": "50f702106901db6d0f8b67eb88e814c56ded2692",
        },
        sampler={"steps": 20, "guidance": 4.5, "width": 512, "height": 512},
    ),
    "pixart-1024": Entry(
        licence="CreativeML Open RAIL++-M; its T5 Apache-2.0",
        keys={
            "id": "PixArt-alpha/PixArt-XL-2-1024-MS",
            "revision": "b89adadeccd9ead2adcb9fa2825d3fabec48d404",
        },
        sampler={"steps": 20, "guidance": 4.5, "width": 1024, "height": 1024},
    ),
    "sd15": Entry(
        licence="CreativeML Open RAIL-M",
        keys={
            "id": "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "revision": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        },
        half={"variant": "fp16"},
        sampler={"steps": 50, "guidance": 7.5, "width": 512, "height": 512},
    ),
    "realistic-vision": Entry(
        licence="CreativeML Open RAIL-M; its VAE MIT",
        keys={
            "id": "SG161222/Realistic_Vision_V5.1_noVAE",
            "revision": "1e9f017a7b1eaefb63a1900ea6c5953d2739fd21",
            "vae": "stabilityai/sd-vae-ft-mse",
            "vae_revision": "31f26fdeee1355a5c34592e401dd41e45d25a493",
        },
        sampler={"scheduler": "euler_a", "steps": 25, "guidance": 5.0, "width": 512, "height": 512},
    ),
}


def entry_of(identifier: object) -> Entry | None:
    """The entry that an id names, None for an id outside of the zoo.

    Raises ValueError, suggesting the near miss, for a name that the zoo does not have.
    """
    if not isinstance(identifier, str) or not identifier.startswith(PREFIX):
        return None
    name = identifier.removeprefix(PREFIX)
    if name not in ZOO:
        near = near_miss(name, list(ZOO)).replace("known keys are", "the zoo has")
        raise ValueError(f"unknown zoo model {name}{near}")
    return ZOO[name]


def fill_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """A config's model with the zoo's keys in place of its name; its own keys win."""
    entry = entry_of(model.get("id"))
    if entry is None:
        return dict(model)
    own = {key: value for key, value in model.items() if key != "id"}
    keys = {"dtype": "float16", **entry.keys}
    if own.get("dtype", "float16") == "float16":
        keys |= entry.half
    for key, revision in (("vae", "vae_revision"), ("revision", "variant")):
        if key in own:
            keys.pop(revision, None)  # it belongs to the key that the config replaces
    return {**keys, **own}


def fill_config(value: Any) -> Any:
    """A config with one `model`, its sampler filled in from the zoo; set keys win."""
    if not isinstance(value, dict) or not isinstance(value.get("model"), dict):
        return value
    return {**value, "model": fill_sampler(value["model"], keys_set(value.get("sampler")))}


def keys_set(sampler: Any) -> set[str]:
    """Keys that a run's `sampler` sets; none where it is not a mapping, which is refused later."""
    if isinstance(sampler, Mapping):
        return set(sampler)
    return set(getattr(sampler, "model_fields_set", ()))


def fill_sampler(model: Mapping[str, Any], set_by_run: set[str]) -> dict[str, Any]:
    """A config's model with the zoo's sampler keys that neither it nor the run has set."""
    entry = entry_of(model.get("id"))
    own = model.get("sampler") or {}
    if entry is None or not isinstance(own, Mapping):
        return dict(model)
    defaults = {key: value for key, value in entry.sampler.items() if key not in set_by_run}
    return {**model, "sampler": {**defaults, **own}}
