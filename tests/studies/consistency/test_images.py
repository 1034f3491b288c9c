"""Pictures are kept exactly, and what shows nothing is told apart."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from raypipe.config.sections import Storage
from raypipe.core.masks import is_blank
from raypipe.inputs.codec import decode, encode, inspect
from raypipe.storage import schema
from raypipe.studies.consistency.images import image_columns, stored_images
from tests.support.pictures import encoded, noise

PNG, WEBP, JPEG = (Storage(format=name) for name in ("png", "webp", "jpeg"))
PIXELS = npst.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)),
    elements=st.integers(0, 255),
)


NOISE = noise(0, 24, 16)


@pytest.mark.parametrize("storage", [PNG, WEBP], ids=["png", "webp"])
@given(PIXELS)
def test_lossless_formats_keep_every_value(storage, pixels_HWC):
    made = encode(pixels_HWC.astype(np.float32) / 255, storage)
    assert (made.height, made.width) == pixels_HWC.shape[:2]
    if np.ptp(pixels_HWC, axis=(0, 1)).max() < 2:
        assert (made.data, made.reason) == (None, "blank")
        return
    assert made.reason is None
    assert (np.asarray(decode(made.data)) == pixels_HWC).all()
    assert Image.open(io.BytesIO(made.data)).format.lower() == storage.format


def test_jpeg_follows_its_quality():
    smooth = np.linspace(0, 1, 64 * 64 * 3, dtype=np.float32).reshape(64, 64, 3)
    sizes = []
    for quality in (30, 95):
        made = encode(smooth, Storage(format="jpeg", quality=quality))
        assert np.abs(np.asarray(decode(made.data)) / 255.0 - smooth).mean() < 0.02
        assert Image.open(io.BytesIO(made.data)).format == "JPEG"
        sizes.append(len(made.data))
    assert sizes[0] < sizes[1]


def test_values_outside_0_to_1_are_clipped_and_rounded_not_wrapped():
    pixels = np.array([[[-0.5, 1.5, 0.501]], [[1.0, 0.0, 0.499]]], np.float32)
    kept = np.asarray(decode(encode(pixels, PNG).data))
    assert kept.tolist() == [[[0, 255, 128]], [[255, 0, 127]]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_makes_the_picture_unusable(bad):
    pixels = NOISE.astype(np.float32) / 255
    pixels[3, 4, 1] = bad
    made = encode(pixels, PNG)
    assert (made.data, made.width, made.height, made.reason) == (None, 16, 24, "nan")


def test_blank_means_that_no_channel_varies():
    flat = np.full((8, 8, 3), (10, 200, 30), np.uint8)
    assert is_blank(flat)
    for change, blank in ((1, True), (2, False)):
        almost = flat.copy()
        almost[4, 4, 2] += change
        assert is_blank(almost) is blank
        assert (inspect(encoded(almost)).reason == "blank") is blank
    assert encode(np.zeros((8, 8, 3), np.float32), PNG).reason == "blank"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_exists_keeps_its_bytes(kind):
    data = encoded(NOISE, kind)
    found = inspect(data)
    assert (found.data, found.width, found.height, found.reason) == (data, 16, 24, None)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16", "LA"])
def test_every_colour_mode_is_read_as_rgb(mode):
    image = Image.fromarray(NOISE)
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    assert decode(data).mode == "RGB"
    assert inspect(data).reason in (None, "blank")


def test_what_is_not_there_or_no_picture_has_a_reason():
    assert inspect(None).reason == "missing"
    whole = encoded(NOISE)
    for data in (
        b"",
        b"no picture",
        whole[:-40],
        encoded(NOISE, "JPEG")[:100],
        encoded(NOISE, "BMP"),  # no format of ours
        whole[:36] + b"\x0c" + whole[37:],  # a chunk that ends too soon
    ):
        assert inspect(data) == inspect(b"")
        assert inspect(data).reason == "unreadable"


@given(
    st.sampled_from(["PNG", "JPEG", "WEBP"]),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6),
    st.none() | st.integers(0, 3000),
)
def test_a_damaged_file_never_stops_a_run(kind, changes, cut):
    data = bytearray(encoded(NOISE, kind))
    for at, value in changes:
        data[at % len(data)] = value
    found = inspect(bytes(data[:cut]))
    assert found.reason in (None, "blank", "unreadable")
    assert (found.data is None) == (found.reason is not None)


def test_columns_say_what_became_of_each_picture():
    made = [encode(NOISE / np.float32(255), PNG), inspect(None), inspect(b"x")]
    columns = image_columns(made, [False, True, False], "cpu")
    assert columns["status"].to_pylist() == [schema.OK, schema.QUARANTINED, schema.QUARANTINED]
    assert columns["reason"].to_pylist() == [None, "missing", "unreadable"]
    assert columns["truncated"].to_pylist() == [False, True, False]
    assert columns["image"].null_count == 2
    row = dict.fromkeys(schema.SAMPLES.names, "x")
    table = pa.Table.from_pylist([row | {"seed": i} for i in range(3)], schema=schema.SAMPLES)
    for name in columns.column_names:
        table = table.append_column(columns.schema.field(name), columns[name])
    assert stored_images(table).schema == schema.IMAGES
