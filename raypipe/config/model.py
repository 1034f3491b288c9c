"""The section of a config that describes one model, and how it is sampled."""

import operator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from raypipe.config.paths import WeightsId
from raypipe.config.strict import Strict, near_miss
from raypipe.config.values import PLAIN, YES_OR_NO, Name
from raypipe.config.zoo import fill_model

Scalar = bool | int | float | str | None
Share = Annotated[float, Field(ge=0, le=1)]


class Lora(Strict):
    """A LoRA on top of a model."""

    id: WeightsId
    """Hub id, local directory or file, or miniature/NAME."""
    scale: float = Field(1.0, ge=-100, le=100)
    weight_name: str | None = None
    """File inside `id`, where there are several."""
    revision: str | None = None


class Sampler(Strict):
    """How pictures are sampled."""

    scheduler: Literal["euler", "euler_a", "ddim", "dpmpp_2m", "unipc", "lcm"] | None = None
    """None keeps the model's own."""
    steps: int = Field(20, ge=1, le=1000)
    guidance: float = Field(7.5, ge=0, le=1000)
    width: int = Field(1024, ge=8, le=8192, multiple_of=8)
    """Pixels."""
    height: int = Field(1024, ge=8, le=8192, multiple_of=8)
    """Pixels."""
    negative_prompt: str | None = None
    """None is each pipeline's own default; for SDXL that is not the same as an empty text."""
    guidance_interval: tuple[Share, Share] | None = Field(None, exclude_if=operator.not_)
    """Guide from this share of the steps to before that one, and let the prompt alone do the rest:
    faster, other pictures (docs/performance.md). None guides in every step."""

    @model_validator(mode="after")
    def _interval_has_guidance(self) -> Self:
        if self.guidance_interval is None:
            return self
        low, high = self.guidance_interval
        if low >= high:
            raise ValueError(f"guidance_interval must be low < high, got [{low:g}, {high:g}]")
        if self.guidance <= 1:
            raise ValueError(f"guidance_interval needs guidance above 1, got {self.guidance:g}")
        return self


class Memory(Strict):
    """How a model shares its device's memory; none but `vae_tiling` changes what a picture is."""

    batch: Literal["auto"] | Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Pictures made at once inside a planned batch; None for all of them.

    auto tries the first batch with a single step. Whatever is set, a size that runs out of memory
    is halved, with the same seeds.
    """
    vae_slicing: bool = False
    """Decode one picture at a time."""
    vae_tiling: bool = False
    """Decode large pictures in overlapping tiles; their seams are blended: pictures differ."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Keep the parts of the pipeline in the host's memory: all but the one at work, or all but the
    layer at work, which is much slower."""


class Model(Strict):
    """One column of the comparison: a model that generates, or one whose pictures exist."""

    name: Name
    """What the tables call it."""
    id: Annotated[WeightsId, Field(min_length=1)] | None = None
    """Hub id, directory, single-file checkpoint, zoo/NAME or miniature/NAME.

    A single file ends in .safetensors: a path, or a file of a hub repository, org/name/FILE. None
    for pictures that exist (`images`). The zoo's names are in docs/models.md.
    """
    revision: str | None = None
    """Commit, tag or branch on the hub; a zoo model has its own."""
    variant: str | None = None
    """Weight files' variant, such as fp16."""
    config: WeightsId | None = None
    """Of a single file: hub id or directory of the pipeline whose configs and tokenizers it has."""
    config_revision: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    vae: WeightsId | None = None
    """Another VAE, such as madebyollin/sdxl-vae-fp16-fix."""
    vae_revision: str | None = None
    lora: Lora | None = None
    prompt_suffix: str = ""
    """Appended to every prompt for this model; prompts are paired without it."""
    sampler: dict[str, Scalar | tuple[Share, Share]] = Field(default_factory=dict)
    """Keys of `sampler` that differ for this model."""
    options: dict[str, Scalar] = Field(default_factory=dict)
    """More arguments of the pipeline's call."""
    memory: Memory = Memory()
    compile: bool = Field(False, exclude_if=operator.not_)
    """Compile the denoiser (torch.compile) when a worker first uses it: minutes, and on a CPU a C++
    compiler, against faster steps. Pictures differ by rounding."""

    @field_validator("sampler")
    @classmethod
    def _known_sampler_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if key not in Sampler.model_fields:
                raise ValueError(f"unknown key {key}{near_miss(key, list(Sampler.model_fields))}")
        Sampler.model_validate(value)
        return value

    @field_validator("options")
    @classmethod
    def _options_mean_what_they_look_like(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Text is passed on as it is: `no` would be as good as true."""
        for key, option in value.items():
            if isinstance(option, str) and (
                option.lower() in YES_OR_NO or PLAIN.fullmatch(option.replace("_", ""))
            ):
                raise ValueError(f"{key} must be true, false or a plain number, got text {option}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _from_zoo(cls, value: Any) -> Any:
        return fill_model(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _compiled_is_on_its_device(self) -> Self:
        if self.compile and self.memory.offload != "none":
            raise ValueError(f"compile takes no memory.offload, got {self.memory.offload}")
        return self

    @model_validator(mode="after")
    def _single_file_has_a_config(self) -> Self:
        if self.id is None or not self.id.endswith(".safetensors"):
            if self.config is not None:
                raise ValueError(f"config belongs to a single file, .safetensors, got {self.id}")
        elif self.config is None:
            raise ValueError(
                "a single-file checkpoint needs config, the hub id or directory of a pipeline of "
                f"its family, got none for {self.id}"
            )
        elif self.variant is not None:
            raise ValueError(f"a single file has no variant, got {self.variant}")
        return self
