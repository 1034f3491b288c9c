"""Stage: prompts and seeds to pictures."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import pyarrow as pa

from raypipe.config.model import Model, Sampler
from raypipe.engine.stage import Device, start_on
from raypipe.inputs.codec import Encoded, encode
from raypipe.storage.files import Folder
from raypipe.studies.consistency.encode import OneModel, read_text, text_id
from raypipe.studies.consistency.images import image_columns
from raypipe.studies.consistency.settings import Consistency

if TYPE_CHECKING:
    from raypipe.models.diffusion.generator import Generator


REMEMBERED = 64
"""Texts kept that were encoded apart: the seeds of a prompt are neighbours."""


class Generate:
    """Makes the pictures of a batch and encodes them while the next batch is being made."""

    reads = ("sample_id", "model", "prompt_sent", "seed")
    drops = ("prompt_sent", "source", "width", "height", "device")

    def __init__(self, config: Consistency, uri: str, apart: frozenset[str]):
        """apart: names of the models whose texts are encoded already, and kept at `uri`."""
        self._kind = start_on(config.pools.generate)
        self.device = Device()
        self._config, self._uri, self._apart = config, uri, apart
        self._read_text = lru_cache(REMEMBERED)(partial(read_text, Folder(uri)))
        self._encoders = ThreadPoolExecutor(max(1, int(config.pools.generate.cpus_per_actor)))
        self._generator_of = OneModel(config, self._load)

    def __call__(self, batch: pa.Table) -> pa.Table:
        prompts, seeds = batch["prompt_sent"].to_pylist(), batch["seed"].to_pylist()
        name = batch["model"][0].as_py()
        texts = cut_off = None
        if name in self._apart:
            found = [self._read_text(text_id(name, prompt)) for prompt in prompts]
            texts = [tensors for tensors, _ in found]
            cut_off = [truncated for _, truncated in found]
        with self.device:
            generator = self._generator_of(name)
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

    def _load(self, model: Model, sampler: Sampler) -> "Generator":
        from raypipe.models.diffusion.generator import Generator

        return Generator(model, sampler, self._kind, model.name not in self._apart)
