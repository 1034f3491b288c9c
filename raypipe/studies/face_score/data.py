"""The training table of Face Score: face crops of finished pair runs, indexed by row.

Arrow files of each split, whose rows any worker reads in any order, without going through those
before.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe.config.sections import SPLITS
from raypipe.core.pictures import open_picture
from raypipe.errors import UserError
from raypipe.inputs.runs import batch_files, pairs_of
from raypipe.models.reward.input import crop_face
from raypipe.storage import schema
from raypipe.storage.damage import parse_json
from raypipe.storage.files import Folder

FOLDER = "data"

CROPS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("good", pa.binary(), nullable=False),
        pa.field("bad", pa.binary(), nullable=False),
    ]
)
"""One row per pair; `good` and `bad` are the face's crops, PNG."""


SHARD = 2_000
"""Pairs in a file."""


def prepare(uris: Sequence[str], output: Folder, kinds: Sequence[str]) -> dict[str, int]:
    """Write the crops below `data/`, unless they are there; returns how many pairs each split has.

    kinds: of the pairs that are trained on; validation and test have all. What is left out is
    counted as `refused` (by the pair run), `same` (good and bad are equal) and `other kind`.
    UserError where a split is left without pairs.
    """
    known = output.read(f"{FOLDER}/counts.json")
    if known is not None:
        return parse_json(known, output.uri, f"{FOLDER}/counts.json")
    counts: Counter[str] = Counter()
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    shards: Counter[str] = Counter()

    def flush(split: str) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, CROPS) as writer:
            writer.write_table(pa.Table.from_pylist(rows[split], schema=CROPS), max_chunksize=64)
        output.write(f"{FOLDER}/{split}/{shards[split]:04d}.arrow", sink.getvalue())
        shards[split] += 1
        rows[split].clear()

    for split, row in _pairs(uris, kinds, counts):
        rows[split].append(row)
        counts[split] += 1
        if len(rows[split]) == SHARD:
            flush(split)
    for split in SPLITS:
        if not counts[split]:
            found = ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "none at all"
            raise UserError(f"there must be pairs for {split}, got none; there are: {found}")
        flush(split)
    output.write(f"{FOLDER}/counts.json", json.dumps(counts).encode())
    return dict(counts)


def _pairs(
    uris: Sequence[str], kinds: Sequence[str], counts: Counter[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(split, row of CROPS) of every usable pair; the others are counted."""
    for uri in uris:
        folder = Folder(uri)
        for name in batch_files(folder, "pairs"):
            for pair in pairs_of(folder, name):
                if pair["status"] != schema.OK:
                    counts["refused"] += 1
                    continue
                if pair["split"] == "train" and pair["kind"] not in kinds:
                    counts["other kind"] += 1
                    continue
                good = _crop(pair["good"], pair["box"])
                bad = _crop(pair["bad"], pair["box"])
                if good == bad:
                    counts["same"] += 1
                    continue
                kept = {key: pair[key] for key in ("pair_id", "photo_id", "kind", "tags")}
                yield pair["split"], kept | {"good": good, "bad": bad}


def _crop(picture: bytes, box: Sequence[float]) -> bytes:
    """The face in a box of an encoded picture, as PNG."""
    sink = io.BytesIO()
    crop_face(open_picture(picture), box).save(sink, "PNG")
    return sink.getvalue()


def read_split(path: str, split: str) -> pa.Table:
    """All pairs of a split of a local `data` directory, mapped into memory, not read."""
    files = sorted(Path(path, split).glob("*.arrow"))
    tables = [pa.ipc.open_file(pa.memory_map(str(file))).read_all() for file in files]
    return pa.concat_tables(tables)
