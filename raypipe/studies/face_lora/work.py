"""The steps of jobs/face_lora.py: encode, train, and the manifest."""

from functools import partial
from typing import Any

from raypipe.engine.session import Session
from raypipe.engine.stage import Step
from raypipe.engine.work import parts_without, work_through
from raypipe.models.lora.export import DIFFUSERS
from raypipe.storage.files import Folder
from raypipe.storage.provenance import provenance
from raypipe.studies.face_lora.data import DATA_FILE
from raypipe.studies.face_lora.encode import EncodePictures, EncodeTexts
from raypipe.studies.face_lora.run import LoraRun, TextPlan
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.studies.face_lora.task import CRITERION, HELD, make
from raypipe.training.run import run_training
from raypipe.weights.identity import pinned_model

PACKAGES = ("ray", "torch", "diffusers", "transformers", "peft", "numpy")


def encode(config: FaceLora, run: LoraRun, session: Session) -> None:
    """Encode the texts and pictures that are not there yet, texts first."""
    pool, settings = config.pools.encode, _pinned(config)
    chains = []
    for name, unit, stage, plan in (
        ("texts", "texts", EncodeTexts, TextPlan(run.uri)),
        ("latents", "rows", EncodePictures, run),
    ):
        make = partial(stage, settings, run.uri)
        step = Step(name, make, pool, run.uri, key="encode", unit=unit)
        chains.append((parts_without(plan, [DATA_FILE]), [step]))
    work_through(run.folder, chains, session)


def train(config: FaceLora, run: LoraRun, session: Session) -> None:
    """Train, unless the LoRA and its losses are there already."""
    if run.folder.read(HELD) is not None:
        return
    run_training(
        partial(make, _pinned(config).model_dump_json()),
        config.training,
        config.pools.train,
        run.uri,
        best=CRITERION,
        session=session,
    )


def _pinned(config: FaceLora) -> FaceLora:
    """The config with hub models at the commits that the plan resolved, and paths as workers see
    them."""
    encoded = None if config.encoded is None else Folder(config.encoded).uri
    return config.model_copy(update={"model": pinned_model(config.model), "encoded": encoded})


def manifest(config: FaceLora, made_by: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    return {
        **provenance("face_lora", PACKAGES),
        "model": {"name": config.model.name, "id": config.model.id, **made_by},
        "lora": f"{config.output}/{DIFFUSERS}",
        "inputs": [*config.pairs, *([config.general] if config.keeps else [])],
        "counts": results["counts"] | results["left_out"],
    }
