"""The columns of stored pictures."""

import pyarrow as pa

from raypipe.inputs.codec import Encoded
from raypipe.storage import schema

ADDED = pa.schema(
    [schema.IMAGES.field(name) for name in schema.IMAGES.names if name not in schema.SAMPLES.names]
)
"""Columns that turn planned samples into stored images."""


def image_columns(encoded: list[Encoded], truncated: list[bool], device: str | None) -> pa.Table:
    """The columns that a picture adds to its sample."""
    return pa.table(
        {
            "image": [e.data for e in encoded],
            "width": [e.width for e in encoded],
            "height": [e.height for e in encoded],
            "device": [device] * len(encoded),
            "truncated": truncated,
            "status": [schema.QUARANTINED if e.reason else schema.OK for e in encoded],
            "reason": [e.reason for e in encoded],
        },
        schema=ADDED,
    )


def stored_images(samples: pa.Table) -> pa.Table:
    """The images file of a batch."""
    return samples.select(schema.IMAGES.names).cast(schema.IMAGES)
