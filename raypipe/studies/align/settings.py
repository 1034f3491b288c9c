"""The config of jobs/align.py."""

from typing import Annotated, Literal

from raypipe.config.paths import FilePath
from raypipe.config.sections import Statistics
from raypipe.config.strict import JobConfig
from raypipe.config.values import Once


class Align(JobConfig):
    """jobs/align.py: how often does each metric choose what people chose?"""

    free = JobConfig.free | {"metrics"}
    lists = ("choices",)

    choices: FilePath
    """File of answers (.parquet, .csv, .json, .jsonl): docs/metrics.md."""
    layout: Literal["auto", "raypipe", "imagereward", "hpd"] = "auto"
    """How the file is laid out; auto goes by its columns."""
    run: FilePath
    """Finished run of jobs/evaluate.py."""
    metrics: Annotated[tuple[str, ...], Once] = ()
    """Names of those judged; empty: all that score single pictures."""
    statistics: Statistics = Statistics()
