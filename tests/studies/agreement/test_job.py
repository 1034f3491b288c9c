"""Pairs of faces and ratings, with the scores of a run of jobs/evaluate.py beside them."""

import asyncio
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.storage import schema
from raypipe.studies.align.choices import read_choices
from tests.support import finish_run, pair_runs
from tests.support.annotators import Serving, all_work, questions
from tests.support.jobs import run_here

DEFAULT = "configs/agreement/default.yaml"


def evaluated(folder: Path, scores: dict[str, float]) -> Path:
    """A finished evaluate run: a score by image id, and another that is its negative, a loss."""
    ids = sorted(scores)
    columns = {
        name: pa.nulls(len(ids), schema.TABLE.field(name).type) for name in schema.TABLE.names
    }
    texts = dict.fromkeys(("image_id", "model", "prompt_id", "photo_id"), ids)
    table = pa.table({**columns, **texts, "status": ["ok"] * len(ids)}).select(schema.TABLE.names)
    for name, sign in (("quality", 1), ("loss", -1)):
        values = pa.array([sign * scores[image] for image in ids], pa.float64())
        table = table.append_column(name, values)
        table = table.append_column(f"{name}.reason", pa.nulls(len(ids), pa.string()))
    folder.mkdir()
    pq.write_table(table, folder / "scores.parquet")
    records = [
        {"name": name, "title": name.title(), "higher_is_better": name == "quality",
         "reads": "picture"} for name in ("quality", "loss")
    ]  # fmt: skip
    (folder / "results.json").write_text(json.dumps({"metrics": records}))
    return finish_run(folder, "evaluate")


def collected(study: Path, output: Path, people: dict) -> Path:
    with Serving(study, output, "rate=1000") as serving:
        asyncio.run(all_work(serving, study, people, pictures=True))
        serving.stop()
    return output


def agreement(answers: Path, output: Path, *more: str) -> dict:
    quick = "statistics.resamples=199"
    done = run_here("agreement", DEFAULT, f"run={answers}", f"output={output}", quick, *more)
    assert done.returncode == 0, done.stderr
    return json.loads((output / "results.json").read_text())


def test_pairs_of_faces_with_scores_of_their_pictures(tmp_path):
    source = pair_runs.write(tmp_path / "pairs", count=24)
    study = questions(
        source, tmp_path / "q", "pair", "splits=[train,test]", "repeats=3", "checks=2"
    )
    rows = pq.read_table(study / "questions.parquet").to_pylist()
    asked = [row for row in rows if row["role"] == "question"]
    assert len(asked) == 20
    good_of = {row["question_id"]: "a" if row["a_id"].endswith("/good") else "b" for row in asked}
    assert set(good_of.values()) == {"a", "b"}
    assert {row["subset"] for row in asked} == {"photo", "roundtrip"}

    def expert(row):
        return row["expected"] or good_of[row["repeat_of"] or row["question_id"]]

    def wrong_on_one(row):
        wrong = row["a_id"] == asked[0]["a_id"]
        return {"a": "b", "b": "a"}[expert(row)] if wrong else expert(row)

    people = {"ann": expert, "bob": expert, "cat": wrong_on_one}
    answers = collected(study, tmp_path / "answers", people)
    ids = [row[f"{side}_id"] for row in asked for side in "ab"]
    scores = {name: float(name.endswith("/good")) for name in ids}
    good = next(name for name in ids[2:4] if name.endswith("/good"))
    scores[good] = -1.0  # the metric prefers the bad face once
    run = evaluated(tmp_path / "scored", scores)
    results = agreement(answers, tmp_path / "agreement", f"scores={run}")
    side, quality, loss = results["scores"]
    assert (side["name"], side["agreement"]["value"]) == ("good side", 1.0)
    assert side["surer"]["test"]["reason"] == "all differences are alike"
    assert (quality["agreement"]["value"], quality["agreement"]["n"]) == (0.95, 20)
    assert loss["agreement"]["value"] == 0.95
    assert quality["clopper_pearson"]["low"] < 0.95 < quality["clopper_pearson"]["high"]
    told = {person["name"]: person for person in results["annotators"]}
    assert told["cat"]["with_others"]["value"] == 0.95
    assert told["ann"]["with_others"]["n"] == 19  # on one pair the other two disagree
    assert results["self_consistency"]["value"] == 1.0
    assert set(quality["by_subset"]) == {"photo", "roundtrip"}
    aligned = run_here("align", "configs/align/people.yaml", f"choices={answers}/choices.parquet",
                  f"run={run}", f"output={tmp_path}/align", "statistics.resamples=199")  # fmt: skip
    assert aligned.returncode == 0, aligned.stderr
    metrics = json.loads((tmp_path / "align" / "results.json").read_text())["metrics"]
    assert {m["name"]: m["accuracy"]["value"] for m in metrics} == {"quality": 0.95, "loss": 0.95}


