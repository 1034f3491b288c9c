"""The identity of a metric's weights, from file names and hashes alone, on the driver."""

from pathlib import Path
from typing import Any

from raypipe.config.networks import Detector, Encoder, Reward
from raypipe.errors import UserError
from raypipe.metrics.settings import MetricSettings, Weights
from raypipe.weights.identity import encoder_identity
from raypipe.weights.locate import fingerprint, is_local, locate


def identity(config: MetricSettings) -> dict[str, Any]:
    """A metric's settings, with hashes or commits in place of where its weights are.

    UserError, in one line, for weights that do not exist.
    """
    what = f"weights of metric {config.label}"
    tree: dict[str, Any] = {}
    for key, value in config:
        if isinstance(value, Weights):
            tree[key] = _weights(value, what)
        elif isinstance(value, Encoder):
            tree[key] = encoder_identity(value)
        elif isinstance(value, Detector):
            tree[key] = _detector(value, f"weights of metric {config.label}'s detector")
        elif key != "name":
            tree[key] = value
    if isinstance(config, Reward):
        tree["id"] = fingerprint(locate(config.id), config.revision, what)
    return tree


def _weights(weights: Weights, what: str) -> str:
    where = locate(weights.id)
    if weights.file and "://" not in where and is_local(where) and Path(where).is_dir():
        where = f"{where}/{weights.file}"
        if not Path(where).is_file():
            raise UserError(f"{what} not found: {where}")
    found = fingerprint(where, weights.revision, what)
    return f"{found}/{weights.file}" if weights.file else found


def _detector(detector: Detector, what: str) -> dict[str, Any]:
    tree = detector.model_dump(mode="json")
    if detector.weights is None:
        return tree
    where = locate(detector.weights)
    if "://" in where or is_local(where):
        return {**tree, "weights": fingerprint(where, None, what)}
    repository, _, file = where.rpartition("/")
    return {**tree, "weights": f"{fingerprint(repository, None, what)}/{file}"}
