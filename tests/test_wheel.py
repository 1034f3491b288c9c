"""The wheel is enough: installed alone, in an empty directory, it finds its configs and weights."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support import ROOT


def call(*command, cwd=ROOT):
    """Run it as in a new shell: a PYTHONPATH of this process would lead to the checkout."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel and the packages of this one, but not this checkout."""
    root = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", root)
    (wheel,) = root.glob("raypipe_t2i-*.whl")
    venv.create(root / "env", with_pip=False)
    python = root / "env" / "bin" / "python"
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    others = Path(site.stdout.strip()) / "others.pth"  # whose own .pth files are not read: not ours
    others.write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    return root / "env" / "bin"


def test_it_is_the_one_that_is_imported(installed, tmp_path):
    where = call(
        installed / "python", "-c", "import raypipe; print(raypipe.__file__)", cwd=tmp_path
    )
    assert str(installed.parent) in where.stdout


def test_a_whole_run_in_an_empty_directory(installed, tmp_path):
    more = ["prompts=[a red ball, a portrait of a woman]", "seeds=2", "sampler.steps=1", "--local"]
    done = call(installed / "raypipe", "consistency", "miniature", *more, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "runs/miniature"
    run = tmp_path / "runs" / "miniature"
    assert (run / "report.html").stat().st_size > 10_000
    assert (run / "manifest.json").exists()


def test_configs_and_prompts_are_found_by_name(installed, tmp_path):
    more = ["models=[{name: m, id: miniature/sdxl}]", "--dry-run"]
    done = call(installed / "raypipe", "consistency", "miniature_paper", *more, cwd=tmp_path)
    assert "100 prompts × 20 seeds" in done.stderr
    more = ["prompts=general", "--dry-run"]
    done = call(installed / "raypipe", "consistency", "miniature", *more, cwd=tmp_path)
    assert "100 prompts × 8 seeds" in done.stderr
    assert list(tmp_path.iterdir()) == []
