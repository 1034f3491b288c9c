"""A batch travels as one row, without a second copy of its pictures."""

import os

import pyarrow as pa

from raypipe.engine.stage import pack, unpack


def test_a_packed_batch_is_as_large_as_its_pictures_and_comes_back_whole():
    pictures = [os.urandom(100_000) for _ in range(8)]
    many = pa.table({"sample_id": [str(i) for i in range(16)], "image": 2 * pictures})
    batch = many.slice(4, 8)
    row = pack("b", batch)
    assert len(row) == 1
    assert row.nbytes < 1.01 * sum(map(len, pictures))
    assert unpack(row).equals(batch)
