"""Photos of every kind open to the same upright pixels; broken ones say so."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from raypipe.inputs.codec import open_photo
from tests.support.pictures import encoded, noise

GREY = np.linspace(0, 255, 12 * 16).astype(np.uint8).reshape(12, 16)


@pytest.fixture(scope="module")
def pixels():
    return noise(0, 12, 16)


def opened(data: bytes) -> np.ndarray:
    photo = open_photo(data)
    assert photo.reason is None
    assert photo.pixels_HWC.dtype == np.uint8
    assert photo.pixels_HWC.flags.writeable
    return photo.pixels_HWC


def test_plain_pictures_keep_their_pixels(pixels):
    assert np.array_equal(opened(encoded(pixels)), pixels)
    assert np.array_equal(opened(encoded(pixels, "WEBP", lossless=True)), pixels)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p, 1)),
        (7, lambda p: np.rot90(p, 2).transpose(1, 0, 2)),
        (8, lambda p: np.rot90(p, -1)),
    ],
)
def test_a_turned_camera_gives_upright_pixels(pixels, orientation, stored):
    """`stored` is how a camera held that way would have written the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(stored(pixels)), exif=exif)
    assert np.array_equal(opened(data), pixels)


def test_grey_becomes_three_equal_channels():
    for mode in ("L", "1"):
        shown = opened(encoded(Image.fromarray(GREY).convert(mode)))
        assert np.array_equal(shown, np.asarray(Image.fromarray(GREY).convert(mode).convert("RGB")))


def test_sixteen_bits_keep_their_upper_byte():
    deep_HW = (GREY.astype(np.uint16) << 8) + 37
    assert np.array_equal(opened(encoded(deep_HW))[..., 1], GREY)


def test_sixteen_bits_of_colour_keep_their_upper_byte(pixels):
    """Pillow writes no such file, so the chunks of the PNG are put together here."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    rows = (pixels.astype(">u2") << 8).astype(">u2") + 12
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", 16, 12, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw))
    assert np.array_equal(opened(data + chunk(b"IEND", b"")), pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_transparent_lies_on_white(pixels, mode):
    base = Image.fromarray(pixels).convert("L" if mode == "LA" else "RGB")
    alpha_HW = np.zeros((12, 16), np.uint8)
    alpha_HW[:, 8:] = 255
    base.putalpha(Image.fromarray(alpha_HW))
    shown = opened(encoded(base))
    assert base.mode == mode
    assert (shown[:, :8] == 255).all()
    assert np.array_equal(shown[:, 8:], np.asarray(base.convert("RGB"))[:, 8:])


def test_palettes_are_looked_up(pixels):
    image = Image.fromarray(pixels).quantize(16)
    assert np.array_equal(opened(encoded(image)), np.asarray(image.convert("RGB")))
    clear = opened(encoded(image, transparency=int(np.asarray(image)[0, 0])))
    assert (clear[0, 0] == 255).all()


def test_cmyk_has_the_colours_of_its_rgb():
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    shown = opened(encoded(flat.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(shown.astype(int) - (200, 40, 90)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_is_cut_off_is_unreadable(kind):
    data = encoded(noise(1, 64, 64), kind)
    for share in (0.02, 0.5, 0.9):
        photo = open_photo(data[: int(share * len(data))])
        assert (photo.pixels_HWC, photo.reason) == (None, "unreadable")


def test_what_is_no_picture_says_so():
    assert open_photo(None).reason == "missing"
    assert open_photo(b"").reason == "unreadable"
    assert open_photo(b"no picture").reason == "unreadable"
    assert open_photo(encoded(GREY, "GIF")).reason == "unreadable"
