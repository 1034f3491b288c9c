"""The pictures of a consistency run, written by hand."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core import ids
from raypipe.storage import schema


def image_row(model: str, prompt: str, seed: int, image: bytes | None, **more: Any) -> dict:
    """A row of schema.IMAGES; without a picture it is quarantined as nsfw."""
    return {
        "sample_id": ids.content_hash({"m": model, "p": prompt, "s": seed}),
        "model": model,
        "prompt_id": ids.prompt_id(prompt),
        "prompt": prompt,
        "seed": seed,
        "image": image,
        "device": "cpu",
        "truncated": False,
        "status": schema.OK if image else schema.QUARANTINED,
        "reason": None if image else "nsfw",
        **more,
    }


def write_images(folder: Path, number: int, rows: list[dict]) -> None:
    """One file of a run's images."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=schema.IMAGES)
    pq.write_table(table, folder / "images" / f"0000-{number:08d}.parquet")


def write_run(folder: Path, pictures: dict[str, dict[str, dict[int, bytes | None]]]) -> None:
    """A run's images, a file for each model: {model: {prompt: {seed: PNG, or None}}}."""
    for number, (model, prompts) in enumerate(pictures.items()):
        rows = [
            image_row(model, prompt, seed, data)
            for prompt, seeds in prompts.items()
            for seed, data in seeds.items()
        ]
        write_images(folder, number, rows)
