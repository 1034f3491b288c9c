"""The identity of a metric's weights, from file names and hashes alone, on the driver."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from raypipe.config.networks import Detector, Encoder, Reward
from raypipe.errors import UserError
from raypipe.metrics.settings import FaceQuality, Hps, MetricSettings, PickScore, Weights
from raypipe.models.faces.check import check_detector
from raypipe.models.reward.layout import check_reward, interpreter
from raypipe.weights.headers import check_weights_file, check_weights_folder, read_json
from raypipe.weights.identity import check_architecture, encoder_identity
from raypipe.weights.locate import fingerprint, is_local, locate


def identity(config: MetricSettings) -> dict[str, Any]:
    """A metric's settings, with hashes or commits in place of where its weights are.

    UserError, in one line, for weights that do not exist, and for what their headers tell.
    """
    what = f"weights of metric {config.label}"
    _check_packages(config)
    tree: dict[str, Any] = {}
    for key, value in config:
        if isinstance(value, Weights):
            if isinstance(config, PickScore):
                _check_directory(value, key, what)
            else:
                _check_file(value, what)
            tree[key] = _weights(value, what)
        elif isinstance(value, Encoder):
            tree[key] = encoder_identity(value)
        elif isinstance(value, Detector):
            tree[key] = _detector(value, f"weights of metric {config.label}'s detector")
        elif key != "name":
            tree[key] = value
    if isinstance(config, Reward):
        if config.backend == "upstream":
            interpreter(config)
        check_reward(config, config.metric, what)
        tree["id"] = fingerprint(locate(config.id), config.revision, what)
    return tree


def _check_packages(config: MetricSettings) -> None:
    """UserError for a package, or an architecture of one, that is not there."""
    if isinstance(config, FaceQuality) and find_spec("pyiqa") is None:
        raise UserError(f"metric {config.label} needs the pyiqa package: pip install pyiqa")
    if isinstance(config, Hps):
        where = locate(config.architecture)
        if is_local(where):
            read_json(Path(where) / "open_clip_config.json", f"architecture of {config.label}")
        else:
            check_architecture(config.architecture)


def _check_file(weights: Weights, what: str) -> None:
    """UserError for a local file that is not one of tensors."""
    where = locate(weights.id)
    if "://" in where or not is_local(where):
        return
    path = Path(where)
    if path.is_dir() and not weights.file:
        raise UserError(f"{what} must name a file inside its directory (weights.file): {path}")
    check_weights_file(path / weights.file if path.is_dir() else path, what)  # type: ignore[operator]


def _check_directory(weights: Weights, key: str, what: str) -> None:
    """UserError for a local directory that is no model of transformers, or no processor."""
    where = locate(weights.id)
    if "://" in where or not is_local(where):
        return
    folder = Path(where)
    if not folder.is_dir():
        raise UserError(f"{what} ({key}) must be a directory or a hub id, got {where}")
    read_json(folder / ("config.json" if key == "weights" else "preprocessor_config.json"), what)
    if key == "weights":
        check_weights_folder(folder, ["model*.safetensors"], what)


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
    check_detector(detector)
    if detector.weights is None:
        return tree
    where = locate(detector.weights)
    if "://" in where or is_local(where):
        return {**tree, "weights": fingerprint(where, None, what)}
    repository, _, file = where.rpartition("/")
    return {**tree, "weights": f"{fingerprint(repository, None, what)}/{file}"}
