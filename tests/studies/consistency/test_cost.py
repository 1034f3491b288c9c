"""Rates out of runs, and costs out of rates, against numbers worked out by hand."""

import subprocess
import sys

import pyarrow as pa
import pytest
import yaml

from raypipe.config.strict import load
from raypipe.engine.stage import SECONDS
from raypipe.errors import UserError
from raypipe.storage import schema
from raypipe.storage.directory import config_hash
from raypipe.storage.names import batch_file
from raypipe.studies.consistency.cost import describe, estimate, missing, seconds
from raypipe.studies.consistency.plan import batches, make_plan
from raypipe.studies.consistency.rates import Rate, Rates, measure, read_rates, settings_of
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from tests.support import ROOT

LOADING_S, EMBED_S = 7.0, 0.01


@pytest.fixture
def ask(tmp_path):
    """Makes a config of one or two models at 64 × 64 in batches of four, with changes."""

    def ask(**changes) -> Consistency:
        tree = {
            "models": [{"name": "m", "id": "miniature/sdxl"}],
            "prompts": ["a red ball", "a blue box"],
            "seeds": 7,
            "sampler": {"steps": 20, "width": 64, "height": 64},
            "encoder": {"id": "miniature/clip"},
            "pools": {"generate": {"batch_size": 4}, "embed": {"cpus_per_actor": 0.5}},
            "output": str(tmp_path / "run"),
        }
        return Consistency.model_validate({**tree, **changes})

    return ask


def write(config: Consistency, second_a_picture: float, device: str = "cpu") -> Run:
    """A finished run, by hand: the first batch carries what loading took, the last is not full."""
    run = Run(config.output)
    run.begin(config, encoders={})
    plan = make_plan(config)
    samples = batches(plan.samples(), config, 0)
    run.add_samples(samples, 0)
    for i, batch_id in enumerate(samples["batch_id"].unique().to_pylist()):
        mine = [row for row in samples.to_pylist() if row["batch_id"] == batch_id]
        image = {"device": device, "truncated": False, "status": schema.OK}
        rows = [{name: row.get(name) for name in schema.IMAGES.names} | image for row in mine]
        held = [len(mine) * each + (0 if i else LOADING_S) for each in (second_a_picture, EMBED_S)]
        images = pa.Table.from_pylist(rows, schema=schema.IMAGES)
        for file, seconds_held in zip(
            (
                f"images/{batch_id}.parquet",
                batch_file("embeddings", config.encoder[0].name, batch_id),
            ),
            held,
            strict=True,
        ):
            kept = images if file.startswith("images") else images.select(["sample_id"])
            run.write_table(file, kept.replace_schema_metadata({SECONDS: f"{seconds_held:.4f}"}))
    content = {"job": "consistency", "config": config.model_dump(mode="json")}
    run.finish({**content, "config_hash": config_hash(config)})
    return run


def rate(step="generate", **changes) -> Rate:
    of_generate = {
        "dtype": "float32",
        "width": 64,
        "height": 64,
        "guided": 1.0,
        "compiled": False,
        "lora": False,
        "offload": "none",
        "steps": 20,
    }
    row = {"step": step, "device": "cpu", "threads": 1, "batch": 4, "seconds": 0.5, "loading": 3}
    model = "miniature/sdxl" if step == "generate" else "miniature/clip"
    extra = of_generate if step == "generate" else {}
    return Rate(**{**row, "model": model, **extra, **changes})


def test_rates_come_out_of_a_run_and_predict_it(ask):
    config = ask()
    rates = measure(write(config, 0.5))  # 14 pictures: batches of 4, 4, 4 and 2
    assert rates == [
        rate(seconds=0.5, loading=LOADING_S),
        rate("embed", seconds=EMBED_S, loading=LOADING_S),
    ]
    found = estimate(config, Rates(rates=rates), {"m": (14, 14)}, "cpu")
    assert found.held_s == pytest.approx({"generate": 14 * 0.5 + 7, "embed": 14 * 0.01 + 7})
    assert found.wall_s == pytest.approx(14)


def test_pools_share_the_time_and_each_actor_loads(ask):
    config = ask(pools={"generate": {"batch_size": 4, "max": 2}, "embed": {"max": 9}})
    rates = Rates(rates=[rate(), rate("embed", seconds=0.1, loading=1)])
    found = estimate(config, rates, {"m": (14, 14)}, "cpu")
    # two of four batches for each generator; four embedders, since there are four batches
    assert found.held_s == pytest.approx({"generate": 14 * 0.5 + 2 * 3, "embed": 14 * 0.1 + 4})
    assert found.wall_s == pytest.approx(8 * 0.5 + 3)


def test_steps_are_read_off_the_line_through_those_measured(ask):
    rows = [rate(steps=10, seconds=0.3), rate(steps=20, seconds=0.5, loading=5)]
    assert seconds(rows, 20) == (0.5, 5)
    assert seconds(rows, 40)[0] == pytest.approx(0.9)  # 0.1 and 0.02 a step
    assert seconds(rows[1:], 40)[0] == pytest.approx(1.0)
    config = ask(sampler={"steps": 40, "width": 64, "height": 64})
    rates = Rates(rates=[rate(), rate("embed")])
    assert "\n  miniature/sdxl: scaled from 20 steps" in describe(config, rates, {"m": (4, 4)})


