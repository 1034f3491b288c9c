"""Parts that others import where they must start at once stay light."""

import subprocess
import sys

import pytest

from tests.support import ROOT

HEAVY = {"ray", "diffusers", "transformers", "open_clip", "timm", "peft"}
CORE = [path.stem for path in (ROOT / "raypipe" / "core").glob("[!_]*.py")]
WITHOUT_TORCH = [
    "address", "agreement", "batches", "bootstrap", "changes", "clusters", "consistency",
    "estimates", "face_pairs", "frechet", "ids", "limits", "masks", "near_duplicates", "paired",
    "pairs", "pictures", "power", "ranking", "regions", "split_half", "statistics", "study_size",
]  # fmt: skip


@pytest.mark.parametrize(
    ("room", "modules", "absent"),
    [
        ("core", CORE, HEAVY),
        ("core", WITHOUT_TORCH, HEAVY | {"torch", "statsmodels", "pandas"}),
        ("core", ["ids", "consistency"], {"scipy"}),
        ("engine", ["local", "work"], {"ray"}),
        ("training", ["run"], {"ray"}),
        ("metrics", ["registry"], HEAVY | {"torch"}),
        ("studies.consistency", ["cost"], {"torch", "ray", "scipy"}),
        ("studies.consistency", ["page", "summary"], {"matplotlib", "jinja2", "PIL", "torch"}),
    ],
)
def test_a_fresh_process_that_imports_these_has_not_loaded_those(room, modules, absent):
    lines = [f"import raypipe.{room}.{name}" for name in modules]
    script = "\n".join([*lines, "import sys", "print(*{m.split('.')[0] for m in sys.modules})"])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "raypipe" in loaded
    assert not loaded & absent
