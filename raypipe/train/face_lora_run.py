"""The face LoRA job between its recipe (jobs/face_lora.py) and its parts."""

from collections.abc import Callable
from functools import partial
from typing import Any

from raypipe.files import Folder
from raypipe.lora_plan import LoraRun, TextPlan
from raypipe.lora_settings import FaceLora
from raypipe.models.lora_export import DIFFUSERS
from raypipe.provenance import provenance
from raypipe.stages.latents import EncodePictures, EncodeTexts
from raypipe.stages.stage import Step
from raypipe.stages.work import parts_without, work_through
from raypipe.train.face_lora import CRITERION, HELD, make
from raypipe.train.latents import DATA_FILE
from raypipe.train.on_ray import train_on_ray
from raypipe.weights import pinned_model

PACKAGES = ("ray", "torch", "diffusers", "transformers", "peft", "numpy")


def encode(
    config: FaceLora,
    run: LoraRun,
    *,
    address: str | None,
    verbose: bool,
    tell: Callable[[str], None],
) -> None:
    """Encode on Ray the texts and pictures that are not there yet, texts first."""
    pool, settings = config.pools.encode, _pinned(config)
    chains = []
    for name, stage, plan in (
        ("texts", EncodeTexts, TextPlan(run.uri)),
        ("latents", EncodePictures, run),
    ):
        step = Step(name, partial(stage, settings, run.uri), pool, run.uri, "", _nothing)
        parts = parts_without(plan, [DATA_FILE])
        if parts:
            chains.append((parts, [step]))
    if not chains:
        return
    from raypipe.stages import cluster

    for warning in cluster.connect(address, verbose, [[("encode", pool)]]):
        tell(f"warning: {warning}")
    work_through(run.folder, chains)


def _nothing(samples: Any) -> Any:
    raise AssertionError("the stages write their own files")


def train(
    config: FaceLora,
    run: LoraRun,
    *,
    address: str | None,
    verbose: bool,
    tell: Callable[[str], None],
) -> None:
    """Train on Ray, unless the LoRA and its losses are there already."""
    if run.folder.read(HELD) is not None:
        return
    train_on_ray(
        partial(make, _pinned(config).model_dump_json()),
        config.training,
        config.pools.train,
        run.uri,
        best=CRITERION,
        address=address,
        verbose=verbose,
        tell=tell,
    )


def _pinned(config: FaceLora) -> FaceLora:
    """The config with hub models at the commits that the plan resolved, and paths as workers see
    them."""
    encoded = None if config.encoded is None else Folder(config.encoded).uri
    return config.model_copy(update={"model": pinned_model(config.model), "encoded": encoded})


def manifest(
    config: FaceLora, made_by: dict[str, Any], results: dict[str, Any], wall_seconds: float
) -> dict[str, Any]:
    """Where the LoRA comes from."""
    return {
        **provenance("face_lora", config, PACKAGES),
        "model": {"name": config.model.name, "id": config.model.id, **made_by},
        "lora": f"{config.output}/{DIFFUSERS}",
        "inputs": [*config.pairs, *([config.general] if config.keeps else [])],
        "counts": results["counts"] | results["left_out"],
        "wall_seconds": wall_seconds,
    }
