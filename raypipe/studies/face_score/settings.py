"""The configs of the jobs about faces; importing it loads nothing heavy."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.networks import Reward
from raypipe.config.paths import FilePath
from raypipe.config.sections import Actors, Kind
from raypipe.config.strict import JobConfig, Strict, as_list
from raypipe.config.training import Training


class TrainPools(Strict):
    """Resources of a training."""

    train: Actors = Actors()
    """Ray Train's workers. With min below max, a training goes on with those that are there."""


class Alarm(Strict):
    """When a loss that learns nothing is told of."""

    after: int = Field(100, ge=1)
    """Steps whose mean is looked at."""
    within: float = Field(0.02, gt=0)
    """Distance from ln 2, where the loss of a coin stands."""


class FaceScore(JobConfig):
    """jobs/face_score.py: ImageReward fine-tuned to tell good faces from bad ones."""

    free = JobConfig.free | {"alarm"}

    pairs: Annotated[tuple[FilePath, ...], BeforeValidator(as_list), Field(min_length=1)]
    """Run directories of jobs/face_pairs.py, finished."""
    kinds: tuple[Kind, ...] = ("photo", "roundtrip", "generated")
    """Pairs to train on; all are tested."""
    start: Reward = Reward()
    """What it begins as."""
    frozen: float = Field(0.7, ge=0, le=1)
    """Share of both encoders' layers, from the bottom, that stay as they are."""
    flip: bool = True
    """Mirror half of the pairs, both sides alike."""
    training: Training
    alarm: Alarm = Alarm()
    alpha: float = Field(0.05, gt=0, lt=1)
    """One less the level of the intervals."""
    resamples: int = Field(9999, ge=99)
    """Bootstrap resamples of photos."""
    pools: TrainPools = TrainPools()

    @model_validator(mode="after")
    def _enough_for_all(self) -> Self:
        pieces = -(-self.training.batch // self.training.micro_batch)
        if pieces < self.pools.train.max:
            raise ValueError(
                f"every worker needs a micro-batch of its own, but a batch of {self.training.batch}"
                f" has {pieces} of {self.training.micro_batch} for {self.pools.train.max} workers"
            )
        if self.start.backend != "port":
            raise ValueError(f"start.backend must be port to be trained, got {self.start.backend}")
        if self.start.precision != "float32":
            raise ValueError(
                "start.precision is of scoring, training.precision is meant, got "
                f"{self.start.precision}"
            )
        return self
