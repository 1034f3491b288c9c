"""The last thing a run prints: who was scored, and which model is more consistent."""

from typing import Any


def summary(results: dict[str, Any]) -> str:
    """Render results.json as plain-text tables of at most 100 columns, ending in the verdicts."""
    raise NotImplementedError
