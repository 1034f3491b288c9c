"""Plain English for a miniature picture, with attributes left out at random.

A caption that names little belongs to many pictures, so a vague prompt yields diverse samples and
a specific one consistent samples: the property that the consistency score is about.
"""

import numpy as np

from .specs import Item, Portrait, Scene, Spec

STYLE = "in the style of tok"
"""The trigger that the style LoRA is trained on."""

_OTHER_STYLES = ("in the style of monet", "in the style of van gogh", STYLE)
"""Added to captions of plain renders at random, so that the base models ignore them."""

_OPENINGS = ("a portrait of", "a photo of", "a picture of", "")
_SCENE_OPENINGS = ("a picture of", "a drawing of", "", "")
_WALLS = (
    "on a {} background",
    "in front of a {} wall",
    "against a {} background",
    "with a {} background",
)
_SHIRTS = ("wearing a {} shirt", "in a {} shirt", "dressed in {}")
_FACES = {
    "smiling": ("smiling", "happy"),
    "sad": ("sad", "unhappy"),
    "surprised": ("surprised", "astonished"),
    "serious": ("serious", "calm"),
}
_BETWEEN = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above", "on top of"),
    "below": ("below", "under"),
}
_REVERSED = {"left": "right", "right": "left", "above": "below"}


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _choose(rng: np.random.Generator, options) -> str:
    return options[int(rng.integers(len(options)))]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _hair(colour: str, hairstyle: str, rng: np.random.Generator) -> str:
    """A phrase for the hair; either attribute may be empty."""
    if hairstyle != "bun":
        return _join(hairstyle, colour, "hair") if colour or hairstyle else ""
    return _choose(rng, (_a(_join(colour, "bun")), _join(colour, "hair in a bun")))


def _portrait(spec: Portrait, rng: np.random.Generator, keep: float) -> str:
    def kept(value: str) -> str:
        return value if rng.random() < keep else ""

    person = kept(spec.person) or "person"
    mood = kept(spec.expression)
    mood = _choose(rng, _FACES[mood]) if mood else ""
    who = _a(_join(mood, person))
    skin = kept(spec.skin)
    skin = f"{skin} skin" if skin else ""
    looks = [part for part in (skin, _hair(kept(spec.hair), kept(spec.hairstyle), rng)) if part]
    if rng.random() < 0.5:
        looks.reverse()
    clothes = kept(spec.clothes)
    wall = kept(spec.background)
    return _join(
        _choose(rng, _OPENINGS),
        who,
        "with " + " and ".join(looks) if looks else "",
        _choose(rng, _SHIRTS).format(clothes).replace("a orange", "an orange") if clothes else "",
        _choose(rng, _WALLS).format(wall) if wall else "",
    )


def _item(item: Item, size: str, rng: np.random.Generator, keep: float) -> str:
    colour = item.colour if rng.random() < keep else ""
    shape = item.shape if rng.random() < max(keep, 0.8) else "shape"
    return _a(_join(size, colour, shape))


def _scene(spec: Scene, rng: np.random.Generator, keep: float) -> str:
    size = spec.size if spec.size and rng.random() < keep else ""
    names = [_item(item, size or "", rng, keep) for item in spec.items]
    relation = spec.relation if rng.random() < keep else None
    if relation and rng.random() < 0.4:
        names.reverse()
        relation = _REVERSED[relation]
    if relation:
        names.insert(1, _choose(rng, _BETWEEN[relation]))
    elif len(names) == 2:
        beside = spec.relation in ("left", "right") and rng.random() < 0.5
        names.insert(1, "next to" if beside else "and")
    wall = spec.background if rng.random() < keep else ""
    opening = _choose(rng, _SCENE_OPENINGS)
    return _join(opening, *names, _choose(rng, _WALLS).format(wall) if wall else "")


def caption(spec: Spec, seed: int, keep: float | None = None) -> str:
    """A caption of a spec; `keep` is the chance of naming each attribute, None draws it too."""
    rng = np.random.default_rng([seed, 6])
    if keep is None:
        keep = _choose(rng, (0.15, 0.4, 0.7, 1.0, 1.0))
    return (_portrait if isinstance(spec, Portrait) else _scene)(spec, rng, keep)


def training_caption(spec: Spec, seed: int) -> str:
    """A caption for the base models: now and then with a style that the picture does not have."""
    rng = np.random.default_rng([seed, 7])
    style = _choose(rng, _OTHER_STYLES) if rng.random() < 0.1 else ""
    return _join(caption(spec, seed), style)


def full_caption(spec: Spec) -> str:
    """The caption that names every attribute, in words drawn from the spec's own seed."""
    return caption(spec, spec.seed, keep=1.0)
