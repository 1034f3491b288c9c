"""Metrics by name, and how one is loaded. What is known of each is on its settings."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, get_args

import numpy as np
from PIL import Image

from raypipe.metrics.settings import Metric, MetricSettings

Pictures = Sequence[Image.Image]
Prompts = Sequence[str] | None
"""One for each picture; None for metrics that read none."""


class Scorer(Protocol):
    """A loaded metric of single pictures or face crops."""

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,), float64, each of its picture (and prompt) alone: batches change nothing."""


class Features(Protocol):
    """A loaded metric of sets, or of prompts: its features of each picture, compared later
    (`raypipe.core.frechet`, `raypipe.core.consistency`)."""

    def __call__(self, pictures: Pictures) -> np.ndarray:
        """Features (B, D), float32."""


def of_each(pictures: Pictures, prompts: Prompts) -> Sequence[str]:
    """The prompts, one for each picture. ValueError for others."""
    if prompts is None or len(prompts) != len(pictures):
        raise ValueError(f"each of {len(pictures)} pictures needs its prompt")
    return prompts


METRICS: dict[str, type[MetricSettings]] = {
    kind.model_fields["metric"].default: kind for kind in get_args(get_args(Metric)[0])
}
"""Every metric by its name."""


def load(config: MetricSettings, device: str) -> Any:
    """The metric on a device, its weights fetched to this node: a `Scorer`, or `Features` of a set.

    Raises UserError for weights that cannot be fetched or do not fit, and for a missing package.
    """
    module, _, name = config.scorer.partition(":")
    return getattr(import_module(module), name)(config, device)
