"""Where a model's weights are, and their identity: resolved and checked before anything runs.

Nothing here imports torch: a directory's files are read as files, a safetensors file by its header.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from raypipe.config.model import Lora, Model
from raypipe.core.limits import parse_json
from raypipe.errors import UserError
from raypipe.storage.files import read_text
from raypipe.weights.trust import INDEX, check_index

MODELS = ("sdxl", "pixart", "sd15", "clip", "lora", "reward")


WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".ckpt", ".json", ".txt", ".model"})
"""What decides a model's output: weights, configs and tokenizers, but no readme."""

CONFIG_SUFFIXES = frozenset({".json", ".txt", ".model"})
"""What a single-file checkpoint takes from a pipeline's directory."""


def locate(identifier: str) -> str:
    """A local path or hub id: `miniature/NAME` is a directory inside the package."""
    space, _, name = identifier.partition("/")
    if space == "miniature":
        return str(miniature_path(name))
    return str(Path(identifier).expanduser()) if identifier.startswith("~") else identifier


def is_local(identifier: str) -> bool:
    """Whether an id is meant as a path: it exists, or looks like nothing a hub could name."""
    try:
        is_there = Path(identifier).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        is_there = False
    return is_there or identifier.startswith((".", "/"))


def pipeline_index(model: Model, name: str = INDEX) -> dict[str, Any]:
    """A JSON file of a pipeline: by default its class and its components."""
    assert model.id is not None
    where = locate(model.config or model.id)
    try:
        if "://" in where:
            text = read_text(f"{where}/{name}", f"{name} of {model.name}")
        elif is_local(where):
            text = (Path(where) / name).read_text()
        else:
            from raypipe.weights.hub import download

            revision = model.config_revision if model.config else model.revision
            folder = download(where, revision, [name], f"model {model.name}")
            text = (folder / name).read_text()
        index = dict(parse_json(text))
        if name == INDEX and not isinstance(index.get("_class_name"), str):
            raise ValueError("it must name its _class_name")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"model {model.name} has no readable {name}: {error}") from None
    if name == INDEX:
        check_index(index, f"model {model.name}", f"{where}/{name}")
    return index


def fingerprint(
    where: str, revision: str | None, what: str, suffixes: frozenset[str] = WEIGHT_SUFFIXES
) -> str:
    """Name the weights by content: a hash of a local path's files, or a hub id at a commit.

    Of a bucket's files the names, sizes and times are hashed: the driver reads no gigabytes.
    """
    if "://" in where:
        return _hash_listing(where, what)
    if is_local(where):
        return _hash_files(where, what, suffixes)
    return f"{where}@{hub_commit(where, revision, what)}"


@cache
def _hash_files(where: str, what: str, suffixes: frozenset[str]) -> str:
    root = Path(where)
    try:
        is_there = root.exists()
    except OSError as error:
        raise UserError(f"{what} cannot be read: {where}: {error.strerror}") from None
    if not is_there:
        raise UserError(f"{what} not found: {where}")
    if root.is_file():
        files = [root]
    else:
        files = sorted(path for path in root.rglob("*") if path.suffix in suffixes)
    if not files:
        raise UserError(f"no weights found for {what}: {where}")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        name = "" if path == root else path.relative_to(root).as_posix()
        digest.update(f"{name}\0{content}\n".encode())
    return f"sha256:{digest.hexdigest()[:32]}"


@cache
def _hash_listing(where: str, what: str) -> str:
    from raypipe.weights.bucket import listing
    from raypipe.weights.retry import retry

    files = retry(lambda: listing(where, None, what), f"{what} cannot be listed: {where}")
    digest = hashlib.sha256(json.dumps([[f.name, f.size, f.modified_ns] for f in files]).encode())
    return f"{where}@listing:{digest.hexdigest()[:32]}"


@cache
def hub_commit(where: str, revision: str | None, what: str) -> str:
    """The commit that a revision of a hub repository is now. UserError where the hub has none."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HfHubHTTPError, HFValidationError

    try:
        return str(HfApi().model_info(where, revision=revision, timeout=15).sha)
    except HFValidationError:
        raise UserError(f"{what} is neither a directory nor a hub id: {where}") from None
    except HfHubHTTPError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{what} cannot be fetched from the hub: {where}: {reason}") from None
    except Exception as error:  # the hub's client raises its transport's own errors
        cached = _cached_commit(where, revision)
        if cached is None:
            raise UserError(
                f"{what} is not a directory, not in the local cache, and the hub does not answer: "
                f"{where}: {error}"
            ) from None
        return cached


def _cached_commit(where: str, revision: str | None) -> str | None:
    """The commit of a snapshot in the local hub cache, for work without a network."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(where, revision=revision, local_files_only=True)).name
    except OSError:
        return None


def lora_file(lora: Lora) -> Path | None:
    """The LoRA's local file, or None where it is on a hub."""
    where = Path(locate(lora.id))
    if not is_local(str(where)):
        return None
    if where.is_file():
        return where
    if lora.weight_name:
        return where / lora.weight_name
    files = sorted(where.glob("*.safetensors"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise UserError(
            f"a LoRA directory must hold one .safetensors file, or weight_name must choose: "
            f"{where}: {names}"
        )
    return files[0]


def miniature_path(name: str) -> Path:
    """The directory of a model that comes with the package, `sdxl` for `miniature/sdxl`.

    UserError, listing the known names, for any other.
    """
    if name not in MODELS:
        raise UserError(f"miniature models are {', '.join(MODELS)}; got {name!r}")
    return Path(__file__).parents[1] / "miniature" / "weights" / name
