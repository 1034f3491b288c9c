"""The face LoRA job before anything runs: what it plans, what it refuses, and what it imports."""

from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from raypipe.config.training import Adapter
from raypipe.errors import UserError
from raypipe.models.lora.adapter import check_adapter
from raypipe.studies.face_lora import plan as lora_plan
from raypipe.studies.face_lora import run as face_lora_run
from tests.support import finish_run, lora_runs, pair_runs
from tests.support.jobs import run_here, save
from tests.support.mistakes import mistake, refusal


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    pair_runs.write(root / "pairs", 12)
    lora_runs.write_general(root / "general")
    return root


@pytest.fixture
def config(inputs, tmp_path):
    def make(**changes):
        changes = {"general": str(inputs / "general"), "loss": {"keep": 1.0}} | changes
        pairs = changes.pop("pairs", inputs / "pairs")
        return lora_runs.config(pairs, tmp_path / "run", **changes)

    return make


def test_the_plan_has_every_pair_that_will_do_and_counts_the_others(config):
    pictures, texts, counts = lora_plan.plan(config(kinds=["photo"]))
    assert counts == {
        "train": 7,  # of eight: pairs 0, 5 and 10 are roundtrips, in train, test and validation
        "validation": 1,
        "test": 2,
        "other kind": 2,
        "general": 17,  # nine of ten prompts, one picture quarantined
        "general_validation": 2,
        "refused": 1,
    }
    rows = pictures.to_pylist()
    assert len(rows) == 7 + 1 + 17 + 2
    assert {row["text_id"] for row in rows} < set(texts["text_id"].to_pylist())
    assert texts["text"].to_pylist()[0] == ""
    assert len(set(texts["text"].to_pylist())) == len(texts)


def test_two_pair_runs_are_planned_one_after_the_other(config, inputs, tmp_path):
    more = pair_runs.write(tmp_path / "more", 12, first=100)
    one = lora_plan.plan(config(kinds=["photo"]))[2]
    runs = (str(inputs / "pairs"), str(more))
    both = lora_plan.plan(config(kinds=["photo"]).model_copy(update={"pairs": runs}))[2]
    assert both["train"] == 2 * one["train"]


def test_general_pictures_come_with_the_keep_term_alone(config):
    pictures, _, counts = lora_plan.plan(config(loss={"keep": 0.0}))
    assert "general" not in counts
    assert set(pictures["role"].to_pylist()) == {"train", "validation"}


def test_a_prompt_of_general_pictures_is_trained_on_or_held_out(config, inputs):
    pictures, texts, _ = lora_plan.plan(config())
    text_of = dict(zip(texts["text_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
    seen = {"general": set(), "general_validation": set()}
    for row in pictures.to_pylist():
        if row["role"] in seen:
            seen[row["role"]].add(text_of[row["text_id"]])
    assert seen["general"]
    assert seen["general_validation"]
    assert not seen["general"] & seen["general_validation"]


def test_captions_have_the_models_suffix(config):
    model = lora_runs.MINIATURE | {"prompt_suffix": ", film"}
    _, texts, _ = lora_plan.plan(config(model=model, samples={"prompts": ["a man"]}))
    told = {row["text"]: row["must_fit"] for row in texts.to_pylist()}
    assert told["a person, film"] is False
    assert told["a man, film"] is True
    assert told[""] is False


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"sampler": {"width": 128, "height": 128}},
            "of 128 pixels or more for train, got none; there are: 2 other",
        ),
        ({"kinds": ["generated"]}, "for train, got none; there are: 17 general, "),
    ],
)
def test_inputs_without_a_row_for_every_role_are_refused(config, changes, told):
    changes = {"kinds": ["photo"]} | changes
    with pytest.raises(UserError, match=told):
        lora_plan.plan(config(**changes))


def test_inputs_must_be_finished_runs(config, inputs, tmp_path):
    unfinished = pair_runs.write(tmp_path / "unfinished", 6, finished=False)
    with pytest.raises(UserError, match=r"pairs must be a finished run of jobs/face_pairs\.py"):
        lora_plan.check_inputs(config(pairs=unfinished))
    with pytest.raises(UserError, match="general must be a finished run of jobs/consistency"):
        lora_plan.check_inputs(config(general=str(inputs / "pairs")))
    lora_plan.check_inputs(config())


def test_the_base_must_be_a_text_to_image_model_of_a_known_family(config):
    model = {"name": "pixart", "id": "miniature/pixart"}
    with pytest.raises(UserError, match=r"must be of Stable Diffusion 1\.5 or SDXL, for text to"):
        lora_plan.check_base(config(model=model))


def test_a_plan_is_kept_and_changed_inputs_are_refused(config):
    settings = config()
    run = face_lora_run.LoraRun(settings.output)
    run.begin(settings)
    pictures, texts, _ = lora_plan.plan(settings)
    lora_plan.keep_plan(run, pictures, texts)
    other = config(pools={"encode": {"batch_size": 5}})
    lora_plan.keep_plan(run, *lora_plan.plan(other)[:2])  # other batches of the same rows
    assert run.samples().equals(pictures)
    with pytest.raises(UserError, match=r"are not those that .* was begun with"):
        lora_plan.keep_plan(run, pictures.slice(1), texts)


