"""Where a model's weights are and which they are: resolved and checked before anything runs.

Nothing here imports torch: a directory's files are read as files, a safetensors file by its header.
"""

import hashlib
import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

from raypipe.errors import UserError
from raypipe.files import read_text
from raypipe.models.families import ENCODED
from raypipe.models.lora_names import DOWN, ORIGINAL, names_of, part_of
from raypipe.settings import Consistency, Encoder, Lora, Model

WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".ckpt", ".json", ".txt", ".model"})
"""What decides a model's output: weights, configs and tokenizers, but no readme."""

CONFIG_SUFFIXES = frozenset({".json", ".txt", ".model"})
"""What a single-file checkpoint takes from a pipeline's directory."""


def locate(identifier: str) -> str:
    """A local path or hub id: `miniature/NAME` is a directory inside the package."""
    space, _, name = identifier.partition("/")
    if space == "miniature":
        from raypipe import miniature

        try:
            return str(miniature.path(name))
        except ValueError as error:
            raise UserError(str(error)) from None
    return str(Path(identifier).expanduser()) if identifier.startswith("~") else identifier


def is_local(identifier: str) -> bool:
    """Whether an id is meant as a path: it exists, or looks like nothing a hub could name."""
    return Path(identifier).exists() or identifier.startswith((".", "/"))


def model_identity(model: Model) -> dict[str, Any]:
    """All of a model that determines its pictures, apart from the sampler; it goes into ids.

    Raises UserError for what is no pipeline, or a LoRA that does not fit it.
    """
    assert model.id is not None
    where = locate(model.id)
    if model.config is not None:
        from raypipe.single_file import single_file_identity

        weights = single_file_identity(model)
    else:
        if is_local(where) and not (Path(where) / "model_index.json").is_file():
            raise UserError(
                f"a model directory must hold model_index.json, got {where} ({model.name})"
            )
        weights = {"weights": fingerprint(where, model.revision, f"model {model.name}")}
    identity: dict[str, Any] = {
        **weights,
        "variant": model.variant,
        "dtype": model.dtype,
        "vae": model.vae
        and fingerprint(locate(model.vae), model.vae_revision, f"VAE of model {model.name}"),
        "options": dict(model.options),
    }
    if model.memory.vae_tiling:
        identity["vae_tiling"] = True
    if model.lora is not None:
        identity["lora"] = {**lora_identity(model.lora, model.name), "scale": model.lora.scale}
        if model.config is None:
            _check_lora_fits(where, model.lora, model.name)
    return identity


def pipeline_index(model: Model, name: str = "model_index.json") -> dict[str, Any]:
    """A JSON file of a pipeline: by default its class and its components."""
    assert model.id is not None
    where = locate(model.config or model.id)
    try:
        if "://" in where:
            text = read_text(f"{where}/{name}", f"{name} of {model.name}")
        elif is_local(where):
            text = (Path(where) / name).read_text()
        else:
            from raypipe.models.hub import download

            revision = model.config_revision if model.config else model.revision
            folder = download(where, revision, [name], f"model {model.name}")
            text = (folder / name).read_text()
        return dict(json.loads(text))
    except (OSError, ValueError) as error:
        raise UserError(f"model {model.name} has no readable {name}: {error}") from None


def can_encode_apart(model: Model) -> bool:
    """Whether text can be encoded apart from this model; reads only which pipeline it is."""
    return pipeline_index(model)["_class_name"] in ENCODED


def lora_identity(lora: Lora, model_name: str) -> dict[str, Any]:
    """Which LoRA it is, without its scale."""
    where = locate(lora.id)
    return {
        "weights": fingerprint(where, lora.revision, f"LoRA of model {model_name}"),
        "weight_name": lora.weight_name,
    }


def encoder_identity(encoder: Encoder) -> dict[str, Any]:
    """Which encoder it is. UserError for one that does not exist."""
    where = locate(encoder.id)
    if "://" in where:
        return {"library": encoder.library, "weights": fingerprint(where, None, "encoder")}
    if is_local(where):
        marker = "open_clip_config.json" if encoder.library == "open_clip" else "config.json"
        if not (Path(where) / marker).is_file():
            raise UserError(f"an encoder directory must hold {marker}: {where}")
        return {"library": encoder.library, "weights": fingerprint(where, None, "encoder")}
    from raypipe.models.encoder import check_exists

    check_exists(encoder)
    return encoder.model_dump(mode="json")


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
    return f"{where}@{_hub_commit(where, revision, what)}"


