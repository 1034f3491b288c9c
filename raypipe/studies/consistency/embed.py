"""Stage: pictures to unit-length vectors, and how well each picture fits its prompt."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config.networks import Encoder
from raypipe.config.sections import Pool
from raypipe.engine.stage import Device, start_on, threads
from raypipe.inputs.codec import decode
from raypipe.storage import schema
from raypipe.storage.damage import DamagedError, reading
from raypipe.storage.files import Folder
from raypipe.storage.names import BatchFiles
from raypipe.storage.parquet import ParquetFile

if TYPE_CHECKING:
    import torch

UNIT = 1e-3
"""How far the length of a stored vector may be from 1."""


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


def embedding_files(run: Folder, encoders: Sequence[Encoder]) -> BatchFiles:
    """The files of a run's encoders, also under the names that raypipe 0.1 gave them."""

    def older(name: str) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "-", name)

    return BatchFiles(run, "embeddings", [encoder.name for encoder in encoders], older)


def check_file(folder: Folder, name: str, batch: pa.Table, encoder: str, file: ParquetFile) -> None:
    """DamagedError unless a file holds vectors of its batch's samples, each once, by an encoder."""
    table = file.read(["sample_id", "encoder", "embedding", "clip_score"])
    check_embeddings(folder, name, table, encoder)
    ids, planned = table["sample_id"].to_pylist(), batch["sample_id"].to_pylist()
    if len(set(ids)) != len(ids) or not set(ids) <= set(planned):
        raise DamagedError(folder.uri, name, "must hold samples of its batch, each once")


def check_embeddings(run: Folder, name: str, table: pa.Table, encoder: str) -> np.ndarray:
    """The vectors (N, D) of an embeddings file, float32. DamagedError unless they are whole.

    table: with the columns encoder, embedding and clip_score. All must be the encoder's, of unit
    length within 0.1 %, and each CLIPScore from 0 to 100.
    """
    others = set(table["encoder"].unique().to_pylist()) - {encoder}
    if others:
        raise DamagedError(run.uri, name, f"must be of encoder {encoder}, got {others.pop()}")
    with reading(run.uri, name, "a file of embeddings"):
        vectors = table["embedding"].combine_chunks()
        flat = vectors.flatten().to_numpy(zero_copy_only=False)
        embeddings_ND = flat.reshape(len(table), -1) if len(table) else np.empty((0, 0), np.float32)
        assert not vectors.null_count, "a vector is null"
    norms_N = np.linalg.norm(embeddings_ND, axis=1)
    wrong_N = ~(np.abs(norms_N - 1) <= UNIT)  # NaN is wrong too
    if wrong_N.any():
        row = int(np.argmax(wrong_N))
        rule = f"must hold unit vectors, got length {norms_N[row]} (row {row})"
        raise DamagedError(run.uri, name, rule)
    clip_N = table["clip_score"].drop_null().to_numpy()
    if not ((clip_N >= 0) & (clip_N <= 100 * (1 + UNIT))).all():
        raise DamagedError(run.uri, name, "must hold CLIPScores from 0 to 100")
    return embeddings_ND