def test_ratings_are_ranked_against_scores(source, tmp_path):
    study = questions(source, tmp_path / "q", "rate", "repeats=2", "checks=2", "limit=10")
    rows = pq.read_table(study / "questions.parquet").to_pylist()
    asked = sorted(row["a_id"] for row in rows if row["role"] == "question")
    assert len(asked) == 10

    def rater(shift):
        def decide(row):
            if row["role"] == "check":
                return "2"
            if row["a_id"] == asked[9]:
                return "none"
            return str(min(5, 1 + asked.index(row["a_id"]) // 2 + shift))

        return decide

    answers = collected(study, tmp_path / "answers", {"ann": rater(0), "bob": rater(1)})
    assert len(read_rows(answers)) == 28
    run = evaluated(tmp_path / "scored", {image: float(i) for i, image in enumerate(asked)})
    results = agreement(answers, tmp_path / "agreement", f"scores={run}")
    quality, loss = results["scores"]
    assert quality["ranks"]["n"] == 9
    assert quality["ranks"]["spearman"]["statistic"] > 0.95
    assert loss["ranks"] == quality["ranks"]
    assert results["reliability"]["krippendorff_alpha"]["level"] == "ordinal"
    assert results["reliability"]["krippendorff_alpha"]["value"] > 0.6
    assert [person["checks"] for person in results["annotators"]] == [{"right": 2, "n": 2}] * 2
    assert all(person["cannot_tell"] >= 1 for person in results["annotators"])
    page = (tmp_path / "agreement" / "report.html").read_text()
    assert "mean rating" in page
    assert "rank correlation of " in page
    assert pq.read_table(tmp_path / "agreement" / "choices.parquet").num_rows == 0


def read_rows(answers: Path) -> list[dict]:
    return pq.read_table(answers / "answers.parquet").to_pylist()


def test_pictures_of_two_models_without_scores_are_a_study_too(source, tmp_path):
    study = questions(source, tmp_path / "q", "pair", "limit=6")
    answers = collected(study, tmp_path / "answers", {"ann": lambda row: "b"})
    results = agreement(answers, tmp_path / "agreement")
    assert (results["scores"], results["majority"]["decided"]) == ([], 6)
    assert "no automatic score was given" in " ".join(results["notes"])
    assert "fewer than three annotators" in " ".join(results["notes"])
    assert len(read_choices(str(answers / "choices.csv"))) == 6


@pytest.fixture(scope="module")
def answers(study, tmp_path_factory):
    output = tmp_path_factory.mktemp("mistakes") / "answers"
    return collected(study, output, {"ann": lambda row: row["expected"] or "a"})


def test_mistakes_are_one_line(answers, source, tmp_path):
    def told(*line):
        done = run_here("agreement", DEFAULT, f"output={tmp_path}/x", *line)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        return done.stderr

    stopped = "run must be a finished run of jobs/annotate.py, got "
    assert stopped + str(source) in told(f"run={source}")
    assert "scores of grids are those of the run" in told(f"run={answers}", "scores=elsewhere")


def test_a_dry_run_says_what_there_is_and_writes_nothing(answers, study, source, tmp_path):
    out = f"output={tmp_path}/x"
    done = run_here("agreement", DEFAULT, f"run={answers}", out, "--dry-run")
    assert (
        "10 answers of 1 annotators to 6 questions (grid) would be compared with SCS" in done.stderr
    )
    done = run_here("annotate", "configs/annotate/local.yaml", f"run={study}", out, "--dry-run")
    assert "10 questions (grid) would be asked on port 8000 of 127.0.0.1" in done.stderr
    done = run_here("questions", "configs/questions/grids.yaml", f"run={source}", out, "--dry-run")
    assert "13 questions (grid): 6 of 6 that" in done.stderr
    assert not (tmp_path / "x").exists()
