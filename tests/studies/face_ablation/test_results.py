"""The face ablation's plan and numbers, from runs written here, against plain numpy."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import yaml

from raypipe.errors import UserError
from raypipe.jobs.face_ablation import plan_jobs
from raypipe.report import sheet
from raypipe.storage import schema
from raypipe.studies.face_ablation import page as report
from raypipe.studies.face_ablation import results as ablation
from raypipe.studies.face_ablation.settings import FaceAblation

PROMPTS, SEEDS, TRAININGS = 12, 3, 2
LIFT = {"sft": 0.1, "guidance": 0.6}


@pytest.fixture
def config(tmp_path):
    train = yaml.safe_load(Path("configs/face_lora/miniature.yaml").read_text())
    train.pop("output")
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(train))
    question = {"prompts": ["a red ball", "a blue box"], "seeds": SEEDS}
    return {
        "train": str(file),
        "variants": {"sft": ["loss.kind=sft"], "guidance": ["loss.kind=guidance"]},
        "training_seeds": TRAININGS,
        "against": "sft",
        "faces": {**question, "metrics": [{"metric": "sharpness", "size": 64}]},
        "general": {**question, "metrics": [{"metric": "sharpness", "size": 64}]},
        "sampler": {"steps": 2, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "statistics": {"resamples": 499},
        "output": str(tmp_path / "run"),
    }


def made(tree):
    settings = FaceAblation.model_validate(tree)
    return settings, plan_jobs(settings)


def test_a_plan_is_every_variant_with_every_seed_beside_the_base(config):
    _, plan = made(config)
    assert [t.name for t in plan.trainings] == ["sft-0", "sft-1", "guidance-0", "guidance-1"]
    assert [t.config.training.seed for t in plan.trainings] == [0, 1, 0, 1]
    assert [t.config.loss.kind for t in plan.trainings] == ["sft"] * 2 + ["guidance"] * 2
    first = plan.trainings[0].config.output
    assert [t.config.encoded for t in plan.trainings] == [None, first, first, first]
    for pictures in plan.pictures.values():
        assert [m.name for m in pictures.models] == ["base", *(t.name for t in plan.trainings)]
        assert pictures.models[0].lora is None
        for model, training in zip(pictures.models[1:], plan.trainings, strict=True):
            assert model.lora.id == f"{training.config.output}/lora.safetensors"
    assert plan.scores["faces"].run == plan.pictures["faces"].output
    assert "4 LoRAs" in report.describe(plan)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"variants": {"base": []}}, "a variant's name must be"),
        ({"variants": {"a/b": []}}, "a variant's name must be"),
        ({"against": "dpo"}, "against must be one of the variants sft, guidance, got dpo"),
        ({"variants": {"sft": ["training.stepps=3"]}}, "stepps"),
        ({"variants": {"sft": ["model.id=miniature/sdxl"], "guidance": []}}, "the same base"),
        ({"output": "s3://bucket/run"}, "must be a path .* got s3://bucket/run"),
        ({"train": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_a_mistake_is_found_before_anything_is_trained(config, changed, told):
    with pytest.raises(UserError, match=told):
        made(config | changed)


def finished_runs(plan) -> dict[str, dict[str, np.ndarray]]:
    """Runs as the jobs leave them, and the scores (P, S) in them, by set and model."""
    rng = np.random.default_rng(0)
    truth: dict[str, dict[str, np.ndarray]] = {}
    for name, evaluate in plan.scores.items():
        level = rng.normal(0, 1, (PROMPTS, 1))
        truth[name] = {"base": level + rng.normal(0, 0.1, (PROMPTS, SEEDS))}
        for training in plan.trainings:
            lift = LIFT[training.variant] if name == "faces" else -0.01
            noise = rng.normal(0, 0.1, (PROMPTS, SEEDS))
            truth[name][training.name] = truth[name]["base"] + lift + noise
        rows = [
            dict.fromkeys(schema.TABLE.names, "")
            | {"reason": None, "status": schema.OK}
            | {"model": model, "prompt_id": f"p{p:02d}", "seed": s, "sharpness": float(score)}
            for model, scores in truth[name].items()
            for (p, s), score in np.ndenumerate(scores)
        ]
        Path(evaluate.output).mkdir(parents=True)
        columns = schema.TABLE.append(pa.field("sharpness", pa.float64()))
        table = pa.Table.from_pylist(rows, schema=columns)
        pq.write_table(table, f"{evaluate.output}/scores.parquet")
        Path(evaluate.output, "manifest.json").write_text('{"job": "evaluate", "config_hash": ""}')
    return truth


def test_the_numbers_are_those_of_the_runs(config):
    settings, plan = made(config)
    truth = finished_runs(plan)
    results = ablation.results(settings, plan)
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    by_key = {
        (c["set"], c["metric"], c["variant"], c["baseline"]): c for c in results["comparisons"]
    }
    assert by_key.keys() == {
        *(("faces", "sharpness", v, "base") for v in LIFT),
        ("faces", "sharpness", "guidance", "sft"),
        *(("general", "sharpness", v, "base") for v in LIFT),
    }
    faces = truth["faces"]
    for variant in LIFT:
        mine = np.stack([faces[f"{variant}-{seed}"] - faces["base"] for seed in range(TRAININGS)])
        told = by_key["faces", "sharpness", variant, "base"]
        d_P = mine.mean(axis=(0, 2))
        assert told["mean_change"] == pytest.approx(d_P.mean())
        assert told["low"] < d_P.mean() < told["high"]
        assert told["p_value"] == pytest.approx(scipy.stats.wilcoxon(d_P).pvalue)
        assert told["win_rate"] == pytest.approx((d_P > 0).mean())
        assert (told["prompts"], told["n"]) == (PROMPTS, PROMPTS * SEEDS * TRAININGS)
        single = [
            row["mean_change"]
            for row in results["by_seed"]
            if (row["set"], row["variant"]) == ("faces", variant)
        ]
        assert single == pytest.approx(mine.mean(axis=(1, 2)).tolist())
    against = np.mean([faces[f"guidance-{s}"] - faces[f"sft-{s}"] for s in range(TRAININGS)])
    assert by_key["faces", "sharpness", "guidance", "sft"]["mean_change"] == pytest.approx(against)


def test_general_ability_is_kept_when_a_loss_beyond_the_margin_is_excluded(config):
    settings, plan = made(config)
    truth = finished_runs(plan)
    spread = truth["general"]["base"].mean(axis=1).std(ddof=1)
    kept = ablation.results(settings, plan)["kept"]
    assert {(row["variant"], row["metric"]) for row in kept} == {
        (variant, "sharpness") for variant in LIFT
    }
    for row in kept:
        assert row["sd_of_prompts"] == pytest.approx(spread)
        assert row["largest_loss"] == pytest.approx(0.2 * spread)
        assert row["kept"]
    strict = settings.model_copy(update={"margin": 1e-3})
    assert not any(row["kept"] for row in ablation.results(strict, plan)["kept"])


def test_the_page_says_what_the_numbers_say(config):
    settings, plan = made(config)
    finished_runs(plan)
    results = ablation.results(settings, plan)
    page = sheet.render(report.sheet(results, []), ablation.manifest(settings, plan))
    lift = next(c["mean_change"] for c in results["comparisons"] if c["variant"] == "guidance")
    assert f"guidance raises sharpness by {lift:.3f}" in page
    assert "A loss of general ability beyond 0.2 standard deviations is excluded" in page
    assert page.count("<svg") == 2
    assert "guidance minus sft" in report.summary(results)
