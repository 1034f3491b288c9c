"""Metrics against choices: hand-computed accuracies, what is left out, and the miniature judge."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.errors import UserError
from raypipe.inputs import scores
from raypipe.miniature import choices as judge
from raypipe.report import sheet
from raypipe.storage import schema
from raypipe.studies.align import page as report
from raypipe.studies.align import results as align
from raypipe.studies.align.settings import Align
from tests.support import ROOT, finish_run, pair_runs
from tests.support.jobs import run_here
from tests.support.mistakes import mistake

IMAGES = ("a", "b", "c", "d", "e", "f")
GOOD = dict(zip(IMAGES, (6.0, 5.0, 4.0, 3.0, 2.0, 1.0), strict=True))
LOSS = {**{name: -value for name, value in GOOD.items()}, "a": -1.5}  # lower is better
GAPS = {**GOOD, "a": None, "b": 4.0}


def record(name, higher=True, reads="picture"):
    return {"name": name, "title": name.upper(), "higher_is_better": higher, "reads": reads}


@pytest.fixture
def scored(tmp_path):
    """A finished evaluate run of six pictures and four metrics, one of them of sets."""
    columns = {"image_id": IMAGES, "model": ["m"] * 6, "prompt_id": list("xxyyzz")}
    rest = {"prompt": [None] * 6, "seed": [None] * 6, "photo_id": list("xxyyzz")}
    fixed = {**columns, **rest, "status": ["ok"] * 6, "reason": [None] * 6}
    table = pa.table({**fixed}).cast(schema.TABLE)
    for name, of_image in (("good", GOOD), ("loss", LOSS), ("gaps", GAPS)):
        values = [of_image[image] for image in IMAGES]
        table = table.append_column(name, pa.array(values, pa.float64()))
        reasons = [None if value is not None else "no face" for value in values]
        table = table.append_column(f"{name}.reason", pa.array(reasons, pa.string()))
    folder = tmp_path / "scored"
    folder.mkdir()
    pq.write_table(table, folder / "scores.parquet")
    metrics = [record("good"), record("loss", False), record("gaps"), record("fid", False, "set")]
    metrics.append(record("scs", True, "prompt"))
    (folder / "results.json").write_text(json.dumps({"metrics": metrics}))
    return finish_run(folder, "evaluate")


@pytest.fixture
def ask(tmp_path, scored):
    """Runs the parts of the job over answers (left, right, choice, more)."""

    def ask(*answers, **changes) -> dict:
        names = ("left_id", "right_id", "choice")
        rows = [dict(zip(names, row, strict=False)) | (row[3:] or ({},))[0] for row in answers]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema.CHOICES), tmp_path / "c.parquet")
        tree = {"choices": str(tmp_path / "c.parquet"), "run": str(scored), "output": "o"}
        config = Align.model_validate({**tree, "statistics": {"resamples": 199}, **changes})
        known = scores.read_scores(config.run, config.metrics)
        return align.results(config, known, align.read_pairs(config, known))

    return ask


ANSWERS = [
    ("a", "b", "left", {"subset": "s"}),
    ("d", "c", "right", {"subset": "s"}),
    ("e", "f", "right", {"subset": "t"}),
    ("a", "c", "left", {}),
    ("b", "d", "tie", {}),
]


def test_accuracies_are_those_by_hand(ask):
    results = ask(*ANSWERS)
    by_name = {metric["name"]: metric for metric in results["metrics"]}
    good, loss, gaps = by_name["good"], by_name["loss"], by_name["gaps"]
    assert (good["accuracy"]["value"], good["accuracy"]["n"], good["ties"]) == (0.75, 4, 0)
    # a's loss is lowest at f's: b (-5) beats a (-1.5), d (-3) loses to c (-4), e beats f, c beats a
    lower_wins = [LOSS["a"] < LOSS["b"], LOSS["c"] < LOSS["d"], LOSS["f"] < LOSS["e"],
                  LOSS["a"] < LOSS["c"]]  # fmt: skip
    assert loss["accuracy"]["value"] == np.mean(lower_wins)
    assert (gaps["accuracy"]["value"], gaps["accuracy"]["n"]) == (0.5, 2)
    assert gaps["without_score"] == {"no face": 2}
    assert [metric["name"] for metric in results["metrics"]] == ["good", "gaps", "loss"]
    assert good["accuracy_common"]["value"] == 0.5
    assert {name: found["value"] for name, found in good["by_subset"].items()} == {"s": 1, "t": 0}
    assert (results["pairs"], results["undecided"], results["answers"]) == (5, 1, 5)
    assert results["not_judged"] == {
        "fid": "it compares sets of pictures",
        "scs": "it compares pictures of a prompt",
    }
    assert json.dumps(results, allow_nan=False)


def test_a_tie_of_a_metric_counts_half(ask):
    metric = next(m for m in ask(("b", "c", "left"))["metrics"] if m["name"] == "gaps")
    assert (metric["accuracy"]["value"], metric["ties"]) == (0.5, 1)


def test_metrics_are_compared_on_the_pairs_that_both_have(ask):
    results = ask(*ANSWERS)
    found = {(c["a"], c["b"]): c for c in results["comparisons"]}
    assert list(found) == [("good", "gaps"), ("good", "loss"), ("gaps", "loss")]
    assert (found["good", "gaps"]["n"], found["good", "gaps"]["difference"]) == (2, 0.0)
    assert (found["good", "loss"]["n"], found["good", "loss"]["difference"]) == (4, 0.5)
    defined = [c for c in results["comparisons"] if c["p_value"] is not None]
    assert all(c["p_adjusted"] >= c["p_value"] for c in defined)


def test_pairs_of_one_photo_are_one_cluster_though_the_file_does_not_say_so(ask):
    results = ask(("a", "b", "left"), ("b", "a", "right", {"prompt": "other"}), ("c", "d", "left"))
    assert (results["pairs"], results["photos"]) == (3, 2)


def test_what_is_left_out_is_counted_and_named(ask):
    results = ask(
        ("a", "b", "left", {"annotator": "p"}),
        ("b", "a", "left", {"annotator": "p"}),
        ("a", "nobody", "left", {}),
        ("c", "d", "left", {}),
    )
    assert (results["left_out"]["both_ways"], results["left_out"]["unknown_image"]) == (2, 1)
    told = " ".join(results["notes"])
    assert "p on a and b" in told
    assert "nobody" in told


def test_a_metric_without_a_pair_has_no_accuracy(ask):
    results = ask(("a", "b", "left"), metrics=["gaps", "good"])
    gaps = results["metrics"][1]
    assert (gaps["name"], gaps["accuracy"]["value"], gaps["accuracy"]["n"]) == ("gaps", None, 0)
    assert results["comparisons"][0]["reason"] == "no pair has scores of both"
    manifest = {"schema_version": 1, "config": {}}
    assert "no face" in sheet.render(report.sheet(results), manifest)


def test_the_page_shows_every_metric_and_comparison(ask):
    results = ask(*ANSWERS)
    page = sheet.render(report.sheet(results), {"schema_version": 1, "config": {}})
    for word in (
        "GOOD (good) agrees most often",
        "75.0 %",
        "good minus loss",
        "<svg",
        "fid is not",
    ):
        assert word in page
    assert report.summary(results).startswith("good  75.0 %")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metrics": ["goood"]}, "has no metric goood; did you mean good?"),
        ({"metrics": ["fid"]}, "no metric scores single pictures, got fid"),
        ({"run": "nowhere"}, "run must be a finished run of jobs/evaluate.py, got nowhere"),
    ],
)
def test_bad_input_is_refused_in_one_line(ask, changes, told):
    assert told in mistake(partial(ask, **changes), ("a", "b", "left"))


def test_choices_about_other_pictures_are_an_error(ask):
    with pytest.raises(UserError, match="no choice is left to judge metrics by: 1 answers with an"):
        ask(("x", "y", "left"))


def test_the_command_line_writes_a_whole_run(scored, tmp_path):
    rows = [dict(zip(("left_id", "right_id", "choice"), row, strict=False)) for row in ANSWERS]
    (tmp_path / "c.json").write_text(json.dumps([dict(row) for row in rows]))
    (tmp_path / "c.yaml").write_text(f"choices: {tmp_path}/c.json\nrun: {scored}\noutput: o\n")
    output = tmp_path / "run"

    def align_again():
        done = run_here("align", tmp_path / "c.yaml", "--output", output)
        assert done.returncode == 0, done.stderr
        return done

    assert align_again().stdout.splitlines()[-1] == str(output)
    assert {path.name for path in output.iterdir()} == {
        "config.yaml", "manifest.json", "report.html", "results.json",
    }  # fmt: skip
    assert f"already complete: {output}" in align_again().stderr
    (tmp_path / "c.json").write_text(json.dumps(rows[:2]))  # other choices, another question
    assert "already complete" not in align_again().stderr


@pytest.fixture(scope="module")
def pair_run(tmp_path_factory):
    return pair_runs.write(tmp_path_factory.mktemp("pairs"), count=24)


def test_the_judge_prefers_good_faces_and_errs_as_often_as_asked(pair_run):
    everything = ("train", "validation", "test")
    shown = list(judge.pairs_to_show(str(pair_run), everything))
    assert len(shown) == 24
    shown = shown[:12]
    sure = judge.answers(iter(shown), noise=0.0, seed=0)
    assert sure.schema == schema.CHOICES

    def chosen(table):
        sides = table.to_pylist()
        return [row["left_id"] if row["choice"] == "left" else row["right_id"] for row in sides]

    assert np.mean([name.endswith("/good") for name in chosen(sure)]) >= 0.9
    assert {row["choice"] for row in sure.to_pylist()} == {"left", "right"}
    assert set(sure["subset"].to_pylist()) == {"photo", "roundtrip"}
    noisy = judge.answers(iter(shown), noise=0.5, seed=0)
    turned = sum(a != b for a, b in zip(chosen(sure), chosen(noisy), strict=True))
    assert 1 <= turned <= 11
    assert noisy.equals(judge.answers(iter(shown), noise=0.5, seed=0))


def test_the_judge_writes_a_file_or_says_why_not(pair_run, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "raypipe.miniature.choices", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = run(pair_run, tmp_path / "c.parquet", "noise=0.1")
    assert done.returncode == 0, done.stderr
    assert len(pq.read_table(tmp_path / "c.parquet")) == 4
    wrong = run(pair_run, tmp_path / "c.parquet", "noise=0.7")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "noise: Input should be less than or equal to 0.5, got 0.7" in wrong.stderr
    absent = run(tmp_path, tmp_path / "c.parquet")
    assert absent.returncode == 2
    assert "must be a finished run" in absent.stderr
