"""The identity of weights, as it goes into ids and manifests, from files and headers alone."""

from pathlib import Path
from typing import Any

from raypipe.config.model import Lora, Model
from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.weights.families import ENCODED
from raypipe.weights.locate import (
    fingerprint,
    hub_commit,
    is_local,
    locate,
    lora_file,
    pipeline_index,
    safetensors_shapes,
)
from raypipe.weights.lora_names import DOWN, ORIGINAL, names_of, part_of
from raypipe.weights.trust import check_folder


def check_exists(config: Encoder) -> None:
    """UserError, suggesting the near miss, for a name that the library does not know."""
    if config.id.startswith(("hf-hub:", "hf_hub:")):
        return
    if config.library == "timm":
        import timm

        if not timm.is_model(config.id):
            raise UserError(
                f"timm has no model {config.id}{near_name(config.id, timm.list_models())}"
            )
        return
    import open_clip

    known = open_clip.list_models()
    if config.id not in known:
        raise UserError(f"open_clip has no model {config.id}{near_name(config.id, known)}")
    tags = open_clip.list_pretrained_tags_by_model(config.id)
    if config.pretrained not in tags:
        raise UserError(
            f"open_clip has no weights {config.pretrained} of {config.id}; it has {', '.join(tags)}"
        )


def near_name(name: str, known: list[str]) -> str:
    from raypipe.config.strict import near_miss

    near = near_miss(name, known)
    return near if "did you mean" in near else ""


def model_identity(model: Model) -> dict[str, Any]:
    """All of a model that determines its pictures, apart from the sampler; it goes into ids.

    Raises UserError for what is not a pipeline, or a LoRA that does not fit it.
    """
    assert model.id is not None
    where = locate(model.id)
    if model.config is not None:
        from raypipe.weights.single_file import single_file_identity

        weights = single_file_identity(model)
    else:
        if is_local(where) and not (Path(where) / "model_index.json").is_file():
            raise UserError(
                f"a model directory must hold model_index.json, got {where} ({model.name})"
            )
        if is_local(where):
            check_folder(Path(where), f"model {model.name}")
        weights = {"weights": fingerprint(where, model.revision, f"model {model.name}")}
    if model.vae is not None and is_local(locate(model.vae)):
        check_folder(Path(locate(model.vae)), f"VAE of model {model.name}")
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
            check_lora_fits(where, model.lora, model.name)
    return identity


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
    if "://" not in where and not is_local(where):
        check_exists(encoder)
        return encoder.model_dump(mode="json")
    marker = "open_clip_config.json" if encoder.library == "open_clip" else "config.json"
    if "://" not in where and not (Path(where) / marker).is_file():
        raise UserError(f"an encoder directory must hold {marker}: {where}")
    if "://" not in where:
        check_folder(Path(where), f"encoder {encoder.id}")
    return {"library": encoder.library, "weights": fingerprint(where, None, "encoder")}


def can_encode_apart(model: Model) -> bool:
    """Whether text can be encoded apart from this model; reads only which pipeline it is."""
    return pipeline_index(model)["_class_name"] in ENCODED


def pinned_model(model: Model) -> Model:
    """The model at the hub commits that its revisions name today."""
    what, commits = f"model {model.name}", {}
    for key, revision in (
        ("id", "revision"),
        ("config", "config_revision"),
        ("vae", "vae_revision"),
    ):
        where = getattr(model, key) and locate(getattr(model, key))
        if where and not is_local(where) and "://" not in where:
            repository = "/".join(where.split("/")[:2])
            commits[revision] = hub_commit(repository, getattr(model, revision), what)
    if model.lora is not None:
        where = locate(model.lora.id)
        if not is_local(where) and "://" not in where:
            commit = hub_commit(where, model.lora.revision, what)
            commits["lora"] = model.lora.model_copy(update={"revision": commit})
    return model.model_copy(update=commits)


def check_lora_fits(base: str, lora: Lora, name: str) -> None:
    """Compare the LoRA's layers with the base model's modules, by file headers.

    Only for local files; the first actor checks other files, and layers with the names of the
    original code.
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
