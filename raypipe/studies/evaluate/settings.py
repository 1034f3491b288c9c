"""The config of jobs/evaluate.py; importing it loads nothing heavy."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from raypipe.config.inputs import ExistingImages
from raypipe.config.paths import FilePath
from raypipe.config.sections import Actors, Pool, Statistics
from raypipe.config.strict import JobConfig, Strict, as_list, near_miss, require_one
from raypipe.config.values import Once
from raypipe.metrics.settings import Metric, MetricSettings, OfFaces


class ScorePools(Strict):
    """Resources of the stages."""

    read: Pool = Pool(batch_size=32)
    """Reads pictures; its batch size is that of all metrics."""
    score: Actors = Actors()
    """Of each metric that `metrics` does not name."""
    metrics: dict[str, Actors] = Field(default_factory=dict)
    """By a metric's name."""


class Evaluate(JobConfig):
    """jobs/evaluate.py: pictures × metrics."""

    extendable = frozenset({"metrics", "reference", "baseline"})

    images: ExistingImages = None
    """Pictures that exist; this or `run` or `pairs`."""
    run: FilePath | None = None
    """Finished run of jobs/consistency.py, whose pictures are scored."""
    pairs: FilePath | None = None
    """Finished run of jobs/face_pairs.py: its good and bad pictures are scored as two sides."""
    splits: Annotated[
        tuple[Literal["train", "validation", "test"], ...],
        BeforeValidator(as_list),
        Field(min_length=1),
        Once,
    ] = ("test",)
    """Of `pairs`: parts whose pictures are scored."""
    metrics: tuple[Metric, ...] = Field(min_length=1)
    reference: ExistingImages = None
    """What FID and KID compare with."""
    baseline: str | None = None
    """Model (or side) that every other one is compared with, prompt by prompt; None: none is."""
    statistics: Statistics = Statistics()
    pools: ScorePools = ScorePools()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_one(self, ("images", "run", "pairs"))
        labels = [metric.label for metric in self.metrics]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(
                "metrics must differ in their names (the key name sets one), given twice: "
                + ", ".join(twice)
            )
        for name in self.pools.metrics:
            if name not in labels:
                raise ValueError(f"pools.metrics: no metric {name}{near_miss(name, labels)}")
        self._check_reads()
        return self

    def _check_reads(self) -> None:
        """ValueError for a metric whose input is missing."""
        for metric in self.metrics:
            if metric.reads == "set" and self.reference is None:
                raise ValueError(f"metric {metric.label} needs a reference set, got no reference")
            if isinstance(metric, OfFaces) and metric.boxes == "given" and self.pairs is None:
                raise ValueError(
                    f"metric {metric.label}: boxes are given by pairs only, which there are none of"
                )

    def pool_of(self, metric: MetricSettings) -> Actors:
        """Resources of one metric."""
        return self.pools.metrics.get(metric.label, self.pools.score)
