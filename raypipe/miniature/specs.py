"""The structured description behind every render: what a miniature picture shows."""

from dataclasses import dataclass

import numpy as np

from .palette import BACKGROUNDS, CLOTHES, HAIR, OBJECT_COLOURS, SKIN

HAIRSTYLES = {"woman": ("long", "curly", "bun"), "man": ("short", "curly")}
EXPRESSIONS = ("smiling", "sad", "surprised", "serious")
SHAPES = ("ball", "box", "cone", "star", "heart", "ring")
RELATIONS = ("left", "right", "above")
SIZES = ("small", "big")


@dataclass(frozen=True)
class Portrait:
    """One person in front of a plain wall; the seed moves the face by a pixel or two."""

    person: str
    skin: str
    hair: str
    hairstyle: str
    expression: str
    clothes: str
    background: str
    seed: int = 0


@dataclass(frozen=True)
class Item:
    """One object of a scene."""

    shape: str
    colour: str


@dataclass(frozen=True)
class Scene:
    """One or two objects; `relation` is the first one's place seen from the second."""

    items: tuple[Item, ...]
    background: str
    relation: str | None = None
    size: str | None = None
    """Of a single object only."""
    seed: int = 0


Spec = Portrait | Scene


def _pick(rng: np.random.Generator, options) -> str:
    return str(rng.choice(list(options)))


def sample_portrait(seed: int) -> Portrait:
    """A portrait with every attribute drawn from the seed."""
    rng = np.random.default_rng([seed, 2])
    person = _pick(rng, HAIRSTYLES)
    return Portrait(
        person=person,
        skin=_pick(rng, SKIN),
        hair=_pick(rng, HAIR),
        hairstyle=_pick(rng, HAIRSTYLES[person]),
        expression=_pick(rng, EXPRESSIONS),
        clothes=_pick(rng, CLOTHES),
        background=_pick(rng, BACKGROUNDS),
        seed=seed,
    )


def sample_scene(seed: int) -> Scene:
    """A scene drawn from the seed: one object in 40 % of cases, else two in a relation."""
    rng = np.random.default_rng([seed, 3])
    background = _pick(rng, BACKGROUNDS)
    colours = [c for c in OBJECT_COLOURS if c != background]
    count = 1 if rng.random() < 0.4 else 2
    items = tuple(Item(_pick(rng, SHAPES), _pick(rng, colours)) for _ in range(count))
    if count == 1:
        return Scene(items, background, size=_pick(rng, SIZES), seed=seed)
    return Scene(items, background, relation=_pick(rng, RELATIONS), seed=seed)


def sample_spec(seed: int, portraits: float = 0.6) -> Spec:
    """A picture drawn from the seed, a portrait with the given probability."""
    if np.random.default_rng([seed, 4]).random() < portraits:
        return sample_portrait(seed)
    return sample_scene(seed)
