"""The config of jobs/questions.py."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.paths import FilePath
from raypipe.config.strict import JobConfig, as_list
from raypipe.config.values import AnySeed, Once


class Questions(JobConfig):
    """jobs/questions.py: a finished run → questions for people."""

    run: FilePath
    """Finished run of jobs/consistency.py or, for pairs and ratings, of jobs/face_pairs.py."""
    kind: Literal["grid", "pair", "rate"]
    """Two grids of a prompt's pictures, two pictures, or one picture to be rated from 1 to 5."""
    ask: str | None = Field(None, min_length=1, max_length=2000)
    """The question in words; None: the usual one of its kind."""
    models: Annotated[tuple[str, ...], Once] = ()
    """Of a consistency run: those that are compared or rated; empty: all."""
    splits: Annotated[
        tuple[Literal["train", "validation", "test"], ...],
        BeforeValidator(as_list),
        Field(min_length=1),
        Once,
    ] = ("test",)
    """Of a run of face pairs: parts that are asked about."""
    limit: int | None = Field(None, ge=1, le=1_000_000)
    """Questions at most, drawn by `seed`; None: all that there are."""
    images: int = Field(20, ge=2, le=64)
    """Pictures of a grid at most: the first seeds that both models have."""
    size: int = Field(720, ge=64, le=2048)
    """Longest side of what is shown, pixels. Nothing is enlarged."""
    repeats: int = Field(0, ge=0, le=100_000)
    """Questions that are asked a second time, later."""
    checks: int = Field(0, ge=0, le=100_000)
    """Further questions whose answer is obvious."""
    seed: AnySeed = 0
    """Of what is drawn: questions, repeats and checks."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.limit is not None and self.repeats > self.limit:
            raise ValueError(f"repeats must be at most limit, got {self.repeats} and {self.limit}")
        return self
