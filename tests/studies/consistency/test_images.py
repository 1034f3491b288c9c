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

PNG, WEBP, JPEG = (Storage(format=name) for name in ("png", "webp", "jpeg"))
PIXELS = npst.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)),
    elements=st.integers(0, 255),
)


def noise(height=24, width=16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file(pixels, kind="PNG", **more) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("storage", [PNG, WEBP], ids=["png", "webp"])
@given(PIXELS)
def test_lossless_formats_keep_every_value(storage, pixels_HWC):
    encoded = encode(pixels_HWC.astype(np.float32) / 255, storage)
    assert (encoded.height, encoded.width) == pixels_HWC.shape[:2]
    if np.ptp(pixels_HWC, axis=(0, 1)).max() < 2:
        assert (encoded.data, encoded.reason) == (None, "blank")
        return
    assert encoded.reason is None
    assert (np.asarray(decode(encoded.data)) == pixels_HWC).all()
    assert Image.open(io.BytesIO(encoded.data)).format.lower() == storage.format


def test_jpeg_follows_its_quality():
    smooth = np.linspace(0, 1, 64 * 64 * 3, dtype=np.float32).reshape(64, 64, 3)
    sizes = []
    for quality in (30, 95):
        encoded = encode(smooth, Storage(format="jpeg", quality=quality))
        assert np.abs(np.asarray(decode(encoded.data)) / 255.0 - smooth).mean() < 0.02
        assert Image.open(io.BytesIO(encoded.data)).format == "JPEG"
        sizes.append(len(encoded.data))
    assert sizes[0] < sizes[1]


def test_values_outside_0_to_1_are_clipped_and_rounded_not_wrapped():
    pixels = np.array([[[-0.5, 1.5, 0.501]], [[1.0, 0.0, 0.499]]], np.float32)
    kept = np.asarray(decode(encode(pixels, PNG).data))
    assert kept.tolist() == [[[0, 255, 128]], [[255, 0, 127]]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_spoils_the_picture(bad):
    pixels = noise().astype(np.float32) / 255
    pixels[3, 4, 1] = bad
    encoded = encode(pixels, PNG)
    assert (encoded.data, encoded.width, encoded.height, encoded.reason) == (None, 16, 24, "nan")


def test_blank_means_that_no_channel_varies():
    flat = np.full((8, 8, 3), (10, 200, 30), np.uint8)
    assert is_blank(flat)
    for change, blank in ((1, True), (2, False)):
        almost = flat.copy()
        almost[4, 4, 2] += change
        assert is_blank(almost) is blank
        assert (inspect(file(almost)).reason == "blank") is blank
    assert encode(np.zeros((8, 8, 3), np.float32), PNG).reason == "blank"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_exists_keeps_its_bytes(kind):
    data = file(noise(), kind)
    found = inspect(data)
    assert (found.data, found.width, found.height, found.reason) == (data, 16, 24, None)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16", "LA"])
def test_every_colour_mode_is_read_as_rgb(mode):
    image = Image.fromarray(noise())
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert decode(buffer.getvalue()).mode == "RGB"
    assert inspect(buffer.getvalue()).reason in (None, "blank")


def test_what_is_not_there_or_no_picture_is_told():
    assert inspect(None).reason == "missing"
    whole = file(noise())
    for data in (
        b"",
        b"no picture",
        whole[:-40],
        file(noise(), "JPEG")[:100],
        file(noise(), "BMP"),  # no format of ours
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
    data = bytearray(file(noise(), kind))
    for at, value in changes:
        data[at % len(data)] = value
    found = inspect(bytes(data[:cut]))
    assert found.reason in (None, "blank", "unreadable")
    assert (found.data is None) == (found.reason is not None)


def test_columns_say_what_became_of_each_picture():
    encoded = [encode(noise() / np.float32(255), PNG), inspect(None), inspect(b"x")]
    columns = image_columns(encoded, [False, True, False], "cpu")
    assert columns["status"].to_pylist() == [schema.OK, schema.QUARANTINED, schema.QUARANTINED]
    assert columns["reason"].to_pylist() == [None, "missing", "unreadable"]
    assert columns["truncated"].to_pylist() == [False, True, False]
    assert columns["image"].null_count == 2
    row = dict.fromkeys(schema.SAMPLES.names, "x")
    table = pa.Table.from_pylist([row | {"seed": i} for i in range(3)], schema=schema.SAMPLES)
    for name in columns.column_names:
        table = table.append_column(columns.schema.field(name), columns[name])
    assert stored_images(table).schema == schema.IMAGES
