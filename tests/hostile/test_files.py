"""Files that attack: none starts a program, takes the memory, or ends in a traceback."""

import ast
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypipe.config.inputs import Images, Photos
from raypipe.config.model import Lora, Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.core import limits
from raypipe.core.pictures import PictureError, open_picture
from raypipe.errors import UserError
from raypipe.inputs.codec import inspect, open_photo
from raypipe.inputs.photos import PhotoReader, list_photos
from raypipe.inputs.pictures import PictureReader, list_pictures
from raypipe.inputs.prompts import read_prompts
from raypipe.inputs.rows import rows_of
from raypipe.report.thumbnail import make_thumbnail
from raypipe.weights.headers import safetensors_shapes
from raypipe.weights.identity import encoder_identity, model_identity
from raypipe.weights.locate import miniature_path
from raypipe.weights.pipeline_files import pipeline_files
from tests.support import ROOT
from tests.support.hub_server import Hub

DEEP = "[" * 100_000 + "]" * 100_000


def told(action, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def in_little_memory(script: str, *arguments: str) -> str:
    """What a script prints in a process that may take 4 GiB of addresses; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    return done.stdout.strip()


TELLS = """
import sys
from raypipe.errors import UserError
def tell(action, *arguments):
    try:
        action(*arguments)
    except UserError as error:
        print(error)
"""


# Pictures


def opened_images() -> list[tuple[str, ast.Call]]:
    """Every call of an `open` of PIL's in the package, with its file."""
    found = []
    for path in sorted((ROOT / "raypipe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.func if isinstance(node, ast.Call) else None
            if isinstance(call, ast.Attribute) and call.attr == "open":
                owner = ast.unparse(call.value)
                if owner.rpartition(".")[2] in ("Image", "PIL") or "Image" in owner:
                    found.append((str(path.relative_to(ROOT / "raypipe")), node))
    return found


def test_one_function_opens_pictures_and_only_some_formats():
    calls = opened_images()
    assert {file for file, _ in calls} == {
        "core/pictures.py",
        "models/reward/upstream_worker.py",  # runs where nothing of raypipe can be imported
    }
    for _, call in calls:
        assert [keyword.arg for keyword in call.keywords] == ["formats"]
    for path in (ROOT / "raypipe").rglob("*.py"):
        text = path.read_text()
        assert "from PIL.Image import" not in text
        assert "ImageFile" not in text


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    b"(%pipe%touch STARTED) (r) file\nshowpage\n%%EOF\n"
)


def png(width: int, height: int, *, bits: int = 8, kind: int = 0, rows: bytes | None = None):
    """A PNG of zeros, as small as its compression makes it. kind: 0 is grey, 6 is RGBA."""

    def chunk(name: bytes, data: bytes) -> bytes:
        ends = [struct.pack(">I", number) for number in (len(data), zlib.crc32(name + data))]
        return ends[0] + name + data + ends[1]

    if rows is None:
        packer = zlib.compressobj(9)
        line = bytes(1 + (width * bits * {0: 1, 2: 3, 6: 4}[kind] + 7) // 8)
        rows = b"".join([packer.compress(line) for _ in range(height)] + [packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": rows, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks.items())


def jpeg_of_many_passes(passes: int) -> bytes:
    """A progressive JPEG whose last pass is written again and again."""
    sink = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(sink, "JPEG", progressive=True)
    data = sink.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * passes + data[-2:]


def test_ghostscript_is_not_started(tmp_path, monkeypatch):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = (
        "import sys; from raypipe.report.thumbnail import make_thumbnail\n"
        "try: make_thumbnail(sys.stdin.buffer.read())\nexcept ValueError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=EPS, cwd=ROOT, capture_output=True, check=False
    )
    assert done.stdout == b"refused\n"
    assert not (tmp_path / "started").exists()


HUGE = {
    "as wide as Pillow warns": png(9_500, 9_500),
    "as wide as Pillow refuses": png(2**16, 2**16, rows=b""),
    "as wide as it goes": png(2**31 - 1, 2**31 - 1, rows=b""),
    "16 bits": png(9_000, 9_000, bits=16, kind=6, rows=b""),
    "many passes": jpeg_of_many_passes(500),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_picture_beyond_the_limits_is_refused_by_its_header(name, recwarn):
    data = HUGE[name]
    with pytest.raises(PictureError) as caught:
        open_picture(data)
    assert caught.value.reason == "too large"
    assert "more than" in str(caught.value)
    assert open_photo(data).reason == inspect(data).reason == "too large"
    with pytest.raises(ValueError, match="more than"):
        make_thumbnail(data)


def test_pillows_warning_is_not_printed():
    script = TELLS + (
        "from raypipe.core.pictures import open_picture\n"
        "try: open_picture(sys.stdin.buffer.read())\nexcept ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=HUGE["as wide as Pillow warns"], cwd=ROOT,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout.decode() == "it has 9500×9500 pixels, more than 80,000,000\n"
    assert done.stderr == b""


def test_the_limit_is_below_pillows():
    assert limits.PIXELS < Image.MAX_IMAGE_PIXELS
    picture = open_picture(png(8_000, 10_000))
    assert picture.size == (8_000, 10_000)


DAMAGED = {
    "empty": b"",
    "cut off": png(64, 64)[:-30],
    "no data": png(64, 64, rows=b""),
    "text": b"no picture",
    "eps": EPS,
    "gif": b"GIF89a" + bytes(20),
    "tiff": b"II*\0" + bytes(20),
    "ppm": b"P6\n2 2\n255\n" + bytes(12),
    "psd": b"8BPS\0\1" + bytes(40),
    "icns": b"icns" + bytes(40),
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "avif": b"\0\0\0\x20ftypavif" + bytes(40),
    "bytes that are no webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(16),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_whole_picture_is_unreadable(name):
    data = DAMAGED[name]
    assert open_photo(data).reason == inspect(data).reason == "unreadable"
    with pytest.raises(ValueError, match="no whole PNG, JPEG or WebP"):
        make_thumbnail(data)


def test_every_single_bit_flip_of_a_small_picture_is_a_picture_or_a_reason():
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    for kind in ("PNG", "JPEG", "WEBP"):
        sink = io.BytesIO()
        Image.fromarray(noise).save(sink, kind)
        data = sink.getvalue()
        for bit in range(0, 8 * len(data), 3):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            photo = open_photo(bytes(flipped))
            assert (photo.pixels_HWC is None) == (photo.reason in ("unreadable", "too large"))


def test_a_large_file_is_told_when_a_folder_is_listed(tmp_path):
    file = tmp_path / "one" / "a cat" / "5.png"
    file.parent.mkdir(parents=True)
    with file.open("wb") as stream:
        stream.truncate(limits.PICTURE + 1)
    for action in (
        lambda: list_pictures(Images(folder=str(tmp_path))),
        lambda: list_photos(Photos(folder=str(tmp_path), default_caption="x"), 4),
        lambda: PictureReader(Images(folder=str(tmp_path)))([str(file)]),
    ):
        assert f"at most {limits.PICTURE:,} bytes, got {limits.PICTURE + 1:,}" in told(action)


def test_a_name_with_a_line_break_is_one_line(tmp_path):
    file = tmp_path / "one" / "a\ncat" / "5.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(png(8, 8))
    assert "control characters" in told(list_pictures, Images(folder=str(tmp_path)))


# Shards


def header(name: bytes, size: int, kind: bytes = b"0") -> bytes:
    """The header of a file in a tar, whatever its size."""
    info = tarfile.TarInfo(name.decode())
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse(name: str, size: int) -> bytes:
    """A file of holes, in the old format of GNU's tar: nothing is stored of it."""
    block = bytearray(header(name.encode(), 0, b"S"))
    block[386:410] = b"%011o\0" % size + b"%011o\0" % 0
    block[483:495] = b"%011o\0" % size
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:512]))
    return bytes(block)


TARS = {
    "a long name": header(b"x", 2**35, b"L"),
    "a pax header": header(b"x", 2**35, b"x"),
    "a caption": header(b"1.txt", 2**35),
    "a caption in json": header(b"1.json", 2**35),
    "a picture": header(b"1.png", 2**35),
    "holes": sparse("1.txt", 2**35) + sparse("2.png", 2**35),
}


@pytest.mark.parametrize("name", TARS)
def test_a_small_shard_takes_no_memory(name, tmp_path):
    file = tmp_path / "a.tar"
    file.write_bytes(TARS[name] + bytes(1024))
    script = TELLS + (
        "from raypipe.config.inputs import Photos\n"
        "from raypipe.inputs.photos import list_photos\n"
        "tell(list_photos, Photos(shards=sys.argv[1]), 4)"
    )
    line = in_little_memory(script, str(file))
    assert len(line.splitlines()) == 1
    assert str(file) in line
    assert "at most" in line or name == "holes"


@pytest.mark.parametrize("source", ["{}#0+99999999999", "{}/../b.tar#0+5", "/etc/passwd#0+5"])
def test_a_plans_source_reads_nothing_but_pictures_of_the_shard(source, tmp_path):
    (tmp_path / "a.tar").write_bytes(bytes(1024))
    reader = PhotoReader(Photos(shards=str(tmp_path / "a.tar")))
    assert "shard#offset+size" in told(reader, [source.format(tmp_path / "a.tar")])


def test_deep_json_in_a_shard_is_no_caption(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("1.png", b"x"), ("1.json", DEEP.encode())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert "none of the 1 photos has a caption" in told(
        list_photos, Photos(shards=str(tmp_path)), 4
    )


# Tables and lists


def repeated(path: Path, rows: int, length: int, column: str = "prompt", kind=None) -> None:
    """A Parquet file in which a long text stands once, and its table has it in every row."""
    text = pa.array(["x" * length], kind or pa.string())
    column_of_one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), text)
    pq.write_table(pa.table({column: column_of_one}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string()])
@pytest.mark.parametrize("column", ["prompt", "None"])
def test_a_small_parquet_file_takes_no_memory(kind, column, tmp_path):
    file = tmp_path / "p.parquet"
    repeated(file, 8_000, 2**20, kind=kind)
    script = TELLS + (
        "from raypipe.inputs.rows import rows_of\n"
        f"tell(rows_of, sys.argv[1], 'prompt file', {column if column == 'None' else repr(column)})"
    )
    line = in_little_memory(script, str(file))
    assert line.startswith("prompt file must have at most 1,073,741,824 bytes once unpacked, got ")
    assert line.endswith(str(file))


def test_many_empty_rows_are_refused_by_the_footer(tmp_path):
    file = tmp_path / "p.parquet"
    rows = limits.ROWS + 1
    pq.write_table(pa.table({"prompt": pa.nulls(rows, pa.string())}), file)
    assert f"at most {limits.ROWS:,} rows, got {rows:,}" in told(read_prompts, str(file), "prompt")


@pytest.mark.parametrize("way", ["images", "photos"])
def test_listing_a_small_parquet_file_takes_no_memory(way, tmp_path):
    file = tmp_path / "p.parquet"
    n = 8_000
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), ["x" * 2**20])
    table = {
        "images": {"model": ["a"] * n, "prompt": text, "seed": range(n), "image": [b"x"] * n},
        "photos": {"caption": text, "image": [b"x"] * n},
    }[way]
    pq.write_table(pa.table(table), file, compression="zstd", store_schema=False)
    script = (
        TELLS
        + {
            "images": "from raypipe.config.inputs import Images\n"
            "from raypipe.inputs.pictures import list_pictures\n"
            "tell(list_pictures, Images(parquet=sys.argv[1]))",
            "photos": "from raypipe.config.inputs import Photos\n"
            "from raypipe.inputs.photos import list_photos\n"
            "tell(list_photos, Photos(parquet=sys.argv[1]), 4)",
        }[way]
    )
    line = in_little_memory(script, str(file))
    assert f"Parquet {way} must have at most" in line
    assert str(file) in line


@pytest.mark.parametrize("way", ["images", "photos"])
def test_pictures_that_unpack_to_too_much_are_refused(way, tmp_path):
    file = tmp_path / "p.parquet"
    repeated(file, 4_000, 2**20, "image", pa.binary())
    script = (
        TELLS
        + {
            "images": "from raypipe.config.inputs import Images\n"
            "from raypipe.inputs.pictures import PictureReader\n"
            "reader = PictureReader(Images(parquet=sys.argv[1]))\n",
            "photos": "from raypipe.config.inputs import Photos\n"
            "from raypipe.inputs.photos import PhotoReader\n"
            "reader = PhotoReader(Photos(parquet=sys.argv[1]))\n",
        }[way]
        + "tell(reader, [sys.argv[1] + '#3999'])"
    )
    line = in_little_memory(script, str(file))
    assert line.startswith("pictures of a row group must have at most 1,073,741,824 bytes, got ")


def test_what_a_parquet_file_holds_is_found_by_its_row(tmp_path):
    for name, first in (("a", 0), ("b", 10)):
        rows = [b"%d" % number for number in range(first, first + 10)]
        table = pa.table({"model": ["m"] * 10, "prompt": [f"{name}"] * 10, "seed": range(10),
                          "image": pa.array([*rows[:9], None])})  # fmt: skip
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=3)
    images = Images(parquet=str(tmp_path))
    sources = [picture.source for picture in list_pictures(images)]
    read = PictureReader(images)
    wanted = [*(b"%d" % n for n in range(9)), None, *(b"%d" % n for n in range(10, 19)), None]
    assert read(sources) == wanted
    assert read(sources[::-1]) == wanted[::-1]
    assert read([""]) == read([f"{tmp_path}/c.parquet#1"]) == [None]
    assert read([f"{tmp_path}/a.parquet#10"]) == [None]
    assert "must be in" in told(read, [f"{tmp_path}/../c.parquet#1"])


LISTS = {
    "deep.jsonl": (DEEP, "nested more than 64 levels deep"),
    "deep.json": (DEEP, "nested more than 64 levels deep"),
    "a little deep.json": ("[" * 65 + "]" * 65, "nested more than 64 levels deep"),
    "objects.jsonl": ('{"prompt":' * 10_000 + "1" + "}" * 10_000, "nested more than"),
    "digits.jsonl": ('{"prompt": ' + "1" * 10_000 + "}", "digits"),
    "a long line.jsonl": (json.dumps({"prompt": "x" * 2**20}), "at most 1,048,576 characters"),
    "a long prompt.jsonl": (json.dumps({"prompt": "x" * 20_000}), "at most 16,384 characters"),
    "a long prompt.txt": ("x" * 20_000, "at most 16,384 characters"),
    "a long prompt.csv": ("prompt\n" + "x" * 20_000, "at most 16,384 characters"),
    "a long cell.csv": ("prompt\n" + "x" * 200_000, "field larger than field limit"),
    "a bell.txt": ("a cat\a", "control characters"),
    "nul.jsonl": (json.dumps({"prompt": "a\0cat"}), "control characters"),
    "escape.csv": ("prompt\na \x1b[31mcat", "control characters"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_attacks_is_one_line(name, tmp_path):
    file = tmp_path / name
    text, rule = LISTS[name]
    file.write_text(text)
    action = rows_of if name.endswith(".json") else read_prompts
    arguments = ("choices file",) if name.endswith(".json") else ("prompt",)
    message = told(action, str(file), *arguments)
    assert rule in message
    assert str(file) in message


def test_a_list_in_64_levels_and_brackets_in_text_are_read(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"prompt": "[" * 1000}))
    assert read_prompts(str(file), "prompt") == (["[" * 1000], [])
    assert limits.parse_json("[" * 64 + "]" * 64)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    file = tmp_path / "a.txt"
    with file.open("wb") as stream:
        stream.truncate(limits.FILE + 1)
    message = told(read_prompts, str(file), "prompt")
    assert message == f"a file must have at most 268,435,456 bytes, got 268,435,457: {file}"


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    for file in (str(tmp_path / "pipe.txt"), "/dev/zero"):
        assert "not a regular file" in told(read_prompts, file, "prompt")


def test_deep_metadata_is_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "metadata.jsonl").write_text(DEEP)
    message = told(list_photos, Photos(folder=str(tmp_path)), 4)
    assert "metadata.jsonl" in message
    assert "line 1" in message


