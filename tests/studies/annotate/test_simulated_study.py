"""A study with people whose noise is known, answered through HTTP, from questions to report."""

import asyncio
import json
import random

import krippendorff
import numpy as np
import pyarrow.parquet as pq
import pytest

from raypipe.core.ranking import clopper_pearson
from raypipe.storage import schema
from raypipe.studies.align.choices import decide as decide_pairs
from raypipe.studies.align.choices import read_choices
from tests.support import study_runs
from tests.support.annotators import Serving, all_work, questions
from tests.support.jobs import run_here

NOISE = {"ada": 0.02, "ben": 0.1, "cem": 0.2, "dora": 0.3, "eva": 0.1}
"""Chance that somebody prefers the grid of the lower score."""

UNSURE = 0.1
CARELESS = "mallory"


def score_of(row: dict, side: str, truth: dict[str, tuple[float, float]]) -> float:
    """The score of a question's side; a pair of scores has the first model's first."""
    return truth[row["prompt"]][not row[f"{side}_id"].startswith(study_runs.MODELS[0])]


def scores() -> dict[str, tuple[float, float]]:
    rng = random.Random(5)
    return {f"thing {i} <script>alert(1)</script>": (rng.uniform(50, 90), rng.uniform(50, 90))
            for i in range(60)}  # fmt: skip


