"""The config of jobs/face_lora.py; importing it loads nothing heavy."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.model import Model, Sampler
from raypipe.config.paths import FilePath
from raypipe.config.sections import Actors, Kind, Pool
from raypipe.config.strict import JobConfig, Strict, as_list
from raypipe.config.training import Adapter, Training, check_workers
from raypipe.config.values import Once
from raypipe.config.zoo import ZOO, fill_config


class Loss(Strict):
    """What is minimised: raypipe.core.guidance has the formulas.

    guidance: denoising + weight · guidance + keep · keep. sft: denoising + keep · keep. dpo:
    preference + keep · keep. Keys of another kind are ignored.
    """

    kind: Literal["guidance", "sft", "dpo"] = "guidance"
    form: Literal["step", "x0"] = "step"
    """Of guidance: the trajectories are compared one step further on, or at their ends."""
    stride: int = Field(50, ge=1, le=999)
    """Of the form step: timesteps in a step; 1000 / stride is the number of sampling steps."""
    weight: float = Field(1.0, ge=0, le=1e6)
    """λ of guidance."""
    beta: float = Field(2000.0, gt=0, le=1e6)
    """β of dpo; its authors take 2000 for Stable Diffusion 1.5 and 5000 for SDXL."""
    keep: float = Field(0.0, ge=0, le=1e6)
    """μ: how much a change of the prediction on general pictures costs. Needs `general`."""
    weighting: Literal["uniform", "min_snr"] = "uniform"
    """Of timesteps, in the denoising and the keep term."""

    @property
    def name(self) -> str:
        """Its name in the LoRA's files and results."""
        return f"guidance ({self.form})" if self.kind == "guidance" else self.kind


class Samples(Strict):
    """Pictures on the page, of the base and of the LoRA from the same noise."""

    prompts: Annotated[tuple[str, ...], Once] = ()
    seeds: int = Field(2, ge=1, le=1000)
    """Pictures of each prompt, seeds from 0 on."""


class LoraPools(Strict):
    """Resources."""

    encode: Pool = Pool(batch_size=32)
    """Encodes texts and pictures, before the training."""
    train: Actors = Actors()
    """Ray Train's workers. With min below max, a training continues with those that there are."""


class FaceLora(JobConfig):
    """jobs/face_lora.py: pairs → a LoRA for better faces."""

    free = JobConfig.free | {"licence", "encoded"}

    model: Model
    """The base: a checkpoint of Stable Diffusion 1.5 or SDXL for text to image."""
    sampler: Sampler = Sampler()
    """Its width and height, which are equal, are what is trained at; the rest is of `samples`."""
    pairs: Annotated[tuple[FilePath, ...], BeforeValidator(as_list), Field(min_length=1), Once]
    """Run directories of jobs/face_pairs.py, finished."""
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1), Once] = (
        "photo",
        "roundtrip",
        "generated",
    )
    """Pairs to train and validate on."""
    general: FilePath | None = None
    """Run directory of jobs/consistency.py, finished: pictures and prompts that the keep term
    holds the network to."""
    encoded: FilePath | None = None
    """Run directory of this job whose encoded pictures are used, since base, pairs and general
    pictures are the same and only the training differs. None: they are encoded here."""
    adapter: Adapter = Adapter()
    loss: Loss = Loss()
    caption_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of rows whose caption is the empty text, which guidance in sampling needs."""
    held_out: int = Field(128, ge=1, le=1_000_000)
    """Rows at most of the validation split, and of general pictures, that a validation uses."""
    training: Training
    samples: Samples = Samples()
    licence: str | None = None
    """Of the product; None: that of the base, where the zoo knows it."""
    pools: LoraPools = LoraPools()

    @model_validator(mode="before")
    @classmethod
    def _sampler_from_zoo(cls, value: Any) -> Any:
        """The run's `sampler` wins over a zoo model's own."""
        return fill_config(value)

    @model_validator(mode="after")
    def _model_can_be_trained(self) -> Self:
        model, sampler = self.model, self.sampler_of_model
        if model.id is None:
            raise ValueError(f"model {model.name} needs an id, got none")
        if model.lora is not None:
            raise ValueError(f"the base must come without a LoRA, got {model.lora.id}")
        if model.dtype == "float16":
            raise ValueError("model.dtype must be float32 or bfloat16 to be trained, got float16")
        if model.memory.offload != "none":
            raise ValueError(f"a training takes no memory.offload, got {model.memory.offload}")
        if sampler.width != sampler.height:
            raise ValueError(
                "training pictures are square, so sampler.width and sampler.height must be equal, "
                f"got {sampler.width}×{sampler.height}"
            )
        return self

    @model_validator(mode="after")
    def _enough_for_all(self) -> Self:
        check_workers(self.training, self.pools.train.max)
        if self.loss.keep > 0 and self.general is None:
            raise ValueError(
                f"loss.keep needs general, a finished run of jobs/consistency.py, got "
                f"keep {self.loss.keep:g} and none"
            )
        return self

    @property
    def sampler_of_model(self) -> Sampler:
        """The run's sampler with the model's own keys over it."""
        return Sampler.model_validate({**self.sampler.model_dump(), **self.model.sampler})

    @property
    def size(self) -> int:
        """Side of the pictures that are trained on, pixels."""
        return self.sampler_of_model.width

    @property
    def keeps(self) -> bool:
        """Whether general pictures take part."""
        return self.loss.keep > 0

    @property
    def product_licence(self) -> str:
        """The licence in the LoRA's files."""
        known = (entry.licence for entry in ZOO.values() if entry.keys["id"] == self.model.id)
        return self.licence or next(known, "that of the base model")
