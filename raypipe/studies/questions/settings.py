"""The config of jobs/questions.py."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.paths import FilePath
from raypipe.config.strict import JobConfig, as_list


class Questions(JobConfig):
    """jobs/questions.py: a finished run → questions for people."""

    run: FilePath
    """Finished run of jobs/consistency.py or, for pairs and ratings, of jobs/face_pairs.py."""
    kind: Literal["grid", "pair", "rate"]
    """Two grids of a prompt's pictures, two pictures, or one picture to be rated from 1 to 5."""
    ask: str | None = Field(None, min_length=1)
    """The question in words; None: the usual one of its kind."""
    models: tuple[str, ...] = ()
    """Of a consistency run: those that are compared or rated; empty: all."""
    splits: Annotated[
        tuple[Literal["train", "validation", "test"], ...], BeforeValidator(as_list)
    ] = ("test",)
    """Of a run of face pairs: parts that are asked about."""
    limit: int | None = Field(None, ge=1)
    """Questions at most, drawn by `seed`; None: all that there are."""
    images: int = Field(20, ge=2, le=64)
    """Pictures of a grid at most: the first seeds that both models have."""
    size: int = Field(720, ge=64, le=2048)
    """Longest side of what is shown, pixels. Nothing is enlarged."""
    repeats: int = Field(0, ge=0)
    """Questions that are asked a second time, later."""
    checks: int = Field(0, ge=0)
    """Further questions whose answer is obvious."""
    seed: int = 0
    """Of what is drawn: questions, repeats and checks."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models must differ, got {', '.join(self.models)}")
        if self.limit is not None and self.repeats > self.limit:
            raise ValueError(f"repeats must be at most limit, got {self.repeats} and {self.limit}")
        return self
