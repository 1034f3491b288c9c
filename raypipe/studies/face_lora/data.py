"""The training table of the face LoRA: latents, masks and encoded texts, indexed by row.

Arrow files that any worker maps into memory and reads in any order. Arrays are stored as
half-precision bytes with their shape: rounding by 2⁻¹¹ of a value is far below what the VAE loses.

Shape letters: B rows, c h w latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raypipe.storage.files import Folder

FOLDER = "data"
DATA_FILE = "data/{batch_id}.arrow"

Text = dict[str, torch.Tensor]
"""Encoded texts by the pipeline's names for their tensors, (B, ...)."""


@dataclass
class Pictures:
    """Rows as a network sees them, float32 on the CPU."""

    good_Bchw: torch.Tensor
    bad_Bchw: torch.Tensor | None
    """None for general pictures, which have no mask either."""
    mask_B1hw: torch.Tensor | None
    time_ids_B6: torch.Tensor
    text: Text


def _pack(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "data": array.astype(np.float16).tobytes()}


def picture_row(
    good_chw: np.ndarray,
    bad_chw: np.ndarray | None,
    mask_hw: np.ndarray | None,
    time_ids: Sequence[float],
) -> dict[str, Any]:
    """A row of `data/`; a general picture is one without a bad side and a mask."""
    row: dict[str, Any] = {"good": _pack(good_chw), "time_ids": list(time_ids)}
    if bad_chw is not None and mask_hw is not None:
        row |= {"bad": _pack(bad_chw), "mask": _pack(mask_hw)}
    return row


def pack_text(text_id: str, tensors: Text) -> dict[str, Any]:
    """A row of an encoded text, of tensors (1, ...)."""
    packed = {name: _pack(value[0].float().cpu().numpy()) for name, value in tensors.items()}
    return {"text_id": text_id, **packed}


def write_arrow(folder: Folder, name: str, table: pa.Table) -> None:
    """Write a table so that single rows of it can be mapped into memory."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=64)
    folder.write(name, sink.getvalue())


class LatentTable:
    """The rows of one role, with their texts."""

    def __init__(self, path: str, role: str):
        """path: a local `data` directory."""
        self._rows = _read(path, role)
        self._texts = _read(path, "text")
        ids = self._texts["text_id"].to_pylist()
        self._text_at = {text_id: row for row, text_id in enumerate(ids)}
        self._names = [name for name in self._texts.column_names if name != "text_id"]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: Sequence[int], text_ids: Sequence[str | None]) -> Pictures:
        """Rows in the order asked for; a text id in place of None replaces the row's own text."""
        found = [self._row(row) for row in rows]
        ids = [
            row["text_id"] if other is None else other
            for row, other in zip(found, text_ids, strict=True)
        ]
        is_pair = "bad" in found[0]
        return Pictures(
            good_Bchw=_stack([row["good"] for row in found]),
            bad_Bchw=_stack([row["bad"] for row in found]) if is_pair else None,
            mask_B1hw=_stack([row["mask"] for row in found])[:, None] if is_pair else None,
            time_ids_B6=torch.tensor([row["time_ids"] for row in found]),
            text={
                name: _stack([self._texts[name][self._text_at[i]].as_py() for i in ids])
                for name in self._names
            },
        )

    def _row(self, row: int) -> dict[str, Any]:
        return {name: self._rows[name][row].as_py() for name in self._rows.column_names}


def _read(path: str, role: str) -> pa.Table:
    """All rows of a role, mapped into memory, not read."""
    files = sorted(Path(path).glob(f"{role}-*.arrow"))
    return pa.concat_tables(pa.ipc.open_file(pa.memory_map(str(file))).read_all() for file in files)


def _stack(packed: Sequence[dict[str, Any]]) -> torch.Tensor:
    """Packed arrays as one tensor (B, ...), float32."""
    arrays = [np.frombuffer(one["data"], np.float16).reshape(one["shape"]) for one in packed]
    return torch.from_numpy(np.stack(arrays).astype(np.float32))
