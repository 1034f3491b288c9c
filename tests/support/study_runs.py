"""A small finished consistency run with known scores, made without a model, to ask people about."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raypipe.core import ids
from raypipe.storage import schema
from tests.support import finish_run
from tests.support.image_rows import write_run
from tests.support.pictures import encoded

MODELS = ("Zebrafish-XL", "Quokkadiffusion")
"""Names that occur nowhere by accident."""


def png(text: str) -> bytes:
    """A plain picture with two tones that depend on a text."""
    digest = hashlib.sha256(text.encode()).digest()
    picture = Image.new("RGB", (32, 32), tuple(digest[:3]))
    picture.paste(tuple(digest[3:6]), (8, 8, 24, 24))
    return encoded(picture)


def write(
    folder: Path, scs: dict[str, tuple[float, ...]], seeds: int = 4, models: tuple = MODELS
) -> Path:
    """scs: the score of each model by prompt."""
    write_run(
        folder,
        {m: {p: {s: png(f"{m}/{p}/{s}") for s in range(seeds)} for p in scs} for m in models},
    )
    scores = [
        {
            "model": model,
            "prompt_id": ids.prompt_id(prompt),
            "prompt": prompt,
            "encoder": "toy",
            "scs": values[number],
            "n_images": seeds,
            "clip_score": 30.0 - number,
        }
        for prompt, values in scs.items()
        for number, model in enumerate(models)
    ]
    pq.write_table(pa.Table.from_pylist(scores, schema=schema.SCORES), folder / "scores.parquet")
    return finish_run(folder, "consistency")
