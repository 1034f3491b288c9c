"""LoRAs on pipelines whose layers only diffusers can find; UserError where it skips a layer."""

import logging

import diffusers
import torch

from raypipe.config.model import Model
from raypipe.errors import UserError
from raypipe.weights.locate import is_local, locate, lora_file
from raypipe.weights.lora_names import DOWN


def load_with_diffusers(pipe: diffusers.DiffusionPipeline, model: Model) -> None:
    """Put the LoRA on at its scale; a file whose keys do not fit is the user's mistake."""
    lora = model.lora
    assert lora is not None
    if not hasattr(pipe, "load_lora_weights"):
        raise UserError(f"{type(pipe).__name__} takes no LoRA (model {model.name})")
    file = lora_file(lora)
    where = locate(lora.id) if file is None else str(file.parent)
    source = {
        "weight_name": lora.weight_name if file is None else file.name,
        "revision": lora.revision,
        "local_files_only": is_local(where),
    }
    ignored = _Ignored()
    logger = logging.getLogger("diffusers")
    logger.addHandler(ignored)
    try:
        found, *_ = pipe.lora_state_dict(where, **source)
        pipe.load_lora_weights(where, adapter_name="lora", **source)
        pipe.set_adapters(["lora"], [lora.scale])
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the LoRA of model {model.name} does not fit it: {reason}") from error
    finally:
        logger.removeHandler(ignored)
    if ignored.messages:
        raise UserError(f"the LoRA of model {model.name} does not fit it: {ignored.messages[0]}")
    expected = sum(key.endswith(DOWN) for key in found)
    loaded = sum(
        name.endswith("lora_A.lora.weight")
        for part in pipe.components.values()
        if isinstance(part, torch.nn.Module)
        for name, _ in part.named_parameters()
    )
    if loaded != expected:
        raise UserError(
            f"the LoRA of model {model.name} does not fit it: the file changes {expected} layers, "
            f"of which {loaded} were loaded"
        )


class _Ignored(logging.Handler):
    """Collects diffusers' warnings about LoRA keys that it leaves out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "unexpected keys" in message or "DoRA" in message:
            self.messages.append(" ".join(message.split())[:300])
