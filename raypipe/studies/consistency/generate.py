"""Stage: prompts and seeds to pictures."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import pyarrow as pa

from raypipe.engine.stage import Device
from raypipe.inputs.codec import Encoded, encode
from raypipe.storage.files import Folder
from raypipe.studies.consistency.encode import read_text, text_id
from raypipe.studies.consistency.images import image_columns
from raypipe.studies.consistency.settings import Consistency

if TYPE_CHECKING:
    from raypipe.models.diffusion.generator import Generator


REMEMBERED = 64
"""Texts kept that were encoded apart: the seeds of a prompt are neighbours."""


class Generate:
    """Makes the pictures of a batch and encodes them while the next batch is being made.

    An actor holds one model at a time: the plan is ordered by model, so it loads each one once.
    """

    reads = ("sample_id", "model", "prompt_sent", "seed")
    drops = ("prompt_sent", "source", "width", "height", "device")

    def __init__(self, config: Consistency, uri: str, apart: frozenset[str]):
        """apart: names of the models whose texts are encoded already, and kept at `uri`."""
        import torch

        torch.set_num_threads(max(1, int(config.pools.generate.cpus_per_actor)))
        self.device = Device()
        self._config, self._uri, self._apart = config, uri, apart
        self._read_text = lru_cache(REMEMBERED)(partial(read_text, Folder(uri)))
        self._kind = "cuda" if config.pools.generate.gpus_per_actor else "cpu"
        self._encoders = ThreadPoolExecutor(max(1, int(config.pools.generate.cpus_per_actor)))
        self._model_name = ""
        self._generator: Generator | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        prompts, seeds = batch["prompt_sent"].to_pylist(), batch["seed"].to_pylist()
        name = batch["model"][0].as_py()
        texts = cut_off = None
        if name in self._apart:
            found = [self._read_text(text_id(name, prompt)) for prompt in prompts]
            texts = [tensors for tensors, _ in found]
            cut_off = [truncated for _, truncated in found]
        with self.device:
            generator = self._hold(name)
            made = generator(prompts, seeds, texts)
            if cut_off is None:
                is_cut = {prompt: generator.truncated(prompt) for prompt in set(prompts)}
                cut_off = [is_cut[prompt] for prompt in prompts]
        storage = self._config.storage
        encoded = list(self._encoders.map(lambda p: encode(p, storage), made.images_BHWC))
        encoded = [
            Encoded(None, e.width, e.height, "nsfw") if flagged else e
            for e, flagged in zip(encoded, made.nsfw, strict=True)
        ]
        return image_columns(encoded, cut_off, generator.device_kind)

    def _hold(self, name: str) -> "Generator":
        """The generator of this model; replaces the one before."""
        from raypipe.models.diffusion.generator import Generator
        from raypipe.weights.node import model_on_node

        if name != self._model_name or self._generator is None:
            self._generator, self._model_name = None, ""
            model = next(model for model in self._config.models if model.name == name)
            sampler = self._config.sampler_of(model)
            model = model_on_node(model)
            self._generator = Generator(model, sampler, self._kind, name not in self._apart)
            self._model_name = name
        return self._generator
