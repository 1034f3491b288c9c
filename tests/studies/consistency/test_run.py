"""A run directory: when it is finished, and when it is not ours."""

import json

import pytest
import yaml

from raypipe.storage.directory import config_hash
from raypipe.studies.consistency.plan import make_plan
from raypipe.studies.consistency.run import Run
from tests.support.mistakes import mistake


def finish(run, config):
    run.finish({"status": "complete", "config_hash": config_hash(config)})


def test_a_run_is_finished_when_its_manifest_says_so(study, begun):
    config = study()
    assert not Run(config.output).is_finished(config)
    run = begun(config)
    assert not run.is_finished(config)
    finish(run, config)
    assert Run(config.output).is_finished(config)
    run.begin(config, encoders={})  # going on takes the promise back first
    assert not run.is_finished(config)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"pools": {"embed": {"max": 9}}}, True),
        ({"output": "elsewhere"}, True),
        ({"prompts": ["a red ball", "a blue box"]}, False),
        ({"seeds": 3}, False),
        ({"statistics": {"alpha": 0.01}}, False),
        ({"report": {"prompts": 3}}, False),
    ],
)
def test_only_the_same_question_is_finished(study, begun, change, same):
    run = begun(study())
    finish(run, study())
    assert run.is_finished(study(**change)) is same


@pytest.mark.parametrize("key", ["prompts", "seeds"])
def test_an_edited_prompt_or_seed_file_is_another_question(study, tmp_path, key):
    path = tmp_path / "list.txt"
    path.write_text("1\n2\n")
    before = config_hash(study(**{key: str(path)}))
    assert before == config_hash(study(**{key: str(path)}))
    path.write_text("1\n3\n")
    assert config_hash(study(**{key: str(path)})) != before
    path.unlink()
    assert mistake(config_hash, study(**{key: str(path)})) == f"{key} file not found: {path}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "mine"),
        ("sub/notes.txt", "mine"),
        ("config.yaml", "some: other tool"),
        ("config.yaml", "[1, 2"),
        ("config.yaml", "\x00"),
        ("config.yaml", ""),
        ("manifest.json", '{"name": "a web page"}'),
        ("manifest.json", "[]"),
        ("manifest.json", "{"),
    ],
)
def test_a_directory_of_something_else_is_left_alone(study, tmp_path, name, content):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    config = study()
    run = Run(config.output)
    assert not run.is_finished(config)
    told = mistake(run.check, config)
    assert told.startswith(
        f"the output directory must be empty or a run's of this job, but {run.uri} holds "
    )
    assert told.endswith(f" holds {name.partition('/')[0]}")
    assert path.read_text() == content


def test_an_empty_directory_or_one_of_a_killed_start_will_do(study, tmp_path):
    (tmp_path / "run").mkdir()
    Run(study().output).check(study())
    (tmp_path / "run" / "config.yaml.0a1b2c3d.partial").write_text("half")
    Run(study().output).check(study())


def test_an_output_that_cannot_be_a_directory_is_refused(study, tmp_path):
    (tmp_path / "file").write_text("x")
    for where in (tmp_path / "file", tmp_path / "file" / "run"):
        config = study(output=str(where))
        told = mistake(Run(config.output).is_finished, config)
        assert told.startswith(f"output cannot be used: {where}: ")
        told = mistake(Run(config.output).check, config)
        assert told.startswith(f"output cannot be used: {where}: ")


def test_an_unwritable_output_is_refused(study):
    config = study(output="/proc/raypipe")  # where not even root may write
    run = Run(config.output)
    run.check(config)
    assert mistake(run.begin, config).startswith("output cannot be written: /proc/raypipe: ")


def test_the_config_is_kept_resolved(study, begun):
    config = study()
    run = begun(config)
    stored = yaml.safe_load(run.folder.read("config.yaml"))
    assert type(config).model_validate(stored) == config
    assert stored["sampler"]["guidance"] == 7.5  # a default


def test_hostile_prompts_stay_text_in_the_run(study, begun, hostile, tmp_path):
    before = set(tmp_path.iterdir())
    config = study(prompts=hostile)
    run = begun(config)
    assert set(run.samples()["prompt"].to_pylist()) == set(hostile)
    Run(config.output).check(config)
    assert len(run.new_samples(make_plan(config).samples())) == 0
    assert set(tmp_path.iterdir()) - before == {tmp_path / "run"}
    made = sorted(str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*"))
    assert made == ["config.yaml", "encoders.json", "samples", "samples/0000.parquet"]


def test_finishing_sweeps_up_and_writes_strict_json(study, begun, tmp_path):
    config = study()
    run = begun(config)
    half = tmp_path / "run" / "samples" / "0001.parquet.0a1b2c3d.partial"
    half.write_text("half")
    with pytest.raises(ValueError, match="JSON compliant"):
        run.finish({"config_hash": "x", "wall_seconds": float("nan")})
    assert run.manifest() is None
    finish(run, config)
    assert not half.exists()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "complete"
