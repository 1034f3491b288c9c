"""The config of jobs/agreement.py."""

from pydantic import Field

from raypipe.config.paths import FilePath
from raypipe.config.sections import Statistics
from raypipe.config.strict import JobConfig


class Agreement(JobConfig):
    """jobs/agreement.py: do people agree with each other, and the scores with people?"""

    free = JobConfig.free | {"scores", "failed_checks", "shown"}

    run: FilePath
    """Finished run of jobs/annotate.py."""
    scores: FilePath | None = None
    """Finished run of jobs/evaluate.py on the same pictures; None: the scores of the run that the
    questions were made from."""
    failed_checks: float = Field(0.5, ge=0, le=1)
    """Annotators who fail a larger share of the checks are left out."""
    statistics: Statistics = Statistics()
    shown: int = Field(24, ge=0, le=10_000)
    """Questions shown on the page, with pictures, answers and scores."""
