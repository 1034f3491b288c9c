"""The config of jobs/annotate.py; importing it loads nothing heavy."""

from pydantic import Field

from raypipe.config.paths import FilePath
from raypipe.config.strict import JobConfig
from raypipe.config.values import AnySeed

CONSENT = (
    "I take part of my own will. I may stop at any time, without a reason. My answers are kept "
    "under a pseudonym and used for research only."
)
"""What a person agrees to before the first question; docs/study.md has more to adapt."""


class Annotate(JobConfig):
    """jobs/annotate.py: ask people, and keep their answers."""

    free = JobConfig.free | {"port", "share_on", "public_url", "rate", "annotators"}

    run: FilePath
    """Finished run of jobs/questions.py."""
    port: int = Field(8000, ge=0, le=65535)
    """Where the app listens; 0: any free one."""
    share_on: str | None = Field(None, pattern=r"^\S+$", max_length=253)
    """Host or address at which others reach the app; None: this machine alone does."""
    public_url: str | None = Field(None, pattern=r"^https?://[A-Za-z0-9.:\[\]-]{1,255}/?$")
    """Where annotators reach the app through a proxy, such as https://study.example.org; None: at
    the address on which it listens. With https, cookies are sent over TLS alone."""
    annotators: int = Field(100, ge=1, le=100_000)
    """People who may join; then joining is closed."""
    seed: AnySeed = 0
    """Another one gives other orders and sides; those depend on the server's secret as well."""
    consent: str = Field(CONSENT, min_length=1, max_length=20_000)
    """What a person agrees to before the first question."""
    rate: float = Field(10.0, gt=0, le=1_000_000)
    """Sustained requests a second of one annotator; six times as many at once."""

    @property
    def is_shared(self) -> bool:
        """Whether others reach the app, who need the link's token."""
        return self.share_on is not None or self.public_url is not None

    @property
    def origin(self) -> str | None:
        """`public_url` as browsers name it in a request."""
        return None if self.public_url is None else self.public_url.rstrip("/").lower()
