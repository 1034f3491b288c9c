"""Where a run's numbers come from: the part of the manifest that every job writes."""

import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from raypipe import __version__
from raypipe.storage import schema


def provenance(job: str, packages: Sequence[str]) -> dict[str, Any]:
    """Status, job and versions, as manifest.json begins."""
    return {
        "status": "complete",
        "job": job,
        "schema_version": schema.SCHEMA_VERSION,
        "raypipe": __version__,
        "git_commit": _git_commit(),
        "packages": {name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
    }


def _git_commit() -> str | None:
    """Commit of the checkout that the code runs from, marked where it was changed."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
