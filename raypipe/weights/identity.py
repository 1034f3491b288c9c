"""The identity of weights, as it goes into ids and manifests, from files and headers alone."""

from pathlib import Path
from typing import Any

from raypipe.config.model import Lora, Model
from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.weights.families import ENCODED
from raypipe.weights.headers import check_weights_folder, read_json, safetensors_shapes
from raypipe.weights.locate import (
    fingerprint,
    hub_commit,
    is_local,
    locate,
    pipeline_index,
)
from raypipe.weights.lora_headers import check_lora_fits
from raypipe.weights.options import check_options
from raypipe.weights.pipeline_headers import check_network, check_pipeline
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

    check_architecture(config.id)
    tags = open_clip.list_pretrained_tags_by_model(config.id)
    if config.pretrained not in tags:
        raise UserError(
            f"open_clip has no weights {config.pretrained} of {config.id}; it has {', '.join(tags)}"
        )


def check_architecture(name: str) -> None:
    """UserError, suggesting the near miss, for an architecture that open_clip does not know."""
    import open_clip

    known = open_clip.list_models()
    if name not in known:
        raise UserError(f"open_clip has no model {name}{near_name(name, known)}")


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
            without = "vae" if model.vae is not None else ""
            check_pipeline(Path(where), model.variant, f"model {model.name}", without)
        weights = {"weights": fingerprint(where, model.revision, f"model {model.name}")}
    check_options(model)
    if model.vae is not None and is_local(locate(model.vae)):
        check_folder(Path(locate(model.vae)), f"VAE of model {model.name}")
        _check_vae(Path(locate(model.vae)), f"VAE of model {model.name}")
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


def _check_vae(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise UserError(f"{what} must be a directory, got {folder}")
    files = check_weights_folder(folder, ["diffusion_pytorch_model*.safetensors"], what)
    kind = read_json(folder / "config.json", what).get("_class_name", "AutoencoderKL")
    indices = folder.glob("*.safetensors.index*.json")
    check_network(folder, [*files, *indices], str(kind), what)


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
    if "://" not in where:
        if not (Path(where) / marker).is_file():
            raise UserError(f"an encoder directory must hold {marker}: {where}")
        check_folder(Path(where), f"encoder {encoder.id}")
        _check_encoder(Path(where), marker)
    return {"library": encoder.library, "weights": fingerprint(where, None, "encoder")}


def _check_encoder(folder: Path, marker: str) -> None:
    """UserError for an encoder's directory that its library would not load."""
    what = f"encoder {folder}"
    config = read_json(folder / marker, what)
    key = "model_cfg" if marker.startswith("open_clip") else "architecture"
    if not config.get(key):
        raise UserError(f"{marker} of an encoder must have {key}: {folder}")
    files = check_weights_folder(folder, ["*.safetensors", "*.bin", "*.pt", "*.pth"], what)
    sizes = config[key] if isinstance(config[key], dict) else {}
    if files[0].suffix == ".safetensors" and "text_cfg" in sizes:
        _check_text_tower(files[0], sizes["text_cfg"], what)


def _check_text_tower(file: Path, text: Any, what: str) -> None:
    shape = safetensors_shapes(file).get("token_embedding.weight")
    wanted = tuple(text.get(key) for key in ("vocab_size", "width")) if text else ()
    if shape is not None and all(isinstance(n, int) for n in wanted) and shape != wanted:
        raise UserError(
            f"weights of {what} must fit its config: the text's vocab_size and width are "
            f"{' and '.join(map(str, wanted))}, the weights have {' and '.join(map(str, shape))}"
        )


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