# Weights


HEADERS = {
    "huge": (struct.pack("<Q", 2**26), 2**26 + 8, "header of a safetensors file must have at most"),
    "longer than the file": (struct.pack("<Q", 2**62), 100, "a safetensors file was expected"),
    "deep": (struct.pack("<Q", len(DEEP)) + DEEP.encode(), 0, "a safetensors file was expected"),
    "a list": (struct.pack("<Q", 2) + b"[]", 0, "a safetensors file was expected"),
    "a number": (struct.pack("<Q", 10) + b'{"a": 1e5}', 0, "a safetensors file was expected"),
    "empty": (b"", 0, "a safetensors file was expected"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_attacks_is_one_line(name, tmp_path):
    data, size, rule = HEADERS[name]
    file = tmp_path / "a.safetensors"
    file.write_bytes(data)
    if size:
        os.truncate(file, size)
    message = told(safetensors_shapes, file)
    assert rule in message
    assert str(file) in message


EVIL = "import pathlib; pathlib.Path(__file__).with_name('STARTED').write_text('')\nclass X: pass\n"


@pytest.fixture
def model(tmp_path):
    """A copy of a small pipeline, with files of JSON to be changed."""
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(miniature_path("sd15"), folder)
    folder.joinpath("unet").chmod(0o755)

    def change(name: str, **keys: object) -> None:
        file = folder / name
        tree = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(tree | keys))

    return folder, change


CODE = {
    "class of a file": ("model_index.json", {"_class_name": ["evil", "X"]}),
    "no class": ("model_index.json", {"_class_name": None}),
    "a dotted class": ("model_index.json", {"_class_name": "os.system"}),
    "component of a file": ("model_index.json", {"unet": ["evil", "X"]}),
    "component of a library": ("model_index.json", {"unet": ["subprocess", "Popen"]}),
    "a dotted library": ("model_index.json", {"unet": ["diffusers.utils", "X"]}),
    "a function": ("model_index.json", {"unet": ["diffusers", "logging"]}),
    "a folder elsewhere": ("model_index.json", {"../unet": ["diffusers", "UNet2DConditionModel"]}),
    "custom pipeline": ("model_index.json", {"custom_pipeline": "evil"}),
    "auto_map": ("text_encoder/config.json", {"auto_map": {"AutoModel": "evil.X"}}),
    "auto_map of a tokenizer": (
        "tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.X", None]}},
    ),
    "auto_map of a network": ("unet/config.json", {"auto_map": {"AutoModel": "evil.X"}}),
    "_module": ("scheduler/scheduler_config.json", {"_module": "evil"}),
    "trust": ("tokenizer/tokenizer_config.json", {"a": [{"trust_remote_code": True}]}),
    "an adapter": ("text_encoder/adapter_config.json", {"base_model_name_or_path": "org/name"}),
    "an index below": ("unet/model_index.json", {"_class_name": ["evil", "X"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_a_model_that_names_code_is_refused(name, model):
    from raypipe.models.diffusion.loading import load_pipeline

    folder, change = model
    file, keys = CODE[name]
    change(file, **keys)
    entry = Model(name="m", id=str(folder))
    for action in (lambda: model_identity(entry), lambda: load_pipeline(entry, Sampler())):
        message = told(action)
        assert "model m" in message
        assert file.rpartition("/")[2] in message


@pytest.mark.parametrize("where", ["evil.py", "unet/evil.py", "None.py"])
def test_a_model_that_brings_code_is_refused(where, model):
    from raypipe.models.diffusion.loading import load_pipeline

    folder, _ = model
    (folder / where).write_text(EVIL)
    entry = Model(name="m", id=str(folder))
    for action in (lambda: model_identity(entry), lambda: load_pipeline(entry, Sampler())):
        assert "must have no code of its own" in told(action)
    assert not list(folder.rglob("STARTED"))


def test_deep_json_of_a_model_is_one_line(model):
    folder, _ = model
    for name in ("model_index.json", "unet/config.json"):
        before = (folder / name).read_text()
        (folder / name).write_text(DEEP)
        message = told(model_identity, Model(name="m", id=str(folder)))
        assert "nested more than 64 levels deep" in message
        assert name in message
        (folder / name).write_text(before)


def test_pickles_of_a_pipeline_or_a_vae_are_not_loaded(model):
    import torch

    from raypipe.models.diffusion.loading import load_pipeline

    folder, _ = model
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, weights.with_suffix(".bin"))
    told(load_pipeline, Model(name="m", id=str(folder)), Sampler())
    vae = {"name": "m", "id": "miniature/sd15", "vae": str(folder / "vae")}
    message = told(load_pipeline, Model(**vae), Sampler())
    assert "safetensors" in message


def only_from(hub, tmp_path):
    """The environment of a process that fetches from this hub, into an empty cache."""
    return os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0",
        "RAYPIPE_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip


def test_code_is_never_fetched_from_a_hub(tmp_path, monkeypatch):
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "U"],
             "tokenizer": ["transformers", "T"]}  # fmt: skip
    files = {
        "model_index.json": json.dumps(index).encode(), "evil.py": EVIL.encode(),
        "unet/config.json": b"{}", "unet/diffusion_pytorch_model.safetensors": b"w",
        "unet/evil.py": EVIL.encode(), "tokenizer/vocab.txt": b"x",
        "tokenizer/evil.py": EVIL.encode(),
    }  # fmt: skip
    assert [n for n in pipeline_files(index, list(files), None) if n.endswith(".py")] == []
    script = (
        "import sys; from raypipe.weights.fetch import fetch, fetch_pipeline\n"
        "fetch_pipeline('org/name', None, None, 'm'); fetch('org/name', what='m')"
    )
    with Hub(files) as hub:
        environment = only_from(hub, tmp_path)
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
        assert sorted(set(hub.downloads())) == sorted(n for n in files if not n.endswith(".py"))