def test_a_base_whose_weights_changed_is_refused(config):
    settings = config()
    run = face_lora_run.LoraRun(settings.output)
    base = lora_plan.check_base(settings)
    run.check_model(base)
    run.begin(settings, model=base)
    run.check_model(base)
    with pytest.raises(UserError, match="the weights of the model are not those"):
        run.check_model(base | {"weights": "other"})


def test_pictures_that_another_run_has_encoded_are_used_if_they_are_the_same(config):
    settings = config(loss={"keep": 0.0})
    base = lora_plan.check_base(settings)
    pictures, texts, _ = lora_plan.plan(settings)
    run = face_lora_run.LoraRun(settings.output)
    with pytest.raises(UserError, match=r"a run of .* with the same pairs, general"):
        lora_plan.check_encoded(run.uri, pictures, texts, base)
    run.begin(settings, model=base)
    lora_plan.keep_plan(run, pictures, texts)
    with pytest.raises(UserError, match=r"but .* has \d+ files missing"):
        lora_plan.check_encoded(run.uri, pictures, texts, base)
    for batch in (*run.samples()["batch_id"].to_pylist(), *texts["batch_id"].to_pylist()):
        run.folder.write(f"data/{batch}.arrow", b"")
    lora_plan.check_encoded(run.uri, pictures, texts, base)
    with pytest.raises(UserError, match="the weights of the model are not those"):
        lora_plan.check_encoded(run.uri, pictures, texts, base | {"weights": "other"})
    with_general, its_texts, _ = lora_plan.plan(config())
    with pytest.raises(UserError, match="with the same pairs, general pictures and texts"):
        lora_plan.check_encoded(run.uri, with_general, its_texts, base)


def test_workers_get_absolute_paths(config):
    from raypipe.studies.face_lora.work import _pinned  # loads what the driver needs

    assert _pinned(config()).encoded is None
    assert _pinned(config(encoded="runs/other")).encoded == str(Path("runs/other").absolute())


def test_pairs_that_another_family_painted_are_refused(config, inputs, tmp_path):
    painted = pair_runs.write(tmp_path / "painted", 6)
    finish_run(painted, "face_pairs", model=lora_runs.MINIATURE)
    lora_plan.check_inputs(config(pairs=painted))
    model = {"name": "sdxl", "id": "miniature/sdxl"}
    told = mistake(lora_plan.check_inputs, config(pairs=painted, model=model))
    assert "must be of the family that inpainted the pairs, but sdxl is SDXL and " in told
    assert "miniature/sd15, Stable Diffusion 1.5" in told


@pytest.mark.parametrize("target", ["to_q", "to_out.0", "conv1", "mid_block.resnets.0.conv1"])
def test_targets_are_ends_of_layers_names(config, target):
    check_adapter(config().model, Adapter(rank=4, targets=(target,)))


@pytest.mark.parametrize("target", ["to_x", "o_q", "norm1", "attn1"])
def test_a_target_that_no_layer_has_is_refused(config, target):
    with pytest.raises(UserError, match=rf"must be ends .* got {target}; there are .*\bto_q\b"):
        check_adapter(config().model, Adapter(rank=4, targets=("to_k", target)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"general": None}, "loss.keep needs general"),
        ({"model": {"name": "a", "id": "zoo/sd15"}}, "must be float32 or bfloat16"),
        (
            {"model": lora_runs.MINIATURE | {"lora": {"id": "miniature/lora"}}},
            "the base must come without a LoRA, got miniature/lora",
        ),
        ({"sampler": {"width": 64, "height": 72}}, "must be equal, got 64×72"),
        ({"pools": {"train": {"max": 3}}}, "has 2 of 2 for 3 workers"),
        ({"adapter": {"rank": 0}}, "greater than or equal to 1"),
        ({"training": {"ema": 1.0}}, "less than 1"),
    ],
)
def test_a_config_that_cannot_work_is_refused(config, change, told):
    with pytest.raises(ValidationError, match=told):
        config(**change)


job = partial(run_here, "face_lora")


@pytest.fixture
def path(config, tmp_path):
    tree = config(adapter={"rank": 4, "targets": ["to_q"]}).model_dump(mode="json")
    return save(tree, tmp_path / "config.yaml")


def test_a_dry_run_tells_the_plan_and_leaves_no_trace(path, tmp_path):
    done = job(path, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "would train a LoRA of rank 4 on to_q of miniature/sd15 for 8 steps" in done.stderr
    assert "8 train" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pairs=docs"], "pairs must be a finished run of jobs/face_pairs.py, got docs"),
        (["adapter.targets=[to_k, to_w]"], "got to_w; there are "),
        (
            [f"samples.prompts=[{'a red ball and ' * 30}]"],
            "a prompt of samples must have at most 77 tokens, got ",
        ),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_no_trace(path, tmp_path, arguments, told):
    assert told in refusal(job(path, *arguments))
    assert not (tmp_path / "run").exists()
