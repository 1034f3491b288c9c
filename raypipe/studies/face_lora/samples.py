"""Pictures of the base and of the finished LoRA, from the same noise, for the page."""

import pyarrow as pa

from raypipe.config.model import Lora, Model
from raypipe.config.sections import Storage
from raypipe.inputs.codec import encode
from raypipe.models.diffusion.generator import Generator
from raypipe.models.lora.export import DIFFUSERS
from raypipe.storage import parquet
from raypipe.storage.directory import write_table
from raypipe.storage.files import Folder
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.weights.node import model_on_node

SAMPLES = "samples.parquet"

SIDES = ("base", "lora")

SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        *(pa.field(side, pa.binary()) for side in SIDES),
    ]
)
"""A row per prompt and seed; a side is null where its picture is blank or not finite."""


def write_samples(config: FaceLora, uri: str, device: str) -> None:
    """Generate the prompts of `samples` with the base, and with RUN/lora.safetensors on it."""
    cases = [(p, seed) for p in config.samples.prompts for seed in range(config.samples.seeds)]
    if not cases:
        return
    lora = Lora(id=f"{uri}/{DIFFUSERS}")
    models = (config.model, config.model.model_copy(update={"lora": lora}))
    pictures = [_generate(config, model, cases, device) for model in models]
    rows = [
        {"prompt": prompt, "seed": seed, **dict(zip(SIDES, sides, strict=True))}
        for (prompt, seed), *sides in zip(cases, *pictures, strict=True)
    ]
    write_table(Folder(uri), SAMPLES, pa.Table.from_pylist(rows, schema=SCHEMA))


def _generate(
    config: FaceLora, model: Model, cases: list[tuple[str, int]], device: str
) -> list[bytes | None]:
    generator = Generator(model_on_node(model), config.sampler_of_model, device)
    prompts = [prompt + model.prompt_suffix for prompt, _ in cases]
    made = generator(prompts, [seed for _, seed in cases])
    return [encode(picture, Storage()).data for picture in made.images_BHWC]


def read_samples(folder: Folder) -> list[dict]:
    """Rows of SCHEMA; none where no prompts were asked for."""
    if folder.read(SAMPLES) is None:
        return []
    return parquet.read(folder, SAMPLES, SCHEMA.names, SCHEMA).to_pylist()