def test_an_index_on_a_hub_is_checked_before_the_rest_is_fetched(tmp_path):
    files = {
        "model_index.json": b'{"_class_name": ["evil", "X"]}', "evil.py": EVIL.encode(),
        "unet/config.json": b"{}",
    }  # fmt: skip
    script = TELLS + (
        "from raypipe.weights.fetch import fetch_pipeline\n"
        "tell(fetch_pipeline, 'org/name', None, None, 'model m')"
    )
    with Hub(files) as hub:
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=only_from(hub, tmp_path), check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert "_class_name of model m must be the name of a class" in done.stdout
        assert hub.downloads() == ["model_index.json"]


def test_an_encoder_whose_config_runs_code_is_refused(tmp_path):
    import shutil

    from raypipe.models.encoder import LoadedEncoder

    folder = tmp_path / "clip"
    shutil.copytree(miniature_path("clip"), folder)
    file = folder / "open_clip_config.json"
    tree = json.loads(file.read_text())
    tree["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    file.write_text(json.dumps(tree))
    config = folder / "tokenizer_config.json"
    named = {"auto_map": {"AutoTokenizer": ["evil.X", None]}, "tokenizer_class": "X"}
    config.write_text(json.dumps(json.loads(config.read_text()) | named))
    (folder / "evil.py").write_text(EVIL)
    encoder = Encoder(id=str(folder))
    for action in (lambda: encoder_identity(encoder), lambda: LoadedEncoder(encoder, "cpu")):
        assert "must have no code of its own" in told(action)
    (folder / "evil.py").unlink()
    for action in (lambda: encoder_identity(encoder), lambda: LoadedEncoder(encoder, "cpu")):
        assert "must have no code of its own" in told(action)


def test_a_loras_metadata_is_read_within_limits(tmp_path):
    import torch
    from safetensors.torch import save_file

    from raypipe.models.lora.file import read_lora

    file = tmp_path / "a.safetensors"
    tensors = {f"unet.a.lora_{m}.weight": torch.zeros(2, 2) for m in "AB"}
    save_file(tensors, file, {"lora_adapter_metadata": DEEP})
    message = told(read_lora, Lora(id=str(file)), "m")
    assert "nested more than 64 levels deep" in message


def test_models_are_loaded_without_pickles():
    """Every torch.load of the package is told to run no code."""
    for path in (ROOT / "raypipe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert given.get("weights_only") == "True", path
