"""Single-file checkpoints: where they are, their identity, and the configs that they need.

A file in the layout of Stability's original code holds weights alone. The pipeline's class, configs
and tokenizers are those of a directory of its family. Nothing here imports torch.
"""

from pathlib import Path
from typing import Any

from raypipe.config.model import Model
from raypipe.errors import UserError
from raypipe.weights.headers import read_json, safetensors_shapes
from raypipe.weights.locate import CONFIG_SUFFIXES, fingerprint, is_local, locate
from raypipe.weights.trust import check_folder


def split_hub_file(where: str, what: str) -> tuple[str, str]:
    """`org/name/path.safetensors` as the repository and the file in it. UserError otherwise."""
    parts = where.split("/", 2)
    if len(parts) < 3:
        raise UserError(
            f"a single file must exist, or be org/name/FILE on the hub, got {where} ({what})"
        )
    return f"{parts[0]}/{parts[1]}", parts[2]


def single_file_identity(model: Model) -> dict[str, Any]:
    """Which single-file checkpoint it is, with which configs. UserError for no such file."""
    assert model.id is not None
    assert model.config is not None
    where, config, what = locate(model.id), locate(model.config), f"model {model.name}"
    if is_local(config) and not (Path(config) / "model_index.json").is_file():
        raise UserError(
            f"config must be a directory that holds model_index.json, got {config} ({model.name})"
        )
    if is_local(config):
        check_folder(Path(config), f"config of {what}")
    configs = fingerprint(config, model.config_revision, f"config of {what}", CONFIG_SUFFIXES)
    if "://" not in where and not is_local(where):
        repository, file = split_hub_file(where, what)
        commit = fingerprint(repository, model.revision, what)
        return {"weights": f"{commit}/{file}", "config": configs}
    if "://" not in where:
        _check_single_file(Path(where), Path(config), model.name)
    return {"weights": fingerprint(where, None, what), "config": configs}


def _check_single_file(file: Path, config: Path, name: str) -> None:
    """Compare a single file with the UNet's config, by the file's header."""
    shapes = safetensors_shapes(file)
    widths = {s[1] for key, s in shapes.items() if key.endswith("attn2.to_k.weight")}
    if not any(key.startswith("model.diffusion_model.") for key in shapes):
        raise UserError(
            f"a single-file checkpoint must hold a whole pipeline (model.diffusion_model...), "
            f"got {file} (model {name})"
        )
    unet = config / "unet" / "config.json"
    if unet.is_file():
        expected = read_json(unet, f"config of model {name}").get("cross_attention_dim")
        if widths != {expected}:
            raise UserError(
                f"a single file must be of its config's family: {config} has text of width "
                f"{expected}, {file.name} of {', '.join(map(str, sorted(widths)))} (model {name})"
            )
