"""The config of `jobs/train_miniature.py`; importing it loads no torch."""

from typing import Literal

from pydantic import Field, field_validator

from raypipe.config.paths import OutputPath
from raypipe.config.strict import Strict
from raypipe.config.values import Seed

PARTS = ("vae", "clip", "sdxl", "pixart", "lora", "sd15", "reward", "quality")


class Plan(Strict):
    """The training settings of one part."""

    steps: int = Field(gt=0, le=10_000_000)
    batch: int = Field(gt=1, le=65_536)
    lr: float = Field(gt=0, le=1)
    """AdamW's highest rate."""
    seed: Seed
    warmup: int = Field(default=200, gt=0, le=10_000_000)
    """Steps over which the rate rises."""
    decay: float = Field(default=0.3, gt=0, le=1)
    """Share of the steps at the end over which the rate falls to zero."""
    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the moving average of the weights, which are the ones that are kept."""
    weight_decay: float = Field(default=0.0, ge=0, le=100)
    clip: float = Field(default=1.0, gt=0, le=1e9)
    """Largest norm of the gradient."""


class DenoiserPlan(Plan):
    """The plan of a denoiser, which may learn to predict ε before it learns to predict v."""

    epsilon_steps: int = Field(default=0, ge=0, le=10_000_000)
    """Steps at the beginning in which ε is the target; 0 is simpler and was not tried."""


class TrainMiniature(Strict):
    """What is trained, on how much, and where it goes."""

    part: tuple[Literal[PARTS], ...] = PARTS
    """The parts to run, in the order of the list above; each needs those before it."""
    pictures: int = Field(default=40_000, ge=1000, le=10_000_000, multiple_of=500)
    """Plain renders to train on."""
    styled: int = Field(default=8_000, ge=1000, le=10_000_000, multiple_of=500)
    """Renders in the style "tok"."""
    vae: Plan
    clip: Plan
    sdxl: DenoiserPlan
    pixart: DenoiserPlan
    lora: Plan
    sd15: DenoiserPlan
    reward: Plan
    work: OutputPath = "build/miniature"
    """Renders, latents and checkpoints."""
    output: OutputPath = "raypipe/miniature/weights"

    @field_validator("part", mode="before")
    @classmethod
    def _names(cls, value):
        """`part=vae` and `part=vae,clip` on the command line are lists too."""
        return tuple(value.replace(" ", "").split(",")) if isinstance(value, str) else value
