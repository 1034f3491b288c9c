"""Stage: pictures to unit-length vectors, and how well each picture fits its prompt."""

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config.networks import Encoder
from raypipe.config.sections import Pool
from raypipe.engine.stage import Device, start_on, threads
from raypipe.inputs.codec import decode
from raypipe.storage import schema

if TYPE_CHECKING:
    import torch


class Embed:
    """Embeds the pictures of a batch that are usable; the others get nulls."""

    reads = ("image", "prompt", "status")

    def __init__(self, config: Encoder, pool: Pool, is_last: bool):
        from raypipe.models.encoder import LoadedEncoder
        from raypipe.weights.node import encoder_on_node

        device = start_on(pool)
        self.drops = ("image",) if is_last else ()
        self._columns = columns(config)
        self.device = Device()
        self._threads = threads(pool)
        self._encoder = LoadedEncoder(encoder_on_node(config), device)

    def __call__(self, batch: pa.Table) -> pa.Table:
        usable = [i for i, status in enumerate(batch["status"].to_pylist()) if status == schema.OK]
        vectors: list[np.ndarray | None] = [None] * len(batch)
        scores: list[float | None] = [None] * len(batch)
        if usable:
            pictures = [batch["image"][i].as_py() for i in usable]
            pixels = list(self._threads.map(self._read, pictures))
            prompts = batch["prompt"].to_pylist()
            with self.device:
                embeddings_BD = self._encoder.images(pixels)
                for i, embedding_D in zip(usable, embeddings_BD, strict=True):
                    vectors[i] = embedding_D
                    text_D = self._encoder.text(prompts[i])
                    if text_D is not None:
                        scores[i] = max(100.0 * float(embedding_D @ text_D), 0.0)
        embedding, clip_score = self._columns
        return pa.table(
            {
                embedding: pa.array(vectors, pa.list_(pa.float32())),
                clip_score: pa.array(scores, pa.float32()),
            }
        )

    def _read(self, data: bytes) -> "torch.Tensor":
        """An encoded picture as the encoder reads it."""
        return self._encoder.preprocess(decode(data))


def stored_embeddings(config: Encoder, samples: pa.Table) -> pa.Table:
    """The embeddings file of a batch: its usable pictures."""
    embedding, clip_score = columns(config)
    kept = samples.filter(pc.is_valid(samples[embedding]))
    vectors = kept[embedding].combine_chunks()
    dim = len(vectors[0]) if len(vectors) else 1
    table = pa.table(
        {
            "sample_id": kept["sample_id"],
            "encoder": pa.array([config.name] * len(kept), pa.string()),
            "embedding": vectors.cast(pa.list_(pa.float32(), dim)),
            "clip_score": kept[clip_score],
        }
    )
    return table.cast(schema.embeddings(dim))


def columns(config: Encoder) -> tuple[str, str]:
    """Names, while a batch is under way, of an encoder's two columns."""
    return f"embedding {config.name}", f"clip_score {config.name}"


def file_name(config: Encoder, batch_id: str) -> str:
    """The file that holds one batch's embeddings."""
    return f"embeddings/{re.sub(r'[^A-Za-z0-9]+', '-', config.name)}.{batch_id}.parquet"
