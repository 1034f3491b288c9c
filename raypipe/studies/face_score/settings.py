"""The config of jobs/face_score.py; importing it loads nothing heavy."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.networks import Reward
from raypipe.config.paths import FilePath
from raypipe.config.sections import Actors, Kind
from raypipe.config.strict import JobConfig, Strict, as_list
from raypipe.config.training import Training, check_workers
from raypipe.config.values import Once, Resamples


class TrainPools(Strict):
    """Resources of a training."""

    train: Actors = Actors()
    """Ray Train's workers. With min below max, a training continues with those that there are."""


class Alarm(Strict):
    """When a loss from which nothing is learned is reported."""

    after: int = Field(100, ge=1, le=10_000_000)
    """Steps whose mean is compared."""
    within: float = Field(0.02, gt=0, le=1)
    """Distance from ln 2, the loss of a coin flip."""


class FaceScore(JobConfig):
    """jobs/face_score.py: ImageReward fine-tuned to tell good faces from bad ones."""

    free = JobConfig.free | {"alarm", "alpha", "resamples"}

    pairs: Annotated[tuple[FilePath, ...], BeforeValidator(as_list), Field(min_length=1), Once]
    """Run directories of jobs/face_pairs.py, finished."""
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1), Once] = (
        "photo",
        "roundtrip",
        "generated",
    )
    """Pairs to train on; all are tested."""
    start: Reward = Reward()
    """The network that the training starts from."""
    frozen: float = Field(0.7, ge=0, le=1)
    """Share of both encoders' layers, from the bottom, that are not trained."""
    flip: bool = True
    """Mirror half of the pairs, both sides alike."""
    training: Training
    alarm: Alarm = Alarm()
    alpha: float = Field(0.05, gt=0, lt=1)
    """One minus the confidence level of the intervals."""
    resamples: Resamples = 9999
    """Bootstrap resamples of photos."""
    pools: TrainPools = TrainPools()

    @model_validator(mode="after")
    def _enough_for_all(self) -> Self:
        check_workers(self.training, self.pools.train.max)
        if self.start.backend != "port":
            raise ValueError(f"start.backend must be port to be trained, got {self.start.backend}")
        if self.start.precision != "float32":
            raise ValueError(
                "start.precision is of scoring, training.precision is meant, got "
                f"{self.start.precision}"
            )
        return self
