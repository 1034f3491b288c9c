"""Config sections and constants that several jobs share."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from raypipe.config.strict import Strict
from raypipe.config.values import Resamples, Seed

Kind = Literal["photo", "roundtrip", "generated"]

SPLITS = ("train", "validation", "test")


class Actors(Strict):
    """Processes that do one thing. GPUs are never detected: `gpus_per_actor` asks for them."""

    min: int = Field(1, ge=1, le=10_000)
    max: int = Field(1, ge=1, le=10_000)
    gpus_per_actor: float = Field(0, ge=0, le=64)
    """May be a fraction, so that an embedder shares a GPU with a generator; above 1 it is whole."""
    cpus_per_actor: float = Field(1, ge=0.0001, le=1024)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must not exceed max, got {self.min} > {self.max}")
        gpus = self.gpus_per_actor
        if 0 < gpus < 0.0001 or (gpus > 1 and gpus != int(gpus)):
            raise ValueError(f"gpus_per_actor must be a share of one GPU or whole, got {gpus:g}")
        return self

    def __str__(self) -> str:
        return (
            f"{self.min} to {self.max} actors of {self.gpus_per_actor:g} GPU and "
            f"{self.cpus_per_actor:g} CPU"
        )


class Pool(Actors):
    """Actors of one stage."""

    batch_size: int = Field(8, ge=1, le=65_536)
    """Samples made at once; fixed for a sample when the run first plans it."""


class Statistics(Strict):
    """Settings of the tests."""

    alpha: float = Field(0.05, gt=0, lt=1)
    resamples: Resamples = 9999
    """Bootstrap resamples."""
    seed: Seed = 0
    """Seed of the bootstrap, so that a resumed run reports the same numbers."""

    @property
    def bootstrap(self) -> dict[str, Any]:
        """The arguments of core's intervals."""
        return {"seed": self.seed, "resamples": self.resamples, "confidence": 1 - self.alpha}


class Storage(Strict):
    """How pictures are encoded."""

    format: Literal["png", "webp", "jpeg"] = "png"
    """png and webp are lossless; jpeg is what the paper kept."""
    quality: int = Field(95, ge=1, le=100)
    """Of JPEG."""
