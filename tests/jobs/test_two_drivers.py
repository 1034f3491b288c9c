"""Two drivers on one output, and starts that come to nothing: no row is made or counted twice, and
what was finished stays finished."""

import json
import os
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from raypipe.config.strict import absolute
from raypipe.storage import claims, starts
from raypipe.storage.files import Folder
from raypipe.studies.consistency.settings import Consistency
from tests.support import jobs, stand_in_runs
from tests.support.jobs import LOCAL, finish

NOWHERE = ("--address", "127.0.0.1:1")
"""An address where nothing answers, which is found out when there is work to do."""


def tree(output: Path, **more) -> dict:
    """A small run of the main job with stages that sleep."""
    return stand_in_runs.config(output, prompts=["a", "b", "c"], seeds=4, **more)


def drive(config: dict, folder: Path, *arguments: str, stop_after: str = "", **environment: str):
    """A driver that the test can stop (tests/support/slow_driver.py)."""
    if stop_after:
        environment |= {"STOP_AFTER": stop_after, "STOP_AT": str(folder / "stopped")}
    return jobs.start("tests/support/slow_driver.py", config, folder, *LOCAL, **environment)


def reach(process, reached) -> None:
    """Wait until something is there, of a process that lives."""
    while not reached():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def error(process) -> str:
    """The one line of a driver that was refused."""
    _, err = finish(process, status=2)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line == err.splitlines()[-1]
    return line


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(stand_in_runs.start(tree(folder / "run"), folder, *LOCAL))
    return folder / "run"


def test_a_driver_that_has_looked_before_another_planned_does_not_plan_again(undisturbed, tmp_path):
    """Both find an empty directory; the one that comes second would plan every row again."""
    output = tmp_path / "run"
    second = drive(tree(output), tmp_path, stop_after="new_samples")
    reach(second, (tmp_path / "stopped").exists)
    first = drive(tree(output), tmp_path, STAND_IN_SECONDS="0.3")
    reach(first, (output / "samples" / "0000.parquet").exists)
    (tmp_path / "stopped").unlink()
    told = error(second)
    assert f"one process works on a run at a time, got another on {output}: process " in told
    assert f"process {first.pid} of " in told
    finish(first)
    stand_in_runs.assert_same(output, undisturbed)
    assert json.loads((output / "manifest.json").read_text())["counts"]["made"] == 24
    assert sorted(path.name for path in output.iterdir()) == sorted(
        path.name for path in undisturbed.iterdir()
    )


def test_a_driver_that_has_looked_before_another_came_and_went_starts_again(undisturbed, tmp_path):
    output = tmp_path / "run"
    second = drive(tree(output), tmp_path, stop_after="new_samples")
    reach(second, (tmp_path / "stopped").exists)
    finish(drive(tree(output), tmp_path, STAND_IN_SECONDS="0"))
    before = files(output)
    (tmp_path / "stopped").unlink()
    assert "another process has worked on" in error(second)
    assert files(output) == before
    _, err = finish(drive(tree(output), tmp_path))
    assert "already complete" in err
    stand_in_runs.assert_same(output, undisturbed)


def test_of_drivers_that_start_together_one_works(undisturbed, tmp_path):
    output = tmp_path / "run"
    drivers = [drive(tree(output), tmp_path, STAND_IN_SECONDS="0.3") for _ in range(3)]
    codes = [driver.wait() for driver in drivers]
    assert sorted(codes) == [0, 2, 2]
    for driver, code in zip(drivers, codes, strict=True):
        if code == 2:
            assert error(driver).startswith("error: one process works on a run at a time, got ")
    stand_in_runs.assert_same(output, undisturbed)


