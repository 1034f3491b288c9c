"""Names made of content: the same settings give the same id on every machine, in every order."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

ID_LENGTH = 32
"""Hex characters kept of the SHA-256 (128 bits: no collision below some 10^18 samples)."""


def content_hash(content: Mapping[str, Any]) -> str:
    """Hash a JSON-like mapping: the first 32 hex characters of the SHA-256 of its canonical JSON.

    Canonical means: keys sorted, no spaces, ASCII escapes, floats in their shortest exact form.
    `1` and `1.0` differ, so a caller fixes the type of each setting first. Only JSON's own types
    are taken (dict with str keys, list, str, int, float, bool, None): anything else raises
    TypeError, NaN and infinities raise ValueError.

    >>> content_hash({"a": 1, "b": [0.1, None]}) == content_hash({"b": [0.1, None], "a": 1})
    True
    """
    _check_json(content, "content")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:ID_LENGTH]


STEM_LENGTH = 48
"""Characters of a name that stay readable in the name of a file."""


def file_stem(name: str) -> str:
    """A file name, without suffix, that no other name has, on file systems that ignore case too.

    A name of lower-case letters, digits, `_` and `-` is its own. Any other keeps its readable end,
    with a hash of the exact name behind `~`, which the names of the first kind do not have.

    >>> file_stem("image_reward")
    'image_reward'
    >>> file_stem("miniature/clip"), file_stem("Miniature/clip")
    ('miniature-clip~6794bc234d', 'miniature-clip~7e9623ecec')
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) and len(name) <= STEM_LENGTH:
        return name
    readable = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[-STEM_LENGTH:].strip("-")
    return f"{readable or 'name'}~{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def prompt_id(prompt: str) -> str:
    """Name a prompt as the user wrote it, before any per-model suffix, so that variants pair.

    The text is taken exactly, without Unicode normalisation or stripping: a tokenizer may tell
    apart what normalisation would merge, and a merged prompt would be scored under a wrong text.
    """
    return content_hash({"prompt": prompt})


def sample_id(settings: Mapping[str, Any], prompt_sent: str, seed: int) -> str:
    """Name one picture by all that determines it.

    settings: the resolved model entry and sampler (weight hashes, scheduler, steps, guidance,
    size, dtype, ...), never rank, batch or order. prompt_sent: the text the model reads, suffix
    included. seed: the seed of the sample's own noise.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"a seed must be an int, got {seed!r}")
    return content_hash({"settings": settings, "prompt": prompt_sent, "seed": seed})


def _check_json(value: Any, where: str) -> None:
    """Refuse what json.dumps would silently change: tuples, non-string keys, subclasses apart."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys must be strings, got {key!r} in {where}")
            _check_json(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"numbers must be finite, got {value!r} in {where}")
    elif value is not None and not isinstance(value, str | int):
        raise TypeError(f"only JSON types can be hashed, got {type(value).__name__} in {where}")
