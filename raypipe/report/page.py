"""The report: one HTML page that needs no network, rendered from results.json and its tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Thumbnail:
    """One sample of a prompt, small enough to be embedded in the page."""

    sample_id: str
    seed: int
    data: bytes
    """JPEG, PNG or WebP bytes; empty where the sample has no picture."""
    status: str
    """`ok` or `quarantined`, as in raypipe.schema."""
    reason: str | None = None


Thumbnails = Callable[[str, str], Sequence[Thumbnail]]
"""(model, prompt_id) → that prompt's samples, in the order of the seeds."""


def render(
    results: dict[str, Any], scores: pa.Table, manifest: dict[str, Any], thumbnails: Thumbnails
) -> str:
    """Render the report of a consistency run as one self-contained HTML page.

    results: what build_results made. scores: raypipe.schema.SCORES. manifest: the content of
    manifest.json (`config`, `packages`, `git_commit`, `models`, `counts`, `wall_seconds`, ...;
    absent keys are simply not shown). thumbnails: called only for the prompts whose pictures are
    shown, at most a few hundred times.
    """
    raise NotImplementedError


def make_thumbnail(image: bytes, size: int = 96) -> bytes:
    """Encode a picture small: its long side at most `size` pixels, as WebP."""
    raise NotImplementedError
