"""What every job promises on its command line; a job's own tests show the rest."""

import hashlib
import json
import subprocess
import sys
from importlib import import_module

import pytest

from raypipe.__main__ import JOBS
from raypipe.config.paths import shipped
from raypipe.config.strict import absolute, load
from raypipe.job import Recipe
from raypipe.storage.directory import config_hash
from tests.support import ROOT
from tests.support.jobs import run_here

RECIPES = [name for name in JOBS if isinstance(import_module(f"raypipe.jobs.{name}").JOB, Recipe)]
HEAVY = ("torch", "ray", "diffusers", "transformers", "open_clip", "scipy", "matplotlib", "sklearn")

COMMANDS = """
import sys
from importlib import import_module
name, heavy, *commands = sys.argv[1:]
job = import_module("raypipe.jobs." + name).JOB
for command in commands:
    try:
        job.main(command.split())
    except SystemExit as stop:
        print(stop.code)
print(*sorted(set(heavy.split()) & set(sys.modules)))
"""


MORE = {"align": [f"choices={ROOT / 'README.md'}"]}
"""What must be there for a config to be finished; its content is read by nobody."""


def config_of(name):
    return sorted((shipped() / name).glob("*.yaml"))[0]


def finish(name, output):
    """A run directory with the manifest of a finished run of a shipped config."""
    recipe = import_module(f"raypipe.jobs.{name}").JOB
    config = absolute(
        load(config_of(name), [f"output={output}", *MORE.get(name, [])], recipe.settings)
    )
    run = recipe.directory(config.output)
    run.begin(config)
    nothing = hashlib.sha256(b"").hexdigest()  # of answers that are not there
    run.finish({"job": name, "config_hash": config_hash(config), "answers_hash": nothing})


def test_there_are_recipes():
    assert len(RECIPES) == len(JOBS) - 1, "all but train_miniature"


@pytest.mark.parametrize("name", RECIPES)
def test_what_needs_no_model_loads_nothing_heavy(name, tmp_path, monkeypatch):
    """Help, a typo, a config that is not there, and a finished run."""
    monkeypatch.chdir(ROOT)
    ends = import_module(f"raypipe.jobs.{name}").JOB.ends
    if ends:
        finish(name, tmp_path / "run")
    config = config_of(name)
    commands = ["--help", f"{config} outptu=x", "nowhere.yaml"]
    more = " ".join(MORE.get(name, []))
    commands += [f"{config} {more} --output {tmp_path / 'run'}"] * ends
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, name, " ".join(HEAVY), *commands],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    for word in ("a.b=c", "--dry-run", "--output", "--address", "--local", "--verbose"):
        assert word in done.stdout
    assert lines[-1] == "", "nothing heavy"
    mistakes = done.stderr.splitlines()
    assert "unknown key outptu; did you mean output?" in mistakes[0]
    assert mistakes[1].startswith("error: config file not found: nowhere.yaml")
    assert mistakes[2:] == [f"already complete: {tmp_path / 'run'}"] * ends
    assert lines.count("2") == 2
    assert lines.count(str(tmp_path / "run")) == ends


@pytest.mark.parametrize("name", RECIPES)
def test_another_jobs_directory_is_no_output(name, tmp_path):
    other = "align" if name != "align" else "questions"
    finish(other, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    done = run_here(name, config_of(name), *MORE.get(name, []), "--output", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "must be empty or a run's of this job" in done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_and_the_script_are_one(name):
    (script,) = (ROOT / "jobs").glob(f"{name}.py")
    lines = [line for line in script.read_text().splitlines() if line]
    assert lines == [
        "from raypipe.__main__ import job",
        'if __name__ == "__main__":',
        f'    job("{name}")',
    ]


def test_the_command_names_its_jobs_and_answers_a_typo():
    def raypipe(*arguments):
        command = [sys.executable, "-m", "raypipe", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert all(name in raypipe("--help").stdout for name in JOBS)
    done = raypipe("consistancy", "x.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown job consistancy; did you mean consistency?\n"
    done = raypipe("align", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: config file not found: nowhere; those that come")
    plan = raypipe("consistency", "miniature", "--dry-run", "seeds=2")
    assert plan.returncode == 0, plan.stderr
    assert "12 prompts × 2 seeds × 3 models = 72 images" in plan.stderr


@pytest.mark.parametrize("config", sorted(shipped().glob("*/*.yaml")), ids=lambda p: p.parent.name)
def test_a_config_that_comes_with_raypipe_is_valid(config):
    settings = import_module(f"raypipe.jobs.{config.parent.name}").JOB.settings
    json.dumps(load(config, [], settings).model_dump(mode="json"))
