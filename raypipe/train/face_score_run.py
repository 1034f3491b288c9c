"""The Face Score job between its recipe (jobs/face_score.py) and its parts."""

from collections.abc import Callable
from functools import partial
from typing import Any

from raypipe.directory import RunDirectory
from raypipe.face_settings import FaceScore
from raypipe.provenance import provenance
from raypipe.train.face_score import MODEL, TESTED, make
from raypipe.train.on_ray import train_on_ray

PACKAGES = ("ray", "torch", "transformers", "numpy", "scipy")


def train(
    config: FaceScore,
    output: RunDirectory,
    *,
    address: str | None,
    verbose: bool,
    tell: Callable[[str], None],
) -> None:
    """Train on Ray, unless the trained network and its test scores are there already."""
    if output.folder.read(TESTED) is not None:
        return
    train_on_ray(
        partial(make, config.model_dump_json()),
        config.training,
        config.pools.train,
        output.uri,
        best="accuracy",
        address=address,
        verbose=verbose,
        tell=tell,
    )


def manifest(config: FaceScore, results: dict[str, Any], wall_seconds: float) -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        **provenance("face_score", config, PACKAGES),
        "model": f"{config.output}/{MODEL}",
        "inputs": list(config.pairs),
        "counts": results["pairs"] | results["left_out"],
        "wall_seconds": wall_seconds,
    }
