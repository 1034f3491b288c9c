"""Inputs of the face LoRA without Ray: a small consistency run, and what its Ray pass writes."""

from pathlib import Path
from typing import Any

from raypipe.miniature.captions import full_caption
from raypipe.miniature.photos import photo_specs
from raypipe.miniature.scenes import render
from raypipe.storage import schema
from raypipe.storage.directory import split_batches
from raypipe.studies.face_lora import plan as lora_plan
from raypipe.studies.face_lora import run as face_lora_run
from raypipe.studies.face_lora.encode import EncodePictures, EncodeTexts
from raypipe.studies.face_lora.settings import FaceLora
from tests.support import finish_run
from tests.support.image_rows import image_row, write_images
from tests.support.pictures import encoded

MINIATURE = {"name": "sd15", "id": "miniature/sd15"}


def write_general(folder: Path, count: int = 20) -> Path:
    """A finished run in the layout of jobs/consistency.py: two pictures of each prompt."""
    rows = []
    for number, spec in enumerate(photo_specs(count, faceless=1.0)):
        own = {"prompt_id": f"prompt{number // 2:03d}", "width": 64, "height": 64}
        if number == 3:
            own |= {"status": schema.QUARANTINED, "reason": "blank"}
        caption, picture = full_caption(spec), encoded(render(spec))
        rows.append(
            image_row("a", caption, number % 2, picture, sample_id=f"sample{number}", **own)
        )
    write_images(folder, 0, rows)
    return finish_run(folder, "consistency")


def config(pairs: Path, output: Path, **changes: Any) -> FaceLora:
    """A config over the miniature Stable Diffusion, with changes."""
    training = {
        "steps": 8,
        "batch": 4,
        "micro_batch": 2,
        "lr": 2e-3,
        "precision": "float32",
        "validate_every": 4,
        "checkpoint_every": 3,
    }
    tree = {
        "model": MINIATURE,
        "sampler": {"steps": 4, "guidance": 2.0, "width": 64, "height": 64},
        "pairs": str(pairs),
        "adapter": {"rank": 4},
        "held_out": 2,
        "training": training | changes.pop("training", {}),
        "output": str(output),
    }
    return FaceLora.model_validate(tree | changes)


def prepare(settings: FaceLora) -> face_lora_run.LoraRun:
    """Begin a run and encode everything, as its pass on Ray does."""
    run = face_lora_run.LoraRun(settings.output)
    pictures, texts, _ = lora_plan.plan(settings)
    run.begin(settings, model=lora_plan.check_base(settings))
    lora_plan.keep_plan(run, pictures, texts)
    for stage, table in ((EncodeTexts, texts), (EncodePictures, pictures)):
        made = stage(settings, run.uri)
        for _, batch in split_batches(table):
            assert len(made(batch.select(made.reads))) == len(batch)
    return run
