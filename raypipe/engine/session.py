"""Where a job runs: on which Ray, or in this process without one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Session:
    """The command line's settings for it, passed on as one object."""

    address: str | None = None
    """Ray address, or None for RAY_ADDRESS or else a local Ray."""
    verbose: bool = False
    """Show Ray's own messages too."""
    local: bool = False
    """Work in this process, one batch after the other, without Ray."""
