"""A small repository of weights, to be fetched from a hub and from a bucket."""

from pathlib import Path

FILES = {
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 4096,
    "model.bin": b"not wanted",
    "sub/vocab.txt": b"a\nb\n",
}
PATTERNS = ["*.json", "model.safetensors", "sub/*"]
WANTED = {name: data for name, data in FILES.items() if name != "model.bin"}
"""What the patterns ask for."""


def content(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
