"""Stage: prompts to text embeddings, before any picture is made and in a pool of its own.

So PixArt's T5 (nine gigabytes in bfloat16) is loaded by a few short-lived actors, and by no
generator. Each text is encoded once and kept in a file of its own until the run is finished.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa

from raypipe.config.model import Model, Sampler
from raypipe.core.ids import content_hash
from raypipe.engine.stage import Device, start_on
from raypipe.storage.damage import DamagedError, reading
from raypipe.storage.files import Folder
from raypipe.studies.consistency.settings import Consistency

if TYPE_CHECKING:
    import torch

    from raypipe.models.diffusion.text import TextEncoder

T = TypeVar("T")

TEXTS = pa.schema(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in ("batch_id", "sample_id", "model", "prompt_sent")
    ]
)
"""The stage's input: a row for each text of a model; `sample_id` is the text's."""


class Encode:
    """Encodes the texts of a batch, and writes each into its file."""

    reads = ("sample_id", "model", "prompt_sent")
    drops = ()

    def __init__(self, config: Consistency, uri: str):
        assert config.pools.encode is not None
        self._kind = start_on(config.pools.encode)
        self.device = Device()
        self._folder = Folder(uri)
        self._encoder_of = OneModel(config, self._load)

    def __call__(self, batch: pa.Table) -> pa.Table:
        cut_off = []
        columns = (batch[key].to_pylist() for key in self.reads)
        for name, model, prompt in zip(*columns, strict=True):
            with self.device:
                encoder = self._encoder_of(model)
                tensors = encoder.encode(prompt)
                cut_off.append(encoder.truncated(prompt))
            write_text(self._folder, name, tensors, cut_off[-1])
        return pa.table({"truncated": cut_off})

    def _load(self, model: Model, sampler: Sampler) -> "TextEncoder":
        from raypipe.models.diffusion.text import TextEncoder

        return TextEncoder(model, sampler, self._kind)


class OneModel(Generic[T]):
    """What is loaded of one model at a time: in the order of the plan each is loaded once."""

    def __init__(self, config: Consistency, load: Callable[[Model, Sampler], T]):
        """load: takes the model with local paths, and its sampler."""
        self._config, self._load = config, load
        self._held: tuple[str, T] | None = None

    def __call__(self, name: str) -> T:
        """What is loaded of the model of this name."""
        from raypipe.weights.node import model_on_node

        if self._held is None or self._held[0] != name:
            self._held = None  # its memory is free before the next one is loaded
            model = next(model for model in self._config.models if model.name == name)
            self._held = name, self._load(model_on_node(model), self._config.sampler_of(model))
        return self._held[1]


def text_id(model_name: str, prompt_sent: str) -> str:
    """Name of a text's file. A run holds one set of weights for each model name."""
    return content_hash({"model": model_name, "prompt": prompt_sent})


def write_text(
    folder: Folder, name: str, tensors: dict[str, "torch.Tensor"], truncated: bool
) -> None:
    """Keep an encoded text, and whether the tokenizer cut it off."""
    from safetensors.torch import save

    on_cpu = {key: value.cpu().contiguous() for key, value in tensors.items()}
    data = save(on_cpu, metadata={"truncated": json.dumps(truncated)})
    folder.write(f"texts/{name}.safetensors", data)


def read_text(folder: Folder, name: str) -> tuple[dict[str, "torch.Tensor"], bool]:
    """An encoded text on the CPU, and whether it was cut off. DamagedError for another file."""
    from safetensors.torch import load

    file = f"texts/{name}.safetensors"
    data = folder.read(file)
    if data is None:
        raise DamagedError(folder.uri, file, "is missing")
    with reading(folder.uri, file, "an encoded text"):
        size = int.from_bytes(data[:8], "little")
        metadata: dict[str, Any] = json.loads(data[8 : 8 + size])["__metadata__"]
        return load(data), bool(json.loads(metadata["truncated"]))
