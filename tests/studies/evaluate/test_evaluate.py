"""Evaluation: what is planned, what each stage says, what is left to do, and what comes out."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from raypipe.config.networks import Encoder
from raypipe.core.consistency import semantic_consistency_score
from raypipe.core.frechet import Moments, frechet_distance, kid
from raypipe.inputs.codec import decode
from raypipe.metrics import inception
from raypipe.metrics.settings import Sharpness
from raypipe.metrics.sharpness import Sharpness as Scorer
from raypipe.miniature.photos import photo_specs
from raypipe.miniature.scenes import render
from raypipe.models.encoder import LoadedEncoder
from raypipe.report import sheet
from raypipe.storage import schema
from raypipe.studies.evaluate import page as report
from raypipe.studies.evaluate import results as evaluate_results
from raypipe.studies.evaluate import work as measure_all
from raypipe.studies.evaluate.plan import make_plan
from raypipe.studies.evaluate.run import EvaluateRun
from raypipe.studies.evaluate.settings import Evaluate
from tests.support import evaluate_runs, finish_run, pair_runs
from tests.support.mistakes import mistake
from tests.support.pictures import encoded

SHARP = {"metric": "sharpness", "size": 64}


@pytest.fixture(scope="module")
def reward_files(tmp_path_factory):
    return evaluate_runs.reward_files(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def face_files(tmp_path_factory):
    return evaluate_runs.reward_files(tmp_path_factory.mktemp("face"), "face_score")


@pytest.fixture(scope="module")
def pair_run(tmp_path_factory):
    return pair_runs.write(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def portraits():
    """Six portraits and a faceless picture."""
    pictures = [render(spec) for spec in photo_specs(6, faceless=0.0)]
    return [*pictures, np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))]


@pytest.fixture(scope="module")
def stored_run(tmp_path_factory, portraits):
    """Two models, three prompts, two seeds; one picture failed."""
    data = [encoded(picture) for picture in portraits]
    a = {"p": {0: data[0], 1: data[1]}, "q": {0: data[2], 1: data[6]}, "r": {0: data[3]}}
    b = {"p": {0: data[4], 1: data[5]}, "q": {0: data[1], 1: None}, "r": {0: data[3]}}
    folder = tmp_path_factory.mktemp("run")
    return evaluate_runs.consistency_run(folder, {"a": a, "b": b})


@pytest.fixture
def config(tmp_path):
    def make(**changes) -> Evaluate:
        tree = {
            "metrics": [SHARP],
            "statistics": {"resamples": 199},
            "pools": {"read": {"batch_size": 3}},
            "output": str(tmp_path / "run"),
        }
        return Evaluate.model_validate(tree | changes)

    return make


def test_a_consistency_run_is_planned_with_its_failed_pictures(config, stored_run):
    plan = make_plan(config(run=str(stored_run)))
    rows = plan.pictures.to_pylist()
    assert [(r["model"], r["prompt"], r["seed"]) for r in rows[:3]] == [
        ("a", "p", 0), ("a", "p", 1), ("a", "q", 0),
    ]  # fmt: skip
    assert (len(rows), plan.models) == (10, ("a", "b"))
    assert all(row["photo_id"] == row["prompt_id"] for row in rows)
    stored = pq.read_table(stored_run / "images")["sample_id"].to_pylist()
    assert [row["image_id"] for row in rows] == stored


def test_pairs_are_two_sides_of_a_split(config, pair_run):
    plan = make_plan(config(pairs=str(pair_run)))
    rows = plan.pictures.to_pylist()
    assert len(rows) == 16  # 8 of 48 pairs are for the test
    assert plan.left_out == {"other split": 40}
    assert {r["model"] for r in rows} == {"good", "bad"}
    assert rows[0]["image_id"] == f"{rows[0]['prompt_id']}/good"
    assert rows[0]["box"] == list(pair_runs.BOX)
    assert len(make_plan(config(pairs=str(pair_run), splits=["train", "test"])).pictures) == 80


def test_pictures_of_a_folder_are_named_by_their_path(config, tree):
    folder = tree({"m": {"a cat": [1, 0]}, "n": {"a cat": [0]}})
    plan = make_plan(config(images=str(folder)))
    assert sorted(plan.pictures["image_id"].to_pylist()) == [
        "m/a cat/0", "m/a cat/1", "n/a cat/0",
    ]  # fmt: skip


def test_a_table_may_name_its_pictures(config, tmp_path, portraits):
    rows = {
        "model": ["m", "m"], "prompt": ["p", "p"], "seed": [0, 1],
        "image": [encoded(portraits[i]) for i in (0, 1)],
        "image_id": ["x/0.webp", "x/1.webp"],
    }  # fmt: skip
    pq.write_table(pa.table(rows), tmp_path / "images.parquet")
    made = config(images={"parquet": str(tmp_path / "images.parquet")})
    results, table = evaluate_runs.finish(made)
    assert table["image_id"].to_pylist() == ["x/0.webp", "x/1.webp"]
    assert results["metrics"][0]["models"][0]["n"] == 2
    rows["image_id"] = ["x", "x"]
    pq.write_table(pa.table(rows), tmp_path / "images.parquet")
    assert mistake(make_plan, made) == "images must have ids of their own, got two of x"


def test_the_numbers_are_those_of_the_pictures(config, stored_run, portraits):
    results, table = evaluate_runs.finish(config(run=str(stored_run), baseline="a"))
    values = Scorer(Sharpness(size=64))([Image.fromarray(p) for p in portraits]).tolist()
    of_a = [values[i] for i in (0, 1, 2, 6, 3)]
    of_b = [values[i] for i in (4, 5, 1, 3)]
    assert table["sharpness"].to_pylist() == [*of_a, *of_b[:3], None, of_b[3]]
    assert table["reason"].to_pylist() == [None] * 8 + ["nsfw", None]
    assert table["status"].to_pylist()[8] == schema.QUARANTINED
    a, b = results["metrics"][0]["models"]
    assert a["mean"] == pytest.approx(np.mean(of_a))
    assert b["sd"] == pytest.approx(np.std(of_b, ddof=1))
    assert (a["n"], b["n"], b["photos"], b["quarantined"]) == (5, 4, 3, {"nsfw": 1})
    assert a["interval"]["low"] < a["mean"] < a["interval"]["high"]
    (change,) = results["comparisons"]
    by_prompt = [
        (values[4] - values[0] + values[5] - values[1]) / 2, values[1] - values[2], 0.0,
    ]  # fmt: skip
    assert change["mean_change"] == pytest.approx(np.mean(by_prompt))
    assert (change["prompts"], change["n"]) == (3, 4)
    assert change["win_rate"] == pytest.approx(((1 + np.sign(by_prompt)) / 2).mean())
    assert results["quarantined"] == {"nsfw": 1}
    assert json.dumps(results, allow_nan=False)


def test_faces_are_scored_one_by_one_and_then_together(config, stored_run, face_files, portraits):
    both = np.concatenate([portraits[0], portraits[1]], axis=1)
    folder = stored_run.parent / "two"
    evaluate_runs.consistency_run(
        folder, {"a": {"p": {0: encoded(both), 1: encoded(portraits[6])}}}
    )
    face = {"metric": "face_score", "id": str(face_files)}
    metrics = [
        {**face, "name": how, "aggregate": how, "detector": {"min_neighbours": 2}}
        for how in ("min", "mean", "area")
    ]
    made = config(run=str(folder), metrics=metrics)
    results, table = evaluate_runs.finish(made)
    file = pq.read_table(f"{made.output}/scores/min.0000-00000000.parquet").to_pylist()
    faces = file[0]["faces"]
    assert len(faces) == 2
    scores = [found["score"] for found in faces]
    areas = [(f["box"][2] - f["box"][0]) * (f["box"][3] - f["box"][1]) for f in faces]
    assert table["min"][0].as_py() == min(scores)
    assert table["mean"][0].as_py() == pytest.approx(np.mean(scores))
    assert table["area"][0].as_py() == pytest.approx(np.average(scores, weights=areas))
    assert table["min"][1].as_py() is None
    assert table["min.reason"].to_pylist() == [None, "no face"]
    assert table["status"].to_pylist() == ["ok", "ok"]  # the picture itself is sound
    assert results["metrics"][0]["models"][0]["quarantined"] == {"no face": 1}
    assert "min has no score for 1 of 2" in " ".join(results["notes"]).replace("(min)", "min")


def test_semantic_consistency_is_that_of_each_prompt(config, tmp_path, portraits):
    data = [encoded(picture) for picture in portraits]
    a = {"p": {0: data[0], 1: data[1], 2: data[2]}, "q": {0: data[3], 1: data[4], 2: data[5]}}
    b = {"p": {0: data[6], 1: data[6], 2: data[6]}, "q": {0: data[0], 1: data[4], 2: data[6]}}
    run = evaluate_runs.consistency_run(tmp_path / "images", {"a": a, "b": b})
    encoder = {"id": "miniature/clip"}
    scs = {"metric": "scs", "encoder": encoder}
    made = config(run=str(run), metrics=[SHARP, scs], baseline="a")
    results, table = evaluate_runs.finish(made)
    loaded = LoadedEncoder(Encoder(**encoder), "cpu")
    e_ND = loaded.images([loaded.preprocess(Image.fromarray(picture)) for picture in portraits])
    rows = [[0, 1, 2], [3, 4, 5], [6, 6, 6], [0, 4, 6]]
    of_prompts = semantic_consistency_score(np.stack([e_ND[row] for row in rows]))
    scores = np.array(table["scs"].to_pylist()).reshape(4, 3)
    assert np.allclose(scores.mean(axis=1), of_prompts, atol=1e-4)
    assert np.ptp(scores[0]) > 0.1
    assert np.allclose(scores[2], 100, atol=1e-4)  # one picture three times
    record = results["metrics"][1]
    assert [model["mean"] for model in record["models"]] == pytest.approx(
        [of_prompts[:2].mean(), of_prompts[2:].mean()], abs=1e-4
    )
    change = results["comparisons"][1]
    assert (change["metric"], change["prompts"], change["n"]) == ("scs", 2, 6)
    assert change["mean_change"] == pytest.approx(
        of_prompts[2:].mean() - of_prompts[:2].mean(), abs=1e-4
    )
    assert "pictures of a prompt" in str(report.sheet(results, []))


def test_a_picture_alone_has_no_consistency(config, stored_run, pair_run):
    scs = {"metric": "scs", "encoder": {"id": "miniature/clip"}}
    results, table = evaluate_runs.finish(config(run=str(stored_run), metrics=[scs], baseline="a"))
    alone = "no other picture of its prompt"
    reasons = [None] * 4 + [alone] + [None] * 2 + [alone, "nsfw", alone]
    assert table["scs.reason"].to_pylist() == reasons
    assert [score is None for score in table["scs"].to_pylist()] == [bool(r) for r in reasons]
    assert table["reason"].to_pylist() == [None] * 8 + ["nsfw", None]  # they are sound
    assert results["metrics"][0]["models"][1]["quarantined"] == {alone: 2, "nsfw": 1}
    told = mistake(make_plan, config(pairs=str(pair_run), metrics=[scs]))
    assert told == "metric scs needs two or more pictures of a prompt by one model, got one of each"


def test_given_boxes_are_those_of_the_pair(config, pair_run, face_files):
    face = {"metric": "face_score", "id": str(face_files), "boxes": "given"}
    made = config(pairs=str(pair_run), metrics=[face], baseline="good")
    results, table = evaluate_runs.finish(made)
    rows = pq.read_table(f"{made.output}/scores").to_pylist()
    assert [face["box"] for row in rows for face in row["faces"]] == [list(pair_runs.BOX)] * 16
    good, bad = results["metrics"][0]["models"]
    assert (good["n"], bad["n"]) == (8, 8)
    change = results["comparisons"][0]
    assert change["mean_change"] == pytest.approx(bad["mean"] - good["mean"])
    assert table["photo_id"].to_pylist()[0] == table["photo_id"].to_pylist()[1]


def test_the_good_picture_that_is_not_stored_is_the_photo(config, pair_run):
    _, table = evaluate_runs.finish(config(pairs=str(pair_run), splits=["train", "test"]))
    stored = {
        row["pair_id"]: (row["kind"], row["good"], row["photo_id"])
        for row in pq.read_table(pair_run / "pairs").to_pylist()
    }
    photos = pq.read_table(pair_run / "photos")
    photo = dict(zip(photos["photo_id"].to_pylist(), photos["image"].to_pylist(), strict=True))
    kinds = set()
    for row in table.to_pylist():
        if row["model"] == "good":
            kind, good, photo_id = stored[row["prompt_id"]]
            kinds.add(kind)
            expected = Scorer(Sharpness(size=64))([decode(good or photo[photo_id])])[0]
            assert row["sharpness"] == expected
    assert kinds == {"photo", "roundtrip"}


def test_only_what_is_missing_is_done(config, stored_run, reward_files):
    first = config(run=str(stored_run))
    run = evaluate_runs.begin(first)
    assert len(evaluate_runs.measure(run, first)) == 4  # ten pictures in batches of three
    assert evaluate_runs.measure(run, first) == []
    run.folder.delete("scores/sharpness.0000-00000002.parquet")
    assert evaluate_runs.measure(run, first) == ["scores/sharpness.0000-00000002.parquet"]
    results, before = evaluate_runs.finish(first)
    more = config(
        run=str(stored_run), metrics=[SHARP, {"metric": "image_reward", "id": str(reward_files)}]
    )
    run = evaluate_runs.begin(more)
    run.folder.delete("scores/sharpness.0000-00000001.parquet")
    lacking = measure_all.missing(run, more)
    assert {names: sum(part.n_samples for part in parts) for names, parts in lacking.items()} == {
        ("image_reward",): 7,
        ("sharpness", "image_reward"): 3,
    }
    results, table = evaluate_runs.finish(more)
    assert table["sharpness"].equals(before["sharpness"])
    assert [metric["name"] for metric in results["metrics"]] == ["sharpness", "image_reward"]
    assert table["image_reward"].null_count == 1


def test_a_finished_run_may_get_metrics_but_lose_none(config, stored_run):
    soft = {**SHARP, "name": "soft", "size": 32}
    first = config(run=str(stored_run), metrics=[SHARP, soft])
    evaluate_runs.finish(first)
    run = EvaluateRun(first.output)
    assert run.is_finished(first)
    run.check(config(run=str(stored_run), metrics=[soft, SHARP, {**SHARP, "name": "third"}]))
    told = mistake(run.check, config(run=str(stored_run), metrics=[SHARP]))
    assert "this config changes metrics.soft" in told
    told = mistake(run.check, config(run=str(stored_run), metrics=[SHARP, {**soft, "size": 16}]))
    assert "this config changes metrics.soft.size" in told
    told = mistake(run.check, config(run="elsewhere", metrics=[SHARP, soft]))
    assert "this config changes run" in told


def test_other_weights_or_images_under_the_same_name_are_refused(
    config, stored_run, reward_files, tree, tmp_path
):
    made = config(
        run=str(stored_run), metrics=[{"metric": "image_reward", "id": str(reward_files)}]
    )
    run = evaluate_runs.begin(made)
    weights = {"image_reward": {"metric": "image_reward", "id": "sha256:other"}}
    told = mistake(run.check_note, "weights", weights, "metric {name}")
    assert told.startswith("the weights of metric image_reward are not those that ")
    folder = tree({"m": {"a cat": [0, 1]}})
    made = config(images=str(folder), output=str(tmp_path / "other"))
    evaluate_runs.begin(made)
    (folder / "m" / "a cat" / "1.png").unlink()
    assert "1 are no longer there, such as m/a cat/1" in mistake(evaluate_runs.begin, made)
    tree({"m": {"a cat": [1, 2]}})
    assert "1 are new, such as m/a cat/2" in mistake(evaluate_runs.begin, made)


def test_sets_are_compared_with_a_reference_that_may_come_later(config, tree, tmp_path, portraits):
    data = [encoded(picture) for picture in portraits]
    prompts = {"p": {seed: data[seed] for seed in range(4)} | {4: None}}
    run = evaluate_runs.consistency_run(tmp_path / "made", {"a": prompts})
    evaluate_runs.finish(config(run=str(run)))
    torch.manual_seed(0)
    torch.save(inception.new_network().state_dict(), tmp_path / "inception.pth")
    weights = {"weights": {"id": str(tmp_path / "inception.pth")}}
    metrics = [SHARP, {"metric": "fid", **weights}, {"metric": "kid", "subsets": 3, **weights}]
    reference = str(tree({"real": {"x": range(3)}}))
    made = config(run=str(run), metrics=metrics, reference=reference)
    results, table = evaluate_runs.finish(made)
    assert len(table) == 5
    assert "fid" not in table.column_names
    files = sorted((tmp_path / "run" / "scores").glob("fid.*"))
    rows = [row["feature"] for file in files for row in pq.read_table(file).to_pylist()]
    assert rows[4] is None
    mine, real = np.array(rows[:4]), np.array(rows[5:])
    fid, kids = (metric["models"][0] for metric in results["metrics"][1:])
    expected = frechet_distance(Moments.of(mine), Moments.of(real))
    assert fid["mean"] == pytest.approx(expected, rel=1e-6)
    assert kids["mean"] == pytest.approx(kid(mine, real, seed=0, subsets=3).value)
    assert (fid["n"], fid["n_reference"], fid["quarantined"]) == (4, 3, {"nsfw": 1})


def test_the_page_shows_every_number_and_the_extremes(config, stored_run):
    made = config(run=str(stored_run), baseline="a")
    run = evaluate_runs.begin(made)
    evaluate_runs.measure(run, made)
    outcome = evaluate_results.evaluate(run, made, make_plan(made))
    strips = report.extremes(run, made, outcome)
    assert len(strips[0].pictures) == 8
    told = [
        float(words.split()[-1].replace(",", "").replace("−", "-"))
        for _, words in strips[0].pictures
    ]
    assert told == sorted(told)
    manifest = evaluate_results.manifest(made, make_plan(made), outcome)
    page = sheet.render(report.sheet(outcome.results, strips), manifest)
    for word in ("sharpness", "Pech-Pacheco", "without a score", "b", "Holm"):
        assert word in page
    assert manifest["counts"] == {"requested": 10, "made": 9, "quarantined": 1}
    assert "sharpness" in report.summary(outcome.results)


def test_an_unfinished_run_or_an_empty_split_is_refused(config, tmp_path):
    told = mistake(make_plan, config(run="nowhere"))
    assert told == "run must be a finished run of jobs/consistency.py, got nowhere"
    unfinished = pair_runs.write(tmp_path / "pairs", count=4, finished=False)
    assert "must be a finished run of jobs/face_pairs.py" in mistake(
        make_plan, config(pairs=str(unfinished))
    )
    without = pair_runs.write(tmp_path / "without", count=4)
    assert "there must be pairs of split test, got 4 other split" in mistake(
        make_plan, config(pairs=str(without))
    )


def test_a_prompt_is_needed_where_a_metric_reads_it(config, tmp_path, reward_files):
    metrics = [{"metric": "image_reward", "id": str(reward_files)}]
    silent = pair_runs.write(tmp_path / "silent", caption=None)
    told = mistake(make_plan, config(pairs=str(silent), metrics=metrics))
    assert told == "metric image_reward needs prompts, but no image has one"
    some = pair_runs.write(tmp_path / "some", count=12, caption=None)
    pair_runs.write(tmp_path / "rest", count=12)
    (tmp_path / "rest" / "pairs" / "0000-00000000.parquet").rename(
        some / "pairs" / "0000-00000001.parquet"
    )
    (tmp_path / "rest" / "photos" / "0000-00000000.parquet").rename(
        some / "photos" / "0000-00000001.parquet"
    )
    shutil.rmtree(some / "sources")
    finish_run(some, "face_pairs")  # plans both batches
    results, _ = evaluate_runs.finish(config(pairs=str(some), metrics=metrics))
    good = results["metrics"][0]["models"][0]
    assert (good["n"], good["quarantined"]) == (2, {"no prompt": 2})


def test_what_only_the_plan_can_tell(config, stored_run):
    told = mistake(make_plan, config(run=str(stored_run), baseline="c"))
    assert told.startswith("baseline must be a model of the images, got c")
    named = config(run=str(stored_run), metrics=[{**SHARP, "name": "prompt"}])
    assert "must not be named like another column" in mistake(make_plan, named)
    absent = [{"metric": "image_reward", "id": "/nowhere"}]
    assert mistake(make_plan, config(run=str(stored_run), metrics=absent)) == (
        "weights of metric image_reward must be a reward's directory or a hub id, got /nowhere"
    )