def test_a_killed_driver_is_followed_at_once(undisturbed, tmp_path):
    output = tmp_path / "run"
    driver = drive(tree(output), tmp_path, STAND_IN_SECONDS="0.3")
    reach(driver, lambda: len(list((output / "images").glob("*.parquet"))) >= 2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert claims.last_epoch(Folder(str(output))) == 1
    _, err = finish(drive(tree(output), tmp_path))
    assert "waiting up to" not in err
    assert json.loads((output / "manifest.json").read_text())["epoch"] == 2
    stand_in_runs.assert_same(output, undisturbed)


@pytest.mark.parametrize("beat", ["0.2", "1000"])
def test_a_driver_that_has_lost_its_run_stops(undisturbed, tmp_path, beat):
    """At its next sign of life, and if it gives none, before it commits."""
    output = tmp_path / "run"
    driver = drive(tree(output), tmp_path, STAND_IN_SECONDS="0.3", BEAT_S=beat)
    reach(driver, lambda: len(list((output / "images").glob("*.parquet"))) >= 1)
    other = replace(claims.Holder.here(), host="elsewhere", boot="b", pid=7, since="noon")
    Folder(str(output)).create("claims/000002.json", json.dumps(asdict(other)).encode())
    assert f"process 7 of elsewhere has taken over {output} from this one" in error(driver)
    made = len(list((output / "embeddings").glob("*.parquet")))
    assert made == 6 if beat == "1000" else made < 6
    assert not {"results.json", "scores.parquet", "manifest.json"} & set(files(output))
    _, err = finish(drive(tree(output), tmp_path, STILL_S="1"))
    assert "elsewhere has worked on" in err
    assert json.loads((output / "manifest.json").read_text())["epoch"] == 3
    stand_in_runs.assert_same(output, undisturbed)


def extension(output: Path) -> dict:
    """A config that asks for more seeds."""
    return tree(output) | {"seeds": 6}


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    """A finished run of its own."""
    output = tmp_path / "run"
    finish(drive(tree(output), tmp_path, STAND_IN_SECONDS="0"))
    return output


def test_an_extension_that_fails_leaves_the_finished_run(finished, tmp_path):
    before = files(finished)
    process = jobs.start("tests/support/stand_in.py", extension(finished), tmp_path, *NOWHERE)
    assert "no Ray cluster answers at 127.0.0.1:1" in error(process)
    after = files(finished)
    assert after.pop("samples/0001.parquet")  # empty: its number is not used again
    assert {n: data for n, data in after.items() if not n.startswith("metrics/")} == {
        n: data for n, data in before.items() if not n.startswith("metrics/")
    }
    _, err = finish(drive(tree(finished), tmp_path))
    assert "already complete" in err
    finish(drive(extension(finished), tmp_path, STAND_IN_SECONDS="0"))
    assert json.loads((finished / "manifest.json").read_text())["counts"]["made"] == 36
    whole = tmp_path / "whole"
    finish(drive(extension(whole), tmp_path, STAND_IN_SECONDS="0"))
    assert (finished / "results.json").read_bytes() == (whole / "results.json").read_bytes()


@pytest.mark.parametrize("point", ["begin", "add_samples"])
def test_an_extension_that_is_killed_before_it_made_anything_is_taken_back(
    finished, undisturbed, tmp_path, point
):
    driver = drive(extension(finished), tmp_path, stop_after=point)
    reach(driver, (tmp_path / "stopped").exists)
    assert not (finished / "manifest.json").exists()
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    _, err = finish(drive(tree(finished), tmp_path))
    assert "already complete" in err
    assert not (finished / starts.PREVIOUS).exists()
    stand_in_runs.assert_same(finished, undisturbed)


def test_what_an_extension_has_made_is_not_taken_back(finished, tmp_path):
    driver = drive(extension(finished), tmp_path, STAND_IN_SECONDS="0.3")
    reach(driver, lambda: len(list((finished / "images").glob("0001-*.parquet"))) >= 1)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert "can be extended, not cut" in error(drive(tree(finished), tmp_path))
    finish(drive(extension(finished), tmp_path, STAND_IN_SECONDS="0"))
    assert json.loads((finished / "manifest.json").read_text())["counts"]["made"] == 36


def test_a_first_start_that_fails_leaves_nothing(tmp_path):
    output = tmp_path / "a" / "run"
    process = jobs.start("tests/support/stand_in.py", tree(output), tmp_path, *NOWHERE)
    assert "no Ray cluster answers" in error(process)
    assert not (tmp_path / "a").exists()
    (tmp_path / "a").mkdir()
    process = jobs.start("tests/support/stand_in.py", tree(output), tmp_path, *NOWHERE)
    error(process)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_first_start_that_was_killed_before_it_made_anything_binds_nothing(tmp_path):
    """A setting that was wrong can be put right."""
    output = tmp_path / "run"
    wrong = tree(output) | {"sampler": {"steps": 9}}
    driver = drive(wrong, tmp_path, stop_after="add_samples")
    reach(driver, (tmp_path / "stopped").exists)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    finish(drive(tree(output), tmp_path, STAND_IN_SECONDS="0"))
    assert json.loads((output / "manifest.json").read_text())["counts"]["made"] == 24


def test_a_config_that_was_there_before_stays(tmp_path):
    """Of a run that is begun by the config in its own directory."""
    output = tmp_path / "run"
    output.mkdir()
    mine = yaml.safe_dump(
        absolute(Consistency.model_validate(tree(output))).model_dump(mode="json")
    )
    (output / "config.yaml").write_text("# mine\n" + mine)
    for _ in range(2):
        process = jobs.start("tests/support/stand_in.py", tree(output), tmp_path, *NOWHERE)
        assert "no Ray cluster answers" in error(process)
        assert files(output) == {"config.yaml": b"# mine\n" + mine.encode()}


@pytest.mark.parametrize("name", ["results.json", "scores.parquet", "report.html"])
def test_what_is_missing_of_a_finished_run_is_made_again(finished, tmp_path, name):
    before = files(finished)
    (finished / name).unlink()
    _, err = finish(drive(tree(finished), tmp_path))
    assert "already complete" not in err
    after = files(finished)
    assert after.keys() == before.keys()
    assert after["results.json"] == before["results.json"]
    assert after["scores.parquet"] == before["scores.parquet"]
    assert json.loads(after["manifest.json"])["files"] == [
        "scores.parquet", "results.json", "report.html",
    ]  # fmt: skip
    _, err = finish(drive(tree(finished), tmp_path))
    assert "already complete" in err
