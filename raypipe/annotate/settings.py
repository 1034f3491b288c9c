"""Configs of jobs/questions.py, jobs/annotate.py and jobs/agreement.py; nothing heavy is loaded."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config import JobConfig
from raypipe.settings import Statistics

CONSENT = (
    "I take part of my own will. I may stop at any time, without a reason. My answers are kept "
    "under a pseudonym and used for research only."
)
"""What a person agrees to before the first question; docs/study.md has more to adapt."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Questions(JobConfig):
    """jobs/questions.py: a finished run → questions for people."""

    run: str
    """Finished run of jobs/consistency.py or, for pairs and ratings, of jobs/face_pairs.py."""
    kind: Literal["grid", "pair", "rate"]
    """Two grids of a prompt's pictures, two pictures, or one picture to be rated from 1 to 5."""
    ask: str | None = Field(None, min_length=1)
    """The question in words; None: the usual one of its kind."""
    models: tuple[str, ...] = ()
    """Of a consistency run: those that are compared or rated; empty: all."""
    splits: Annotated[
        tuple[Literal["train", "validation", "test"], ...], BeforeValidator(_as_list)
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


class Annotate(JobConfig):
    """jobs/annotate.py: ask people, and keep what they answer."""

    free = JobConfig.free | {"port", "share_on", "rate"}

    run: str
    """Finished run of jobs/questions.py."""
    port: int = Field(8000, ge=0, le=65535)
    """Where the app listens; 0: any free one."""
    share_on: str | None = None
    """Host or address at which others reach the app; None: this machine alone does."""
    seed: int = 0
    """Of each annotator's own order and sides."""
    consent: str = Field(CONSENT, min_length=1)
    """What a person agrees to before the first question."""
    rate: float = Field(10.0, gt=0)
    """Requests a second that one annotator may make for long; six times as many at once."""


class Agreement(JobConfig):
    """jobs/agreement.py: do people agree with each other, and the scores with people?"""

    run: str
    """Finished run of jobs/annotate.py."""
    scores: str | None = None
    """Finished run of jobs/evaluate.py on the same pictures; None: the scores of the run that the
    questions were made from."""
    failed_checks: float = Field(0.5, ge=0, le=1)
    """Annotators who fail a larger share of the checks are left out."""
    statistics: Statistics = Statistics()
    shown: int = Field(24, ge=0)
    """Questions shown on the page, with pictures, answers and scores."""
