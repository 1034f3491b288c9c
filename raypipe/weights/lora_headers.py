"""Whether a LoRA's file fits its model, by the headers of both. Nothing here imports torch."""

from pathlib import Path

from raypipe.config.model import Lora
from raypipe.errors import UserError
from raypipe.weights.families import ENCODED
from raypipe.weights.headers import Shape, read_json, safetensors_shapes
from raypipe.weights.locate import is_local, lora_file
from raypipe.weights.lora_names import DOWN, ORIGINAL, names_of, part_of

Shapes = dict[tuple[str, str], Shape]
"""A layer's weight, by its part of the pipeline and each name that LoRA files have for it."""


def check_lora_fits(base: str, lora: Lora, name: str) -> None:
    """Compare both matrices of each of a LoRA's layers with the base model's layer.

    Only for local files; the first actor checks other files, and layers with the names of the
    original code. name: of the model. UserError for what does not fit.
    """
    file = lora_file(lora)
    if file is None or not is_local(base):
        return
    tensors = safetensors_shapes(file)
    if not any("lora" in key for key in tensors):
        raise UserError(f"the file holds no LoRA weights: {file} (model {name})")
    weights = _weights_by_layer(Path(base))
    rest = set(tensors)
    for key, down in tensors.items():
        ending = next((ending for ending in DOWN if key.endswith(ending)), None)
        if ending is None:
            continue
        layer = key.removesuffix(ending)
        up_key = layer + ending.replace("lora_A", "lora_B").replace("down", "up")
        rest -= {key, up_key, f"{layer}.alpha"}
        part, path = part_of(layer)
        if path.startswith(ORIGINAL):
            continue
        weight = weights.get((part, path))
        misfit = _misfit(weight, down, tensors.get(up_key))
        if misfit is not None:
            raise UserError(
                f"a LoRA must fit its model: {file.name} changes {layer} "
                f"({down[1] if len(down) > 1 else 'no'} inputs), {misfit} in model {name}"
            )
    index = read_json(Path(base) / "model_index.json", f"model {name}")
    if rest and index.get("_class_name") in ENCODED:
        raise UserError(
            f"a LoRA must fit its model: {file.name} has {len(rest)} keys without a layer, such as "
            f"{min(rest)[:200]} (model {name})"
        )


def _misfit(weight: Shape | None, down: Shape, up: Shape | None) -> str | None:
    """Why a layer's matrices do not fit its weight, as a clause; None where they do."""
    if weight is None:
        return "no such module"
    if len(down) != len(weight) or down[1:] != weight[1:]:
        return f"which takes {weight[1]} inputs"
    if up is None:
        return "without its second matrix"
    if up[:2] != (weight[0], down[0]):
        return f"whose {weight[0]} outputs at rank {down[0]} are not {' × '.join(map(str, up))}"
    return None


def _weights_by_layer(base: Path) -> Shapes:
    parts = {"unet": "denoiser", "transformer": "denoiser"}
    found: Shapes = {}
    for folder in ("unet", "transformer", "text_encoder", "text_encoder_2"):
        part = parts.get(folder, folder)
        for file in sorted((base / folder).glob("*.safetensors")):
            for key, shape in safetensors_shapes(file).items():
                if key.endswith(".weight") and len(shape) > 1:
                    for name in names_of(key.removesuffix(".weight"), part):
                        found[part, name] = shape
    return found
