"""Stage: prompts to text embeddings, before any picture is made and in a pool of its own.

So PixArt's T5 (nine gigabytes in bfloat16) is loaded by a few short-lived actors, and by no
generator. Each text is encoded once and kept in a file of its own until the run is finished.
"""

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raypipe.core.ids import content_hash
from raypipe.engine.stage import Device
from raypipe.storage.files import Folder
from raypipe.studies.consistency.settings import Consistency

if TYPE_CHECKING:
    import torch

    from raypipe.models.diffusion.text import TextEncoder

TEXTS = pa.schema(
    [
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_sent", pa.string(), nullable=False),
    ]
)
"""The stage's input: a row for each text of a model; `sample_id` is the text's."""


class Encode:
    """Encodes the texts of a batch, and writes each into its file."""

    reads = ("sample_id", "model", "prompt_sent")
    drops = ()

    def __init__(self, config: Consistency, uri: str):
        import torch

        assert config.pools.encode is not None
        torch.set_num_threads(max(1, int(config.pools.encode.cpus_per_actor)))
        self.device = Device()
        self._config, self._folder = config, Folder(uri)
        self._kind = "cuda" if config.pools.encode.gpus_per_actor else "cpu"
        self._model_name = ""
        self._encoder: TextEncoder | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        cut_off = []
        columns = (batch[key].to_pylist() for key in self.reads)
        for name, model, prompt in zip(*columns, strict=True):
            with self.device:
                encoder = self._hold(model)
                tensors = encoder.encode(prompt)
                cut_off.append(encoder.truncated(prompt))
            write_text(self._folder, name, tensors, cut_off[-1])
        return pa.table({"truncated": cut_off})

    def _hold(self, name: str) -> "TextEncoder":
        """The text encoder of this model; replaces the one before."""
        from raypipe.models.diffusion.text import TextEncoder
        from raypipe.weights.node import model_on_node

        if name != self._model_name or self._encoder is None:
            self._encoder, self._model_name = None, ""
            model = next(model for model in self._config.models if model.name == name)
            sampler = self._config.sampler_of(model)
            self._encoder = TextEncoder(model_on_node(model), sampler, self._kind)
            self._model_name = name
        return self._encoder


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
    """An encoded text on the CPU, and whether it was cut off."""
    from safetensors.torch import load

    data = folder.read(f"texts/{name}.safetensors")
    assert data is not None, f"text {name} was not encoded"
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, Any] = json.loads(data[8 : 8 + size])["__metadata__"]
    return load(data), bool(json.loads(metadata["truncated"]))
