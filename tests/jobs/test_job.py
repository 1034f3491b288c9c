"""The command line as a user meets it: exit status, one clear line, and nothing heavy loaded."""

import json
from functools import partial

import pytest
import yaml

from raypipe.engine.session import Session
from raypipe.errors import UserError
from raypipe.job import Command, Recipe
from raypipe.storage.directory import config_hash
from raypipe.storage.provenance import provenance
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from tests.support import ROOT
from tests.support.jobs import run_here, save
from tests.support.mistakes import refusal

job = partial(run_here, "consistency")


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
        return save(tree, tmp_path / "config.yaml")

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
    assert told in refusal(job(write(), *arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_that_is_no_config_gets_one_line(tmp_path):
    assert "config file not found: absent.yaml" in refusal(job("absent.yaml"))
    (tmp_path / "x.yaml").write_text("a: [\n\n- b: {")
    assert "config file is not valid YAML: " in refusal(job(tmp_path / "x.yaml"))


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
def here(capsys):
    """Runs a body as a job in this process: (exit status, stdout, stderr)."""

    def run_here(body, *arguments):
        try:
            Command("A job.", Consistency, body).main(list(map(str, arguments)))
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run_here


@pytest.mark.parametrize("output", ["2024", "2024-01-01", "null", "{a: b}", "[x", "a b", "--x"])
def test_output_is_taken_as_it_is_written(here, write, output):
    told = here(lambda config, *_: config.output, write(), f"--output={output}")
    assert told == (0, f"{output}\n", "")


def test_options_may_stand_anywhere(here, write):
    path = write()
    for arguments in (
        ("--dry-run", path, "seeds=3", "--output", "x", "--address", "auto"),
        (path, "--output", "x", "seeds=3", "--dry-run", "--address", "auto"),
        (path, "--address", "auto", "seeds=3", "--output", "x", "--dry-run"),
    ):
        status, told, _ = here(
            lambda config, session, dry: f"{config.seeds} {config.output} {dry} {session.address}",
            *arguments,
        )
        assert (status, told) == (0, "3 x True auto\n")


def test_exit_statuses_tell_mistakes_interrupts_and_bugs_apart(here, write):
    def stop(error):
        def body(*_):
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
    told = refusal(job(write(), "--dryrun"))
    assert told == "unknown option --dryrun; did you mean --dry-run?"
    assert refusal(job()).startswith("a config is missing: ")


@pytest.mark.parametrize(
    ("output", "refused"),
    [("runs/mine", True), ("./mine", True), ("/shared/mine", False), ("s3://bucket/mine", False)],
)
def test_a_submitted_job_needs_an_output_that_outlives_it(
    here, write, tmp_path, monkeypatch, output, refused
):
    write(output=output)
    monkeypatch.chdir(tmp_path)  # a copy of the working directory
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    status, out, err = here(lambda config, *_: config.output, "config.yaml")
    if not refused:
        assert (status, out, err) == (0, f"{output}\n", "")
        return
    assert status == 2
    assert err == (
        "error: the output of a submitted job must be a URI or an absolute path that every "
        "node can write, since its working directory is a temporary copy, got "
        f"{output.removeprefix('./')}\n"
    )


def test_paths_in_a_config_are_relative_to_it_and_typed_ones_to_the_working_directory(
    here, tmp_path, monkeypatch
):
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    study.mkdir()
    elsewhere.mkdir()
    (study / "prompts.txt").write_text("a red ball\n")
    (study / "local_model").mkdir()
    tree = {
        "models": [{"name": "m", "id": "local_model"}, {"name": "h", "id": "org/name"}],
        "prompts": "prompts.txt",
        "seeds": 2,
        "output": "runs/mine",
    }
    (study / "config.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(elsewhere)

    def places(config, *_):
        return " ".join([config.prompts, *(str(m.id) for m in config.models), config.output])

    path = "../study/config.yaml"
    mine, model = "../study/prompts.txt", "../study/local_model"
    assert here(places, path)[1] == f"{mine} {model} org/name ../study/runs/mine\n"
    told = here(places, path, "prompts=other.txt", "models.0.id=here", "output=there")[1]
    assert told == "other.txt here org/name there\n"
    told = here(places, path, "prompts=miniature_demo")[1]
    assert (
        told == f"{mine.replace('../study/prompts', str(ROOT / 'configs/prompts/miniature_demo'))}"
        f" {model} org/name ../study/runs/mine\n"
    )


def test_a_config_that_comes_with_raypipe_is_found_by_name_from_anywhere(
    here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("miniature", "miniature.yaml", "configs/consistency/miniature.yaml"):
        status, told, _ = here(lambda config, *_: f"{config.prompts} {config.output}", name)
        assert (status, told) == (0, f"{ROOT}/configs/prompts/miniature_demo.txt runs/miniature\n")
    status, _, told = here(lambda *_: "", "minature")
    assert status == 2
    assert told == "error: config file not found: minature; did you mean miniature?\n"


def test_a_stored_config_holds_wherever_it_is_read(finished, tmp_path, monkeypatch):
    config = Consistency.model_validate(yaml.safe_load(finished.read_text()) | {"output": "mine"})
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def steps(job):
        job.begin()
        job.finish({}, provenance("consistency", ()))

    assert Recipe("A job.", Consistency, Run, steps).perform(config, Session()) == "mine"
    for stored in (
        yaml.safe_load((here / "mine" / "config.yaml").read_text()),
        json.loads((here / "mine" / "manifest.json").read_text())["config"],
    ):
        assert stored["output"] == f"{here}/mine"
    monkeypatch.chdir("/")
    assert Run(str(here / "mine")).is_finished(Consistency.model_validate(stored))


def test_a_job_may_outlive_its_working_directory(write, tmp_path, monkeypatch):
    """A submitted job's is a copy, which may be gone before the job has ended."""
    config = Consistency.model_validate(yaml.safe_load(write().read_text()))
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")

    def steps(job):
        job.begin()
        (tmp_path / "copy").rmdir()
        job.finish({}, provenance("consistency", ()))

    Recipe("A job.", Consistency, Run, steps).perform(config, Session())
    assert Run(config.output).is_finished(config)