@cache
def _hash_files(where: str, what: str, suffixes: frozenset[str]) -> str:
    root = Path(where)
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
    from raypipe.models.bucket import listing
    from raypipe.models.retry import retry

    files = retry(lambda: listing(where, None, what), f"{what} cannot be listed: {where}")
    digest = hashlib.sha256(json.dumps([[f.name, f.size, f.modified_ns] for f in files]).encode())
    return f"{where}@listing:{digest.hexdigest()[:32]}"


def pinned(config: Consistency) -> Consistency:
    """The config with hub models at the commits that the plan resolved, which workers then load."""
    return config.model_copy(
        update={"models": tuple(pinned_model(model) for model in config.models)}
    )


def pinned_model(model: Model) -> Model:
    """The model at the commits of the hub that names stand for today."""
    what, commits = f"model {model.name}", {}
    for key, revision in (
        ("id", "revision"),
        ("config", "config_revision"),
        ("vae", "vae_revision"),
    ):
        where = getattr(model, key) and locate(getattr(model, key))
        if where and not is_local(where) and "://" not in where:
            repository = "/".join(where.split("/")[:2])
            commits[revision] = _hub_commit(repository, getattr(model, revision), what)
    if model.lora is not None:
        where = locate(model.lora.id)
        if not is_local(where) and "://" not in where:
            commit = _hub_commit(where, model.lora.revision, what)
            commits["lora"] = model.lora.model_copy(update={"revision": commit})
    return model.model_copy(update=commits)


@cache
def _hub_commit(where: str, revision: str | None, what: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HfHubHTTPError, HFValidationError

    try:
        return str(HfApi().model_info(where, revision=revision, timeout=15).sha)
    except HFValidationError:
        raise UserError(f"{what} is neither a directory nor a hub id: {where}") from None
    except HfHubHTTPError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{what} cannot be had from the hub: {where}: {reason}") from None
    except Exception as error:  # the hub's client raises its transport's own errors
        cached = _cached_commit(where, revision)
        if cached is None:
            raise UserError(
                f"{what} is no directory, not in the local cache, and the hub does not answer: "
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


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file's tensors, from its header alone."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        return {name: tuple(v["shape"]) for name, v in header.items() if name != "__metadata__"}
    except FileNotFoundError:
        raise UserError(f"file not found: {path}") from None
    except (OSError, ValueError, struct.error, AttributeError, KeyError, TypeError):
        raise UserError(f"a safetensors file was expected, got {path}") from None


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


def _check_lora_fits(base: str, lora: Lora, name: str) -> None:
    """Compare the LoRA's layers with the base model's modules, by file headers.

    Only for local files; whatever else is checked by the first actor, and so are layers that go by
    the names of the original code.
    """
    file = lora_file(lora)
    if file is None or not is_local(base):
        return
    tensors = safetensors_shapes(file)
    if not any("lora" in key for key in tensors):
        raise UserError(f"the file holds no LoRA weights: {file} (model {name})")
    inputs = _inputs_by_layer(Path(base))
    for key, shape in tensors.items():
        ending = next((ending for ending in DOWN if key.endswith(ending)), None)
        if ending is None:
            continue
        layer = key.removesuffix(ending)
        part, path = part_of(layer)
        target = inputs.get((part, path))
        if target != shape[1] and not path.startswith(ORIGINAL):
            found = "no such module" if target is None else f"which takes {target} inputs"
            raise UserError(
                f"a LoRA must fit its model: {file.name} changes {layer} "
                f"({shape[1]} inputs), {found} in model {name}"
            )


def _inputs_by_layer(base: Path) -> dict[tuple[str, str], int]:
    """How many inputs each layer takes, by its part and each name that LoRA files have for it."""
    parts = {"unet": "denoiser", "transformer": "denoiser"}
    inputs = {}
    for folder in ("unet", "transformer", "text_encoder", "text_encoder_2"):
        part = parts.get(folder, folder)
        for file in sorted((base / folder).glob("*.safetensors")):
            for key, shape in safetensors_shapes(file).items():
                if key.endswith(".weight") and len(shape) > 1:
                    for name in names_of(key.removesuffix(".weight"), part):
                        inputs[part, name] = shape[1]
    return inputs
