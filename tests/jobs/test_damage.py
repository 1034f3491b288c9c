"""A run whose files were damaged: made again, or named in one line; never another number."""

import random
import shutil
from pathlib import Path

import pytest
import yaml

from raypipe.storage.check import findings
from raypipe.storage.damage import DamagedError
from raypipe.studies.consistency import scores, work
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from tests.support import stand_in
from tests.support.jobs import raypipe, run_here
from tests.support.mistakes import refusal

CONFIG = {
    "models": [{"name": name, "id": f"miniature/{name}"} for name in ("sdxl", "pixart")],
    "prompts": [f"prompt {number}" for number in range(4)],
    "seeds": 3,
    "encoder": {"id": "miniature/clip"},
    "statistics": {"resamples": 199},
    "pools": {"generate": {"batch_size": 6}, "embed": {}},
    "report": {"prompts": 1},
}
IMAGES = "images/0000-00000001.parquet"
EMBEDDINGS = "embeddings/miniature-clip~6794bc234d.0000-00000002.parquet"
SAMPLES = "samples/0000.parquet"


@pytest.fixture(autouse=True)
def stages(monkeypatch):
    """Stages that draw pictures and vectors by the sample's id."""
    monkeypatch.setenv("STAND_IN_SECONDS", "0")
    monkeypatch.setattr(work, "steps", stand_in.steps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run; `config.yaml` beside it makes it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAND_IN_SECONDS", "0")
        patch.setattr(work, "steps", stand_in.steps)
        assert job(folder / "run").returncode == 0
    return folder / "run"


def job(run: Path, *arguments: str, **changes):
    """The run's own command."""
    file = run.parent / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG | {"output": str(run)} | changes))
    return run_here("consistency", file, "--local", *arguments)


@pytest.fixture
def run(whole, tmp_path) -> Path:
    """A copy of the finished run, which its own command may go on with."""
    return shutil.copytree(whole, tmp_path / "run")


def unfinished(run: Path) -> Path:
    (run / "manifest.json").unlink()
    return run


def flipped(data: bytes, seed: int = 0) -> bytes:
    """One bit changed."""
    rng = random.Random(seed)
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


DAMAGE = {
    "flipped": flipped,
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: b"\0" * len(data),
    "strange": lambda data: b"Bud1 what another program writes\n",
    "list": lambda data: b"[1, 2]",
    "object": lambda data: b'{"a": 1}',
}
TABLES = ("flipped", "cut", "empty", "zeros", "strange")
NOTES = ("cut", "empty", "strange", "list")


def hurt(run: Path, name: str, kind: str) -> bytes:
    """Damage a file of a run; returns what it holds now."""
    data = DAMAGE[kind]((run / name).read_bytes())
    (run / name).write_bytes(data)
    return data


def results(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in ("results.json", "scores.parquet")]


def assert_one_line(done, *words: str) -> None:
    line = refusal(done)
    assert all(word in line for word in words), line
    assert len(line) < 500


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", [IMAGES, EMBEDDINGS])
def test_a_damaged_batch_is_made_again(run, whole, name, kind):
    bad = hurt(unfinished(run), name, kind)
    done = job(run)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(told) == 1
    assert str(run / name) in told[0]
    assert (run / "damaged" / name).read_bytes() == bad
    assert results(run) == results(whole)
    assert check(run).returncode == 0


def test_all_damaged_batches_are_found_at_once(run, whole):
    for file in (unfinished(run) / "embeddings").iterdir():
        hurt(run, f"embeddings/{file.name}", "cut")
    done = job(run)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: ") == 4
    assert results(run) == results(whole)


def test_a_batch_that_holds_another_batch_is_made_again(run, whole):
    other = run / IMAGES.replace("1.p", "0.p")
    (unfinished(run) / IMAGES).write_bytes(other.read_bytes())
    assert job(run).returncode == 0
    assert results(run) == results(whole)


def test_a_damaged_batch_is_found_when_a_run_is_extended(run):
    hurt(run, EMBEDDINGS, "flipped")
    done = job(run, seeds=4)
    assert done.returncode == 0, done.stderr
    assert f"{EMBEDDINGS} has changed since it was written" in done.stderr
    assert (run / "damaged" / EMBEDDINGS).exists()


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_plan_is_named(run, kind):
    hurt(unfinished(run), SAMPLES, kind)
    before = sorted(path for path in run.rglob("*") if path.is_file())
    assert_one_line(job(run), str(run / SAMPLES))
    assert sorted(path for path in run.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("kind", NOTES)
@pytest.mark.parametrize("name", ["encoders.json", "config.yaml"])
def test_a_damaged_note_is_named(run, name, kind):
    hurt(unfinished(run), name, kind)
    assert_one_line(job(run), str(run))


@pytest.mark.parametrize("kind", [*NOTES, "flipped", "object"])
def test_a_damaged_manifest_is_written_anew(run, whole, kind):
    hurt(run, "manifest.json", kind)
    assert job(run).returncode == 0
    assert results(run) == results(whole)
    assert check(run).returncode == 0


@pytest.mark.parametrize("missing", ["models", "encoder", "sampler"])
def test_a_config_that_lacks_a_key_is_one_line(run, missing):
    tree = yaml.safe_load((unfinished(run) / "config.yaml").read_text())
    del tree[missing]
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    assert_one_line(job(run), str(run))


def test_strangers_in_a_run_are_ignored(run, whole):
    for folder in ("", "images", "embeddings", "samples"):
        for name in (".DS_Store", "._0000-00000000.parquet", "Thumbs.db", "desktop.ini"):
            (run / folder / name).write_bytes(b"Bud1")
    shutil.copy(run / IMAGES, run / "images" / "0000-00000001 copy.parquet")
    shutil.copy(run / SAMPLES, run / "samples" / "0000 copy.parquet")
    assert "already complete" in job(run).stderr
    unfinished(run)
    assert job(run).returncode == 0
    assert results(run) == results(whole)
    assert check(run).returncode == 0


# As another job's input


def ask(run: Path, tmp_path: Path):
    """jobs/questions.py, which reads the run's plan, its pictures and its manifest."""
    (tmp_path / "q.yaml").write_text(
        yaml.safe_dump({"run": str(run), "kind": "pair", "output": str(tmp_path / "questions")})
    )
    return run_here("questions", tmp_path / "q.yaml", "limit=4")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [(IMAGES, TABLES), (SAMPLES, TABLES[1:]), ("manifest.json", (*NOTES, "flipped", "object"))],
)
def test_a_damaged_input_is_named(run, tmp_path, name, kinds):
    assert ask(run, tmp_path).returncode == 0
    good = (run / name).read_bytes()
    for kind in kinds:
        (run / name).write_bytes(good)
        hurt(run, name, kind)
        shutil.rmtree(tmp_path / "questions", ignore_errors=True)
        done = ask(run, tmp_path)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert (done.returncode, len(lines)) == (2, 1), (kind, done.stderr)
        assert str(run) in lines[0]
        assert name == "manifest.json" or name in lines[0]


