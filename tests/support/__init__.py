"""What tests share: small real models, runs, servers, and clients."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

DATA = ROOT / "tests" / "data"
"""Files that tests compare with."""
