"""Whether a pipeline's directory can be loaded, as far as its configs and headers tell.

Every component that model_index.json names must be there, with its config, and with weights that
are whole and of that config's sizes. Nothing here imports torch.
"""

import re
from pathlib import Path
from typing import Any

from raypipe.errors import UserError
from raypipe.weights.headers import Shape, read_json, safetensors_shapes
from raypipe.weights.pipeline_files import pipeline_files

CONFIGS = (
    ("Scheduler", ("scheduler_config.json",)),
    ("Tokenizer", ("tokenizer_config.json",)),
    ("TokenizerFast", ("tokenizer_config.json",)),
    ("Extractor", ("preprocessor_config.json",)),
    ("Processor", ("preprocessor_config.json",)),
)
"""The config of a component without weights, by how its class's name ends; others have networks."""

Facts = tuple[tuple[str, int, str], ...]

TEXT_ENCODER: Facts = (
    ("embeddings.token_embedding.weight", 0, "vocab_size"),
    ("embeddings.token_embedding.weight", 1, "hidden_size"),
    ("embeddings.position_embedding.weight", 0, "max_position_embeddings"),
    ("encoder.layers.*.self_attn.q_proj.weight", -1, "num_hidden_layers"),
    ("encoder.layers.0.mlp.fc1.weight", 0, "intermediate_size"),
)
SIZES: dict[str, Facts] = {
    "UNet2DConditionModel": (
        ("conv_in.weight", 0, "block_out_channels.0"),
        ("conv_in.weight", 1, "in_channels"),
        ("conv_out.weight", 0, "out_channels"),
        ("attn2.to_k.weight", 1, "cross_attention_dim"),
        ("down_blocks.*.resnets.0.conv1.weight", -1, "block_out_channels.#"),
    ),
    "AutoencoderKL": (
        ("encoder.conv_in.weight", 0, "block_out_channels.0"),
        ("encoder.conv_in.weight", 1, "in_channels"),
        ("decoder.conv_in.weight", 1, "latent_channels"),
        ("decoder.conv_out.weight", 0, "out_channels"),
        ("encoder.down_blocks.*.resnets.0.conv1.weight", -1, "block_out_channels.#"),
    ),
    "PixArtTransformer2DModel": (
        ("pos_embed.proj.weight", 1, "in_channels"),
        ("transformer_blocks.*.attn1.to_q.weight", -1, "num_layers"),
        ("transformer_blocks.0.attn2.to_k.weight", 1, "cross_attention_dim"),
    ),
    "CLIPTextModel": TEXT_ENCODER,
    "CLIPTextModelWithProjection": (
        *TEXT_ENCODER,
        ("text_projection.weight", 0, "projection_dim"),
    ),
    "T5EncoderModel": (
        ("shared.weight", 0, "vocab_size"),
        ("shared.weight", 1, "d_model"),
        ("encoder.block.*.layer.0.SelfAttention.q.weight", -1, "num_layers"),
    ),
}
"""By class: the end of a tensor's name, an axis of it (-1: how many there are, `*` being a number),
and the key of the config that must be equal (`KEY.0` the first, `KEY.#` the length of a list)."""


def check_pipeline(folder: Path, variant: str | None, what: str, without: str = "") -> None:
    """UserError, naming component and file, for a pipeline that cannot be loaded.

    without: a component that the config takes from elsewhere.
    """
    index = read_json(folder / "model_index.json", what)
    if not isinstance(index.get("_class_name"), str):
        raise UserError(f"model_index.json of {what} must name its _class_name: {folder}")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        loaded = pipeline_files(index, names, variant)
    except ValueError as error:
        raise UserError(f"{what} cannot be loaded: {error}: {folder}") from None
    for component, value in index.items():
        if component.startswith("_") or not isinstance(value, list) or component == without:
            continue
        if len(value) != 2 or value[0] is None:
            continue
        files = [folder / name for name in loaded if name.startswith(f"{component}/")]
        if not files:
            raise UserError(f"{what} lacks its component {component}: {folder}")
        _check_component(folder / component, str(value[1]), files, f"{component} of {what}")


def check_network(folder: Path, files: list[Path], kind: str, what: str) -> None:
    """UserError unless weights are whole and have the sizes of the config beside them."""
    config = read_json(folder / "config.json", what)
    weights = [file for file in files if file.suffix == ".safetensors"]
    if not weights:
        raise UserError(f"{what} has no safetensors weights: {folder}")
    for index in (file for file in files if ".safetensors.index" in file.name):
        named = read_json(index, what).get("weight_map")
        parts = set(named.values()) if isinstance(named, dict) else set()
        absent = sorted(parts - {file.name for file in weights})
        if absent or not parts:
            raise UserError(f"{what} lacks {absent[0] if absent else 'a weight_map'}: {index}")
    shapes = {name: shape for file in weights for name, shape in safetensors_shapes(file).items()}
    for name, axis, key in SIZES.get(kind, ()):
        expected, got = _configured(config, key), _measured(shapes, name, axis)
        if expected is not None and got != expected:
            raise UserError(
                f"weights of {what} must fit its config: {key.removesuffix('.#')} is "
                f"{config[key.partition('.')[0]]}, the weights have {got or f'no {name}'}: {folder}"
            )


def _check_component(folder: Path, kind: str, files: list[Path], what: str) -> None:
    needed = next((configs for ending, configs in CONFIGS if kind.endswith(ending)), None)
    for file in files:
        if file.suffix == ".json":
            read_json(file, what)
    if needed is None:
        check_network(folder, files, kind, what)
    elif not any((folder / name).is_file() for name in needed):
        raise UserError(f"{what} lacks {' or '.join(needed)}: {folder}")


def _configured(config: dict[str, Any], key: str) -> int | None:
    """A size that a config states; None where it does not, or states one for each block."""
    key, _, part = key.partition(".")
    value = config.get(key)
    if part and isinstance(value, list) and value:
        value = len(value) if part == "#" else value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _measured(shapes: dict[str, Shape], name: str, axis: int) -> int | None:
    """That size of the weights; None where no tensor has the name, or several are not alike."""
    pattern = re.compile(r"(.*\.)?" + re.escape(name).replace(r"\*", r"\d+"))
    found = [shape for key, shape in shapes.items() if pattern.fullmatch(key)]
    if axis < 0:
        return len(found)
    sizes = {shape[axis] if axis < len(shape) else None for shape in found}
    return sizes.pop() if len(sizes) == 1 else None
