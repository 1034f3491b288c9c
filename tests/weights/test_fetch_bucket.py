"""Weights in a bucket are copied once a node, whole, until they are replaced."""

import json
from pathlib import Path

import pytest

from raypipe.errors import UserError
from raypipe.weights import bucket as buckets
from raypipe.weights import retry
from raypipe.weights.fetch import fetch, fetch_pipeline
from tests.support.weight_files import FILES, PATTERNS, WANTED, content


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    for name, data in FILES.items():
        path = tmp_path / "bucket" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "bucket"


def test_a_bucket_is_copied_once_until_its_files_are_replaced(bucket):
    uri = f"file://{bucket}"
    first = Path(fetch(uri, what="model m", files=PATTERNS))
    assert content(first) == WANTED
    written = (first / "config.json").stat().st_mtime_ns
    assert fetch(uri, what="model m", files=PATTERNS) == str(first)
    assert (first / "config.json").stat().st_mtime_ns == written
    (bucket / "config.json").write_bytes(b"[]")
    second = Path(fetch(uri, what="model m", files=PATTERNS))
    assert second != first
    assert content(second) == {**WANTED, "config.json": b"[]"}


def test_one_file_of_a_bucket_is_a_file(bucket):
    path = Path(fetch(f"file://{bucket}/model.safetensors", what="LoRA"))
    assert path.name == "model.safetensors"
    assert path.read_bytes() == FILES["model.safetensors"]


def test_a_copy_that_broke_off_is_completed(bucket, tmp_path):
    """As a killed process leaves it: no marker, a file missing, half of it beside its place."""
    folder = Path(fetch(f"file://{bucket}", what="model m"))
    (tmp_path / "cache" / f"{folder.name}.json").unlink()
    whole, broken = folder / "config.json", folder / "model.safetensors"
    copied = whole.stat().st_mtime_ns
    broken.unlink()
    (folder / "model.safetensors.partial").write_bytes(FILES[broken.name][:1000])
    assert fetch(f"file://{bucket}", what="model m") == str(folder)
    assert content(folder) == FILES
    assert whole.stat().st_mtime_ns == copied


def test_a_file_that_is_not_as_listed_is_not_taken(bucket, tmp_path):
    listed = buckets.listing(f"file://{bucket}", ["model.bin"], "model m")
    (bucket / "model.bin").write_bytes(b"replaced")
    with pytest.raises(retry.TransientError, match=r"model.bin has 8 of 10 bytes"):
        buckets.copy(f"file://{bucket}", listed, tmp_path / "copy", "model m")
    assert content(tmp_path / "copy") == {}


def test_a_pipeline_in_a_bucket(bucket):
    index = {"_class_name": "X", "unet": ["diffusers", "U"], "safety_checker": [None, None]}
    for name, text in {
        "model_index.json": json.dumps(index),
        "unet/config.json": "{}",
        "unet/diffusion_pytorch_model.safetensors": "w",
        "unet/diffusion_pytorch_model.bin": "w",
    }.items():
        (bucket / name).parent.mkdir(exist_ok=True)
        (bucket / name).write_text(text)
    path = Path(fetch_pipeline(f"file://{bucket}/", None, None, "model m"))
    assert set(content(path)) == {
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }


@pytest.mark.parametrize("take", [fetch, lambda i, **o: fetch_pipeline(i, None, None, o["what"])])
def test_paths_are_returned_as_they_are(take, tmp_path):
    assert take(str(tmp_path), what="m") == str(tmp_path)
    assert take("./nowhere", what="m") == "./nowhere"
    assert take("~/nowhere", what="m") == str(Path("~/nowhere").expanduser())
    assert (Path(take("miniature/sdxl", what="m")) / "model_index.json").is_file()


def test_what_is_missing_in_a_bucket_is_named(bucket, monkeypatch):
    with pytest.raises(UserError, match="model m has no files: file://"):
        fetch(f"file://{bucket}/nowhere", what="model m")
    with pytest.raises(UserError, match=r"model m has no file like \*.gguf: file://"):
        fetch(f"file://{bucket}", what="model m", files=["*.gguf"])
    with pytest.raises(UserError, match=r"model_index\.json of model m not found"):
        fetch_pipeline(f"file://{bucket}", None, None, "model m")
    monkeypatch.setenv("RAYPIPE_CACHE", "/dev/null/cache")
    with pytest.raises(UserError, match="the cache for weights must be writable"):
        fetch(f"file://{bucket}", what="model m")