@pytest.mark.parametrize("name", [IMAGES, EMBEDDINGS, "manifest.json"])
@pytest.mark.parametrize("kind", ["cut", "empty", "strange", "object"])
def test_rates_name_what_is_damaged(run, name, kind):
    hurt(run, name, kind)
    done = raypipe("rates", run)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert str(run) in done.stderr


def test_a_run_of_another_job_is_refused(run, tmp_path):
    assert ask(run, tmp_path).returncode == 0
    (tmp_path / "questions").rename(tmp_path / "other")
    done = ask(tmp_path / "other", tmp_path)
    assert_one_line(done, "run must be a finished run of jobs/consistency.py or")


# raypipe check


def check(run: Path, *more: str):
    return raypipe("check", run, *more)


@pytest.mark.parametrize(
    "name",
    [
        *(IMAGES, EMBEDDINGS, SAMPLES, "manifest.json", "results.json", "scores.parquet"),
        *("report.html", "config.yaml", "encoders.json"),
    ],
)
def test_check_names_a_file_of_which_a_bit_has_changed(run, name):
    assert check(run).returncode == 0
    good = (run / name).read_bytes()
    for seed in range(5):
        (run / name).write_bytes(flipped(good, seed))
        done = check(run)
        assert done.returncode == 1, done.stderr
        assert str(run / name) in done.stdout
        assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("n", [60, pytest.param(3_000, marks=pytest.mark.long)])
def test_no_bit_of_a_run_changes_unnoticed(run, n):
    """Of any file but the logs, and whatever the bit: check tells, and no number is another."""
    config = Consistency.model_validate(yaml.safe_load((run / "config.yaml").read_text()))
    made = Run(str(run))
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    files = [path for path in files if path.parent.name != "metrics"]
    rng = random.Random(n)
    before = scored(made, config)
    stopped = 0
    for seed in range(n):
        path = rng.choice(files)
        good = path.read_bytes()
        path.write_bytes(flipped(good, seed))
        assert len(list(findings(made, config))) == 1, (path, seed)
        try:
            assert scored(made, config) == before, (path, seed)
        except DamagedError:
            stopped += 1
        path.write_bytes(good)
    assert stopped > n / 8


def scored(run: Run, config: Consistency) -> list:
    """What the stored files say."""
    samples = run.samples()
    known = scores.survey(run, samples)
    return [
        known,
        *(
            scores.score_model(run, samples, model.name, config.encoder[0], known).rows
            for model in config.models
        ),
    ]


def test_check_names_a_missing_file(run):
    (run / IMAGES).unlink()
    (run / "results.json").unlink()
    assert check(run).stdout.splitlines() == [
        f"{run}/results.json is missing",
        f"{run}/{IMAGES} is missing",
    ]


def test_check_names_a_sample_that_is_planned_twice(run):
    shutil.copy(run / SAMPLES, run / "samples" / "0001.parquet")
    done = check(run)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert "samples must hold each row once, but holds model " in done.stdout


@pytest.mark.parametrize("name", [IMAGES, EMBEDDINGS, "results.json", "scores.parquet"])
def test_what_check_finds_is_mended(run, whole, name):
    hurt(run, name, "flipped")
    assert "already complete" in job(run).stderr
    done = check(run, "--mend")
    assert done.returncode == 1
    assert f"kept as damaged/{name}" in done.stderr
    assert job(run).returncode == 0
    assert results(run) == results(whole)
    assert check(run).returncode == 0


def test_what_cannot_be_made_again_leaves_a_run_finished(run):
    hurt(run, "encoders.json", "flipped")
    done = check(run, "--mend")
    assert done.returncode == 1
    assert "encoders.json cannot be made again; restore it" in done.stderr
    assert "already complete" in job(run).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "usage: raypipe check RUN [--mend], got"),
        (("a", "b"), "usage: raypipe check RUN [--mend], got a b"),
        (("nowhere",), "a run must have the config that it was made by, config.yaml: nowhere"),
        (("s3:/b/x",), "expected, got s3:/b/x; did you mean s3://b/x?"),
    ],
)
def test_check_says_in_one_line_what_it_cannot_check(arguments, told):
    assert_one_line(raypipe("check", *arguments), told)


def test_check_tells_an_unfinished_run_from_a_damaged_one(run):
    (unfinished(run) / IMAGES).unlink()
    done = check(run)
    assert (done.returncode, done.stdout) == (0, "")
    assert "as far as it is made" in done.stderr
