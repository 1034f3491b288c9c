"""The config of jobs/face_ablation.py; importing it loads nothing heavy."""

from pydantic import Field

from raypipe.config.model import Sampler
from raypipe.config.networks import Encoder
from raypipe.config.paths import FilePath, ListPath
from raypipe.config.sections import Pool, Statistics
from raypipe.config.strict import JobConfig, Strict
from raypipe.metrics.settings import Metric


class Question(Strict):
    """Prompts, and the metrics of their pictures."""

    prompts: ListPath | tuple[str, ...]
    """File (.txt, .csv, .jsonl, .parquet) or list."""
    seeds: int = Field(4, ge=1, le=100_000)
    """Pictures of each prompt by each LoRA, and by the base."""
    metrics: tuple[Metric, ...] = Field(min_length=1)


class AblationPools(Strict):
    """Resources of making and scoring pictures; trainings have those of `train`."""

    generate: Pool = Pool()
    read: Pool = Pool(batch_size=32)
    embed: Pool = Pool()
    score: Pool = Pool()
    """Of each metric."""


class FaceAblation(JobConfig):
    """jobs/face_ablation.py: which loss improves faces, and what does it cost elsewhere?"""

    free = JobConfig.free | {"against", "margin"}
    lists = ("train",)

    train: FilePath
    """Config of jobs/face_lora.py, which each variant changes."""
    variants: dict[str, tuple[str, ...]] = Field(min_length=1)
    """Name to what it changes, as on the command line: `a.b=c`."""
    training_seeds: int = Field(3, ge=1, le=1000)
    """LoRAs of each variant, of seeds 0, 1, …"""
    against: str | None = None
    """A variant that the others are compared with, beside the base."""
    faces: Question
    """Where faces should get better."""
    general: Question
    """Where nothing should get worse."""
    margin: float = Field(0.2, gt=0, le=100)
    """Loss of a general metric that would matter, in standard deviations of the base's prompts."""
    sampler: Sampler = Sampler()
    encoder: Encoder = Encoder()
    """Of the pictures' runs."""
    statistics: Statistics = Statistics()
    pools: AblationPools = AblationPools()
