"""What tests share: small real models, runs, servers, and clients."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

DATA = ROOT / "tests" / "data"
"""Files that tests compare with."""


def finish_run(folder: Path, job: str, **config: object) -> Path:
    """Give a run directory that a test wrote by hand its manifest; returns the directory."""
    manifest = {"status": "complete", "job": job, "config_hash": "x", "config": config}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
