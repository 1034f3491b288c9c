"""The training of jobs/face_score.py, and its manifest."""

from functools import partial
from typing import Any

from raypipe.engine.session import Session
from raypipe.storage.directory import RunDirectory
from raypipe.storage.provenance import provenance
from raypipe.studies.face_score.settings import FaceScore
from raypipe.studies.face_score.task import MODEL, TESTED, make
from raypipe.training.run import run_training

PACKAGES = ("ray", "torch", "transformers", "numpy", "scipy")


def train(config: FaceScore, run: RunDirectory, session: Session) -> None:
    """Train, unless the trained network and its test scores are there already."""
    if run.folder.read(TESTED) is not None:
        return
    run_training(
        partial(make, config.model_dump_json()),
        config.training,
        config.pools.train,
        run.uri,
        best="accuracy",
        session=session,
    )


def manifest(config: FaceScore, results: dict[str, Any]) -> dict[str, Any]:
    return {
        **provenance("face_score", PACKAGES),
        "model": f"{config.output}/{MODEL}",
        "inputs": list(config.pairs),
        "counts": results["pairs"] | results["left_out"],
    }
