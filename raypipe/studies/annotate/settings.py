"""The config of jobs/annotate.py; importing it loads nothing heavy."""

from pydantic import Field

from raypipe.config.paths import FilePath
from raypipe.config.strict import JobConfig

CONSENT = (
    "I take part of my own will. I may stop at any time, without a reason. My answers are kept "
    "under a pseudonym and used for research only."
)
"""What a person agrees to before the first question; docs/study.md has more to adapt."""


class Annotate(JobConfig):
    """jobs/annotate.py: ask people, and keep their answers."""

    free = JobConfig.free | {"port", "share_on", "rate"}

    run: FilePath
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
    """Sustained requests a second of one annotator; six times as many at once."""
