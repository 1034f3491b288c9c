"""The core stays light: other parts import it in places that must start at once."""

import subprocess
import sys

import pytest

from tests.support import ROOT

HEAVY = {"ray", "diffusers", "transformers", "open_clip", "timm", "peft"}
WITHOUT_TORCH = [
    "agreement", "batches", "bootstrap", "changes", "clusters", "consistency",
    "estimates", "face_pairs", "frechet", "ids", "masks", "near_duplicates", "paired", "pairs",
    "power", "ranking", "regions", "split_half", "statistics", "study_size",
]  # fmt: skip


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in a fresh process that imported these modules."""
    lines = [f"import raypipe.core.{name}" for name in modules]
    script = "\n".join([*lines, "import sys", "print(*{m.split('.')[0] for m in sys.modules})"])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_no_part_of_core_loads_ray_or_a_model_library():
    names = [path.stem for path in (ROOT / "raypipe" / "core").glob("[!_]*.py")]
    assert not loaded_by(*names) & HEAVY


def test_scores_and_statistics_load_neither_torch_nor_statsmodels():
    assert not loaded_by(*WITHOUT_TORCH) & (HEAVY | {"torch", "statsmodels", "pandas"})


@pytest.mark.parametrize("name", ["ids", "consistency"])
def test_ids_and_consistency_do_not_even_load_scipy(name):
    assert "scipy" not in loaded_by(name)
