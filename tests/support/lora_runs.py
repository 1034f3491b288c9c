"""Inputs of the face LoRA without Ray: a small consistency run, and what its Ray pass writes."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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
from tests.support.pair_runs import png

MINIATURE = {"name": "sd15", "id": "miniature/sd15"}


def write_general(folder: Path, count: int = 20) -> Path:
    """A finished run in the layout of jobs/consistency.py: two pictures of each prompt."""
    rows = []
    for number, spec in enumerate(photo_specs(count, faceless=1.0)):
        rows.append(
            {
                "sample_id": f"sample{number}",
                "model": "a",
                "prompt_id": f"prompt{number // 2:03d}",
                "prompt": full_caption(spec),
                "seed": number % 2,
                "image": png(render(spec)),
                "width": 64,
                "height": 64,
                "device": "cpu",
                "truncated": False,
                "status": schema.QUARANTINED if number == 3 else schema.OK,
                "reason": "blank" if number == 3 else None,
            }
        )
    (folder / "images").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.IMAGES), folder / "images/0.parquet")
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