def person(name: str, noise: float, truth: dict[str, tuple[float, float]]):
    """Prefers the higher score but for noise that grows where the scores are close."""

    def decide(row: dict) -> str:
        if row["role"] == "check":
            return {"a": "b", "b": "a"}[row["expected"]] if name == CARELESS else row["expected"]
        rng = random.Random(f"{name}/{row['prompt']}/{row['role']}")
        if rng.random() < UNSURE:
            return "tie"
        a, b = score_of(row, "a", truth), score_of(row, "b", truth)
        better, worse = ("a", "b") if a > b else ("b", "a")
        chance = min(0.5, noise * 16 / (abs(a - b) + 4))
        return worse if rng.random() < chance else better

    return decide


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(what was put in, the results, the agreement run, the answer run, the source)."""
    root = tmp_path_factory.mktemp("study")
    truth = scores()
    source = study_runs.write(root / "source", truth)
    study = questions(source, root / "questions", "grid", "repeats=12", "checks=3")
    people = {name: person(name, noise, truth) for name, noise in NOISE.items()}
    people[CARELESS] = person(CARELESS, 0.5, truth)
    with Serving(study, root / "answers", "rate=1000") as serving:
        workers = asyncio.run(all_work(serving, study, people))
        serving.stop()
    made = run_here("agreement", "configs/agreement/default.yaml", f"run={root}/answers",
               f"output={root}/agreement", "statistics.resamples=499")  # fmt: skip
    assert made.returncode == 0, made.stderr
    results = json.loads((root / "agreement" / "results.json").read_text())
    return workers, results, root, truth


def votes(workers, truth) -> tuple[np.ndarray, list[dict]]:
    """What was put in, as a table: 1 for a, -1 for b, 0 for neither."""
    rows = [row for row in workers[0].questions.values() if row["role"] == "question"]
    numbers = {"a": 1, "b": -1, "tie": 0}
    kept = [worker for worker in workers if worker.name != CARELESS]
    return np.array([[numbers[w.given[row["question_id"]]] for row in rows] for w in kept]), rows


def test_the_recovered_agreement_is_what_was_put_in(done):
    workers, results, _, truth = done
    given, rows = votes(workers, truth)
    side = np.array(
        [1 if score_of(row, "a", truth) > score_of(row, "b", truth) else -1 for row in rows]
    )
    most = np.sign(given.sum(axis=0))
    right, n = int((most == side)[most != 0].sum()), int((most != 0).sum())
    scs = results["scores"][0]
    assert scs["name"] == "SCS"
    assert (scs["agreement"]["value"], scs["agreement"]["n"]) == (pytest.approx(right / n), n)
    ends = [scs["clopper_pearson"][end] for end in ("low", "high")]
    assert ends == pytest.approx(clopper_pearson(right, n))
    assert scs["bootstrap"]["low"] < right / n < scs["bootstrap"]["high"]
    assert scs["over_people"]["low"] < scs["bootstrap"]["low"] + 0.05
    assert results["majority"] == {"decided": n, "tied": 60 - n, "unanswered": 0}
    # CLIPScore always prefers the first model
    clip = results["scores"][1]["agreement"]["value"]
    first = np.array([row["a_id"].startswith(study_runs.MODELS[0]) for row in rows])
    assert 0.2 < first.mean() < 0.8
    assert clip == pytest.approx(((most == 1) == first)[most != 0].mean())


def test_each_annotators_noise_is_found_again(done):
    workers, results, _, truth = done
    found = results["scores"][0]["by_annotator"]
    for name, noise in NOISE.items():
        chances = [min(0.5, noise * 16 / (abs(a - b) + 4)) for a, b in truth.values()]
        expected = 1 - np.mean(chances)
        sd = np.sqrt(np.mean([c * (1 - c) for c in chances]) / 54)
        assert abs(found[name]["value"] - expected) < 3.5 * sd + 1e-9
    assert found["ada"]["value"] > found["dora"]["value"]
    told = {person["name"]: person for person in results["annotators"]}
    for worker in workers:
        if worker.name == CARELESS:
            continue
        mine = worker.given
        again = [row for row in worker.questions.values() if row["role"] == "repeat"]
        same = np.mean([mine[row["question_id"]] == mine[row["repeat_of"]] for row in again])
        assert told[worker.name]["self_consistency"]["value"] == pytest.approx(same)
        assert told[worker.name]["checks"] == {"right": 3, "n": 3}
        assert told[worker.name]["median_seconds"] == 1.5


def test_reliability_is_that_of_other_implementations(done):
    workers, results, _, truth = done
    given, _ = votes(workers, truth)
    alpha = results["reliability"]["krippendorff_alpha"]
    expected = krippendorff.alpha(given, level_of_measurement="nominal")
    assert alpha["value"] == pytest.approx(expected)
    assert alpha["low"] < alpha["value"] < alpha["high"]
    counts = np.stack([(given == c).sum(axis=0) for c in (1, 0, -1)], axis=1)
    n = len(given)
    observed = ((counts**2).sum(axis=1) - n).mean() / (n * (n - 1))
    chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    kappa = (observed - chance) / (1 - chance)
    assert results["reliability"]["fleiss_kappa"]["value"] == pytest.approx(kappa)
    assert results["reliability"]["fleiss_kappa"]["items"] == 60


def test_the_score_agrees_more_where_it_is_surer(done):
    _, results, _, _ = done
    surer = results["scores"][0]["surer"]
    first, last = surer["bins"][0], surer["bins"][-1]
    assert first["largest"] <= last["smallest"]
    assert first["agreement"]["value"] < last["agreement"]["value"]
    assert surer["probability"] > 0.6


def test_who_fails_the_checks_is_left_out_and_named(done):
    _, results, _, _ = done
    assert results["excluded"] == {CARELESS: "failed 3 of 3 checks"}
    assert CARELESS not in [person["name"] for person in results["annotators"]]
    assert f"{CARELESS} is left out: failed 3 of 3 checks" in results["notes"]


def test_the_plan_wants_more_prompts_for_narrower_intervals(done):
    _, results, _, _ = done
    rows = results["scores"][0]["plan"]["rows"]
    by_size = {(row["annotators"], row["width"]): row for row in rows}
    assert by_size[1, 0.05]["prompts"] > by_size[1, 0.1]["prompts"] > by_size[1, 0.2]["prompts"]
    assert by_size[1, 0.1]["agreement"] < by_size[5, 0.1]["agreement"]


def test_exports_are_what_the_benchmark_of_metrics_reads(done):
    workers, _, root, _ = done
    tables = [read_choices(str(root / "answers" / f"choices.{s}")) for s in ("parquet", "csv")]
    assert tables[0].schema == schema.CHOICES
    assert tables[0].to_pylist() == tables[1].to_pylist()
    assert len(tables[0]) == 60 * len(workers)
    assert {row["choice"] for row in tables[0].to_pylist()} == {"left", "right", "tie"}
    decided = decide_pairs(tables[0])
    assert (len(decided.pairs), sum(decided.left_out.values())) == (60, 0)
    of_mine = {
        (row["annotator"], row["prompt"]): row[f"{row['choice']}_id"]
        for row in tables[0].to_pylist()
        if row["choice"] != "tie"
    }
    for worker in workers:
        for question_id, choice in worker.given.items():
            row = worker.questions[question_id]
            if row["role"] == "question" and choice != "tie":
                assert of_mine[worker.name, row["prompt"]] == row[f"{choice}_id"]
    kept = read_choices(str(root / "agreement" / "choices.parquet"))
    assert CARELESS not in set(kept["annotator"].to_pylist())
    answers = pq.read_table(root / "answers" / "answers.parquet")
    assert answers.schema == schema.ANSWERS
    assert len(answers) == 75 * len(workers)


def test_the_page_shows_scores_and_answers_side_by_side(done):
    _, _, root, _ = done
    page = (root / "agreement" / "report.html").read_text()
    for words in ("Answers and scores side by side", "SCS agrees with the majority on", "<svg",
                  f"{study_runs.MODELS[0]}: ", "data:image/webp", "votes, SCS "):  # fmt: skip
        assert words in page
    assert "<script>alert" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_finished_runs_are_not_made_again_unless_there_are_further_answers(done):
    _, _, root, _ = done
    line = ["agreement", "configs/agreement/default.yaml", f"run={root}/answers",
            f"output={root}/agreement", "statistics.resamples=499"]  # fmt: skip
    assert "already complete" in run_here(*line).stderr
    table, manifest = root / "answers" / "answers.parquet", root / "answers" / "manifest.json"
    before, known = table.read_bytes(), manifest.read_bytes()
    older = {k: v for k, v in json.loads(known).items() if k not in ("digest", "digests")}
    manifest.write_text(json.dumps(older))  # a run of raypipe 0.1, whose files may differ
    fewer = pq.read_table(table).slice(0, 300)
    pq.write_table(fewer, table)
    again = run_here(*line)
    table.write_bytes(before)
    manifest.write_bytes(known)
    assert again.returncode == 0, again.stderr
    assert "already complete" not in again.stderr