def test_dollars_are_for_all_that_the_pools_hold(ask):
    pools = {
        "generate": {"max": 8, "gpus_per_actor": 0.9, "batch_size": 4},
        "embed": {"max": 8, "gpus_per_actor": 0.1},
    }
    config, gpu = ask(pools=pools), {"device": "NVIDIA H200", "threads": None, "loading": 0}
    rows = [rate(seconds=36, **gpu), rate("embed", seconds=0.36, **gpu), rate()]
    rates = Rates(rates=rows, dollars_per_hour={"NVIDIA H200": 3})
    assert describe(config, rates, {"m": (800, 1000)}) == (
        "cost on NVIDIA H200: 8.10 device-hours (generate 8.00, embed 0.1), "
        "1.00 hours with every pool at its largest, 24.00 dollars for 8 at 3 an hour"
    )
    assert "dollars" not in describe(config, Rates(rates=rows), {"m": (800, 1000)})


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": {"steps": 20, "width": 64, "height": 72}},
        {"sampler": {"steps": 20, "width": 64, "height": 64, "guidance": 1}},
        {"sampler": {"steps": 20, "width": 64, "height": 64, "scheduler": "ddim"}},
        {"models": [{"name": "m", "id": "miniature/sdxl", "dtype": "bfloat16"}]},
        {"models": [{"name": "m", "id": "miniature/sdxl", "lora": {"id": "miniature/lora"}}]},
        {"models": [{"name": "m", "id": "miniature/sd15"}]},
        {"pools": {"generate": {"batch_size": 4, "cpus_per_actor": 2}}},
        {"pools": {"generate": {"batch_size": 4, "gpus_per_actor": 1}}},
    ],
)
def test_what_was_not_measured_has_no_estimate(ask, changes):
    config, rates = ask(**changes), Rates(rates=[rate(), rate("embed")])
    name = config.models[0].id
    assert describe(config, rates, {"m": (4, 4)}) == (
        f"cost: not known, configs/rates.yaml has no rate at these settings for {name} (generate); "
        "finish a small run of them, then: python -m raypipe rates RUN >> configs/rates.yaml"
    )


def test_only_what_is_missing_in_a_run_is_counted(ask):
    config = ask()
    run = write(config, 0.5)
    more = make_plan(ask(seeds=9)).samples()
    new = run.new_samples(more)
    assert missing(run, config, new) == {"m": (4, 4)}
    run.folder.delete("images/0000-00000003.parquet")
    run.folder.delete(batch_file("embeddings", config.encoder[0].name, "0000-00000000"))
    assert missing(run, config, new) == {"m": (4 + 2, 4 + 2 + 4)}


def test_pictures_that_exist_cost_their_embedding_only(ask):
    config = ask(models=[], images="pictures", pools={"read": {"batch_size": 4}})
    assert settings_of(config, "found", "cpu")[0] is None
    found = estimate(config, Rates(rates=[rate("embed", loading=0)]), {"found": (8, 8)}, "cpu")
    assert found.held_s == {"embed": 4}


def test_a_run_that_cannot_tell_is_refused(ask, tmp_path):
    with pytest.raises(UserError, match="rates need a finished run"):
        measure(Run(str(tmp_path / "nothing")))
    with pytest.raises(UserError, match="at least 3 batches of 4, got 1 of miniature/sdxl"):
        measure(write(ask(seeds=2, output=str(tmp_path / "small")), 0.5))
    with pytest.raises(UserError, match="name the one kind of device, got NVIDIA X in "):
        measure(write(ask(output=str(tmp_path / "gpu")), 0.5, device="NVIDIA X"))


def test_the_table_changes_neither_pictures_nor_what_is_finished(ask):
    assert config_hash(ask()) == config_hash(ask(rates="mine.yaml"))
    run = write(ask(), 0.5)
    run.check(ask(rates="mine.yaml"))
    assert run.is_finished(ask(rates="mine.yaml"))


def test_only_the_default_table_may_be_absent(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_rates(ask()) == Rates()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("rates: [{step: paint}]", "rates.0.step: Input should be 'generate' or 'embed'"),
        ("rats: []", "unknown key rats; did you mean rates?"),
        ("dollars_per_hour: {cpu: -1}", "greater than or equal to 0, got -1"),
        ("[1]", "config file must hold a mapping of keys: "),
        (
            "rates: [{step: generate, model: m, device: d, batch: 1, seconds: 1, loading: 0}]",
            "generate must have steps and embed none, got None",
        ),
        (None, "config file cannot be read: "),
    ],
)
def test_a_bad_table_is_one_mistake(ask, tmp_path, content, told):
    path = tmp_path / "rates.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        read_rates(ask(rates=str(path)))
    assert told in str(caught.value)


def test_the_commands_of_a_newcomer(ask, tmp_path):
    """A run's rates appended to a table, which a dry run then reads."""

    def call(*arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    run, table = write(ask(), 0.5), tmp_path / "rates.yaml"
    done = call("-m", "raypipe", "rates", run.uri)
    assert (done.returncode, done.stderr) == (0, "")
    table.write_text("dollars_per_hour: {cpu: 3600}\nrates:\n" + done.stdout)
    config = ask(rates=str(table), output=str(tmp_path / "other"), seeds=14)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    done = call("jobs/consistency.py", path, "--dry-run")
    assert done.returncode == 0
    # 28 pictures × 0.5 s + 7 s of loading; 28 × 0.01 s + 7 s; one core and a half, paid as two
    assert done.stderr.endswith(
        "cost on cpu: 0.0079 device-hours (generate 0.0058, embed 0.002), "
        "0.0058 hours with every pool at its largest, 42.00 dollars for 2 at 3600 an hour\n"
    )
    done = call("-m", "raypipe", "rates", tmp_path / "nothing")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_the_demo_has_rates(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/consistency/miniature.yaml", (), Consistency)
    lacks = {model.name: (96, 96) for model in config.models}
    assert not estimate(config, read_rates(config), lacks, "cpu").unknown
