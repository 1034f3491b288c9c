"""Face Score's task: what it reads, what it minimises, and what comes out."""

import io
import json
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from raypipe.models.reward.scores import load_reward
from raypipe.storage.directory import RunDirectory
from raypipe.storage.files import Folder
from raypipe.studies.face_score import data as pairs
from raypipe.studies.face_score import page as face_score_page
from raypipe.studies.face_score import results as face_score_results
from raypipe.studies.face_score.settings import FaceScore
from raypipe.studies.face_score.task import TESTED, FaceScoreTask
from raypipe.training.group import Group
from raypipe.training.loop import STEPS, VALIDATIONS, Trainer, read_log
from tests.support import evaluate_runs, pair_runs


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return evaluate_runs.reward_files(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return pair_runs.write(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def config_at(start, runs):
    def make(output, **changes) -> FaceScore:
        training = {
            "steps": 30,
            "batch": 8,
            "micro_batch": 4,
            "lr": 1e-3,
            "precision": "float32",
            "validate_every": 10,
        }
        tree = {
            "pairs": str(runs),
            "start": {"id": str(start)},
            "frozen": 0.0,
            "training": training | changes.pop("training", {}),
            "resamples": 199,
            "output": str(output),
        }
        return FaceScore.model_validate(tree | changes)

    return make


@pytest.fixture
def config(config_at, tmp_path):
    return partial(config_at, tmp_path / "run")


@pytest.fixture
def task(config):
    def make(**changes) -> FaceScoreTask:
        settings = config(**changes)
        pairs.prepare(settings.pairs, Folder(settings.output), settings.kinds)
        return FaceScoreTask(settings, settings.output, "cpu")

    return make


def test_a_micro_batch_depends_on_its_seed_alone(task):
    made, rows = task(), np.array([3, 0, 7, 5])
    first = made.load(rows, seed=1)
    assert first.shape == (2, 4, 3, 64, 64)
    assert torch.equal(first, made.load(rows, seed=1))
    others = [made.load(rows, seed=seed) for seed in range(2, 12)]
    assert any(not torch.equal(first, other) for other in others)
    plain = task(flip=False).load(rows, seed=1)
    for side in range(2):  # both sides of a pair are mirrored, or neither
        for i in range(4):
            kept = torch.equal(first[side, i], plain[side, i])
            mirrored = torch.allclose(first[side, i], plain[side, i].flip(-1), atol=0.05)
            assert kept or mirrored
            assert kept == torch.equal(first[1 - side, i], plain[1 - side, i])


def test_the_loss_is_that_of_bradley_and_terry(task):
    made = task()
    made.module.eval()
    batch = made.load(np.arange(6), seed=0)
    with torch.no_grad():
        told = made.losses(batch)
        good, bad = (made._scores(batch)[side].double().numpy() for side in range(2))
    assert told["loss"].numpy() == pytest.approx(np.log(1 + np.exp(bad - good)), abs=1e-6)
    assert told["accuracy"].tolist() == (good > bad).tolist()


def test_workers_share_the_validation(task):
    made = task()
    made.module.eval()
    with torch.no_grad():
        alone = made.validate(0, 1)
        shares = [made.validate(rank, 3) for rank in range(3)]
    assert set(alone) == {
        "accuracy",
        "accuracy photo",
        "accuracy roundtrip",
        "accuracy strength 0.8",
        "accuracy large",
    }
    for name, (right, count) in alone.items():
        told = [share[name] for share in shares if name in share]
        assert (sum(r for r, _ in told), sum(n for _, n in told)) == (right, count)
    assert alone["accuracy"][1] == 8


def test_frozen_layers_stay(task):
    made = task(frozen=0.7)
    trained = {name for name, p in made.module.named_parameters() if p.requires_grad}
    assert trained
    assert not [name for name in trained if "embeddings" in name]


@pytest.fixture(scope="module")
def trained(config_at, tmp_path_factory):
    """A short training on one process, to the end."""
    training = {"steps": 60, "batch": 16, "micro_batch": 16, "warmup": 10, "validate_every": 20}
    settings = config_at(tmp_path_factory.mktemp("run"), training=training)
    folder = Folder(settings.output)
    counts = pairs.prepare(settings.pairs, folder, settings.kinds)
    made = FaceScoreTask(settings, settings.output, "cpu")
    outcome = Trainer(made, settings.training, folder, best="accuracy").run()
    made.finish(outcome, Group(), folder)
    return settings, folder, counts


def test_it_learns_and_its_scores_are_those_of_the_saved_network(trained):
    settings, folder, _ = trained
    losses = [line["loss"] for line in read_log(folder, STEPS)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert read_log(folder, VALIDATIONS)[-1]["accuracy"] > 0.7
    scorer = load_reward(f"{settings.output}/model", "cpu")
    assert scorer.facts.kind == "face_score"
    tested = pq.read_table(folder.open(TESTED))
    crops = pairs.read_split(f"{settings.output}/data", "test")
    assert tested["pair_id"].to_pylist() == crops["pair_id"].to_pylist()
    for side in ("good", "bad"):
        pictures = [Image.open(io.BytesIO(row)) for row in crops[side].to_pylist()]
        assert scorer.score(pictures) == pytest.approx(tested[f"{side}_score"].to_numpy(), abs=1e-4)


def test_results_say_what_the_scores_say(trained):
    settings, folder, counts = trained
    told = face_score_results.results(settings, folder, counts)
    tested = pq.read_table(folder.open(TESTED)).to_pylist()
    right = [row["good_score"] > row["bad_score"] for row in tested]
    accuracy = told["test"]["pair_accuracy"]
    assert accuracy["value"] == pytest.approx(np.mean(right))
    assert accuracy["n"] == len(tested) == 8
    assert set(told["test"]["by_kind"]) == {row["kind"] for row in tested}
    assert set(told["test"]["by_tag"]) == {tag for row in tested for tag in row["tags"]}
    json.dumps(told, allow_nan=False)
    page = face_score_page.sheet(told, folder)
    assert len(page.sections[2].strips) == 8
    assert f"{accuracy['n']} pairs" in face_score_page.summary(told)


@pytest.mark.parametrize(
    ("losses", "told"),
    [([0.69] * 200, True), ([0.5] * 200, False), ([0.7] * 50 + [0.3] * 150, False)],
)
def test_a_loss_that_stays_at_ln_2_raises_an_alarm(config, losses, told):
    assert bool(face_score_results.alarm(config(), losses)) is told


def test_a_changed_setting_of_a_begun_run_is_refused(config):
    output = RunDirectory(config().output)
    output.begin(config())
    output.check(config(pools={"train": {"max": 2}}))
    with pytest.raises(Exception, match=r"this config changes training.lr of"):
        output.check(config(training={"lr": 0.1}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pools": {"train": {"max": 3}}}, "has 2 of 4 for 3 workers"),
        ({"start": {"id": "x", "backend": "upstream"}}, "start.backend must be port"),
        ({"start": {"id": "x", "precision": "bfloat16"}}, "training.precision is meant"),
        ({"pairs": []}, "at least 1 item"),
        ({"training": {"micro_batch": 9}}, "micro_batch must not exceed batch, got 9 > 8"),
    ],
)
def test_a_config_that_cannot_work_is_refused(config, change, told):
    with pytest.raises(ValidationError, match=told):
        config(**change)
