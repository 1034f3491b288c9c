"""The command line as a user meets it: exit status, one clear line, and nothing heavy loaded."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from raypipe.directory import config_hash
from raypipe.errors import UserError
from raypipe.job import run
from raypipe.run import Run
from raypipe.settings import Consistency

ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"^import time:[\d |]+(\S+)$", re.MULTILINE)


def job(*arguments, python=()) -> subprocess.CompletedProcess:
    """jobs/consistency.py in a process of its own."""
    command = [sys.executable, *python, "jobs/consistency.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def loaded_by(*arguments) -> set[str]:
    """Top-level packages that a command loaded."""
    told = job(*arguments, python=["-X", "importtime"]).stderr
    names = {name.partition(".")[0] for name in LOADED.findall(told)}
    assert {"raypipe", "pydantic"} <= names
    return names


@pytest.fixture
def write(tmp_path):
    """Writes a config of one generating model, with changes; returns its path."""

    def write(**changes):
        tree = {
            "models": [{"name": "m", "id": "miniature/sdxl"}],
            "prompts": ["a red ball"],
            "seeds": 2,
            "encoder": {"id": "miniature/clip"},
            "output": str(tmp_path / "run"),
            **changes,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return write


@pytest.fixture
def finished(write, tmp_path):
    """A config whose run has a manifest."""
    path = write()
    config = Consistency.model_validate(yaml.safe_load(path.read_text()))
    directory = Run(config.output)
    directory.begin(config, encoders={})
    directory.finish({"config_hash": config_hash(config)})
    return path


def test_help_says_what_can_be_asked():
    done = job("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for word in ("config", "a.b=c", "--dry-run", "--output", "--address", "--verbose"):
        assert word in done.stdout


def test_a_finished_run_returns_at_once_with_its_directory(finished, tmp_path):
    done = job(finished)
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path}/run\n"
    assert done.stderr == f"already complete: {tmp_path}/run\n"


def test_what_needs_no_model_loads_neither_torch_nor_ray(finished, write, tmp_path):
    heavy = {"torch", "ray", "diffusers", "transformers", "open_clip", "scipy", "matplotlib"}
    assert not loaded_by("--help") & heavy
    assert not loaded_by(finished) & heavy
    assert not loaded_by(finished, "sampler.setps=3") & heavy
    assert not loaded_by(tmp_path / "absent.yaml") & heavy
    assert not loaded_by(finished, "sampler.steps=3") & heavy  # a setting of what is there


def mistake(done) -> str:
    """The one line that a user's mistake gets."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("\n")
    return done.stderr.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sampler.setps=3"], "unknown key sampler.setps; did you mean steps?"),
        (["seeds=1"], "a consistency score needs at least 2 seeds, got 1"),
        (["prompts=[' ']"], "must hold at least one prompt, got none: the config's list"),
        (["models.0.id=./tests"], "must hold model_index.json, got ./tests (m)"),
        (["models.0.id=miniature/nothing"], "miniature models are sdxl, "),
        (["encoder.id=./tests"], "an encoder directory must hold open_clip_config.json: ./tests"),
        (["images=configs"], "no images found (a folder must be <root>/<model>/<prompt>/<seed>"),
        (["--output", "README.md"], f"output cannot be used: {ROOT}/README.md: "),
        (["--output", "raypipe"], f"must be empty or a run's of this job, but {ROOT}/raypipe "),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(write, tmp_path, arguments, told):
    assert told in mistake(job(write(), *arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_that_is_no_config_gets_one_line(tmp_path):
    assert "config file cannot be read: absent.yaml: " in mistake(job("absent.yaml"))
    (tmp_path / "x.yaml").write_text("a: [\n\n- b: {")
    assert "config file is not valid YAML: " in mistake(job(tmp_path / "x.yaml"))


def test_an_unwritable_output_is_found_before_any_work(write):
    told = mistake(job(write(), "--output", "/proc/raypipe"))
    assert told.startswith("output cannot be written: /proc/raypipe: ")


def test_a_dry_run_tells_the_plan_and_leaves_no_trace(write, tmp_path, hostile):
    done = job(write(prompts=hostile), "--dry-run", "seeds=3")
    assert done.returncode == 0
    n = 3 * len(hostile)
    assert (
        f"{len(hostile)} prompts × 3 seeds × 1 models = {n} images, {n} of them new" in done.stderr
    )
    assert done.stdout == f"{tmp_path}/run\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.fixture
def here(write, monkeypatch, capsys):
    """Runs a body as a job in this process: (exit status, stdout, stderr)."""

    def run_here(body, *arguments):
        monkeypatch.setattr(sys, "argv", ["job", *map(str, arguments)])
        try:
            run("A job.", Consistency, body)
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run_here


@pytest.mark.parametrize("output", ["2024", "2024-01-01", "null", "{a: b}", "[x", "a b", "--x"])
def test_output_is_taken_as_it_is_written(here, write, output):
    told = here(lambda job: job.config.output, write(), f"--output={output}")
    assert told == (0, f"{output}\n", "")


def test_options_may_stand_anywhere(here, write):
    path = write()
    for arguments in (
        ("--dry-run", path, "seeds=3", "--output", "x", "--address", "auto"),
        (path, "--output", "x", "seeds=3", "--dry-run", "--address", "auto"),
        (path, "--address", "auto", "seeds=3", "--output", "x", "--dry-run"),
    ):
        status, told, _ = here(
            lambda job: f"{job.config.seeds} {job.config.output} {job.dry_run} {job.address}",
            *arguments,
        )
        assert (status, told) == (0, "3 x True auto\n")


def test_exit_statuses_tell_mistakes_interrupts_and_bugs_apart(here, write):
    def stop(error):
        def body(job):
            raise error

        return body

    path = write()
    told = here(stop(UserError("a rule\nmust hold,\tgot x")), path)
    assert told == (2, "", "error: a rule must hold, got x\n")
    told = here(stop(KeyboardInterrupt()), path)
    assert told == (130, "", "interrupted; the same command goes on from here\n")
    with pytest.raises(ZeroDivisionError):  # a traceback, and status 1
        here(stop(ZeroDivisionError()), path)


def test_an_unknown_option_is_a_mistake_too(write):
    done = job(write(), "--dryrun")
    assert done.returncode == 2
    assert "unrecognized arguments: --dryrun" in done.stderr


@pytest.mark.parametrize(
    ("output", "refused"),
    [("runs/mine", True), ("./mine", True), ("/shared/mine", False), ("s3://bucket/mine", False)],
)
def test_a_submitted_job_needs_an_output_that_outlives_it(
    write, monkeypatch, capsys, output, refused
):
    monkeypatch.setattr(sys, "argv", ["job", str(write(output=output))])
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(SystemExit) if refused else contextlib.nullcontext() as stopped:
        run("A job.", Consistency, lambda job: job.config.output)
    out, err = capsys.readouterr()
    if refused:
        assert stopped.value.code == 2
        assert err == (
            "error: the output of a submitted job must be a URI or an absolute path that every "
            f"node can write, since its working directory is a temporary copy, got {output}\n"
        )
    else:
        assert out == f"{output}\n"
