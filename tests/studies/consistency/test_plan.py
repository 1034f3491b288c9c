"""A plan names every sample by what decides its picture, and by nothing else."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.storage import schema
from raypipe.studies.consistency.plan import batches, make_plan
from raypipe.studies.consistency.settings import Consistency
from tests.support.mistakes import mistake


def ids(plan) -> dict[tuple[str, str, int], str]:
    rows = plan.samples().to_pylist()
    return {(row["model"], row["prompt"], row["seed"]): row["sample_id"] for row in rows}


def test_a_plan_has_every_model_prompt_and_seed_in_the_order_asked_for(study):
    config = study()
    plan = make_plan(config)
    assert [(row["model"], row["prompt"], row["seed"]) for row in plan.samples().to_pylist()] == [
        (model.name, prompt, seed)
        for model in config.models
        for prompt in config.prompts
        for seed in config.seeds
    ]
    assert len(set(ids(plan).values())) == len(plan.samples()) == 18
    assert (len(plan.prompts), len(plan.seeds)) == (3, 3)
    assert plan.comparisons == (("sdxl", "pixart"),)
    assert plan.warnings == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": ["a green cone", "a red ball", "a blue box"]},
        {"seeds": [1, 4, 7]},
        {"pools": {"generate": {"batch_size": 5, "max": 4, "gpus_per_actor": 1}}},
        {"output": "elsewhere"},
        {"statistics": {"alpha": 0.01}},
        {"report": {"prompts": 1}},
        {"sampler": {"height": 32, "width": 32, "steps": 2, "guidance": 7.5}},
    ],
)
def test_a_samples_id_does_not_depend_on_its_surroundings(study, changes):
    assert ids(make_plan(study(**changes))) == ids(make_plan(study()))


def test_a_samples_id_does_not_depend_on_the_other_models_or_on_names(study, tiny_models):
    whole = ids(make_plan(study()))
    model = {"name": "renamed", "id": str(tiny_models.sdxl)}
    alone = ids(make_plan(study(models=[model], prompts=["a blue box"], seeds=[1, 9])))
    assert alone["renamed", "a blue box", 1] == whole["sdxl", "a blue box", 1]


def test_a_key_of_the_sampler_means_the_same_for_the_run_and_for_a_model(study, tiny_models):
    model = {"name": "sdxl", "id": str(tiny_models.sdxl)}
    sampler = {"steps": 3, "width": 32, "height": 32}
    for_all = make_plan(study(models=[model], sampler=sampler))
    for_one = make_plan(study(models=[{**model, "sampler": {"steps": 3}}]))
    assert ids(for_all) == ids(for_one)


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": {"scheduler": "ddim"}},
        {"sampler": {"steps": 3}},
        {"sampler": {"guidance": 7.0}},
        {"sampler": {"width": 40}},
        {"sampler": {"height": 40}},
        {"sampler": {"negative_prompt": ""}},
        {"dtype": "bfloat16"},
        {"options": {"clip_skip": 1}},
        {"prompt_suffix": " in oil"},
        {"lora": "lora"},
        {"vae": "vae"},
    ],
)
def test_every_key_of_a_model_and_its_sampler_makes_other_samples(study, tiny_models, change):
    places = {"lora": {"id": str(tiny_models.lora)}, "vae": str(tiny_models.sdxl / "vae")}
    change = {key: places.get(key, value) for key, value in change.items()}
    model = {"name": "sdxl", "id": str(tiny_models.sdxl)}
    before = ids(make_plan(study(models=[model])))
    after = ids(make_plan(study(models=[{**model, **change}])))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def test_variants_of_a_prompt_are_paired_by_the_prompt_before_their_suffix(study, tiny_models):
    base = {"name": "base", "id": str(tiny_models.sdxl), "prompt_suffix": " in the style of Monet"}
    lora = {"lora": {"id": str(tiny_models.lora)}, "prompt_suffix": " in the style of TOK"}
    plan = make_plan(study(models=[base, {**base, **lora, "name": "lora"}]))
    half = len(plan.samples()) // 2
    rows = plan.samples().to_pylist()
    for one, other in zip(rows[:half], rows[half:], strict=True):
        assert one["prompt_id"] == other["prompt_id"]
        assert one["prompt"] == other["prompt"]
        assert one["seed"] == other["seed"]
        assert one["sample_id"] != other["sample_id"]
        assert one["prompt_sent"] == one["prompt"] + " in the style of Monet"
        assert other["prompt_sent"] == other["prompt"] + " in the style of TOK"
    assert len({row["prompt_id"] for row in plan.samples().to_pylist()}) == 3


def test_two_entries_for_one_model_are_a_forgotten_key(study, tiny_models):
    one = {"name": "one", "id": str(tiny_models.sdxl)}
    same = {"name": "two", "id": str(tiny_models.sdxl), "sampler": {"steps": 2}}
    told = mistake(make_plan, study(models=[one, same]))
    assert told.startswith("models must differ in what they make, but one and two have the same ")
    make_plan(study(models=[one, {**same, "sampler": {"steps": 3}}]))
    make_plan(study(models=[one, {**same, "prompt_suffix": "!"}]))


def test_comparisons_are_all_pairs_or_those_asked_for(study, tree):
    root = tree({name: {"a cat": [0, 1]} for name in "abc"})
    found = {"models": [], "prompts": None, "seeds": None, "images": str(root)}
    assert make_plan(study(**found)).comparisons == (("a", "b"), ("a", "c"), ("b", "c"))
    assert make_plan(study(**found, comparisons=[["c", "a"]])).comparisons == (("c", "a"),)
    told = mistake(make_plan, study(**found, comparisons=[["c", "d"]]))
    assert told == "comparisons name unknown models: ['d']"


def test_a_duplicate_prompt_is_planned_once_with_a_warning(study):
    plan = make_plan(study(prompts=["a", "b", "a"]))
    assert len(plan.prompts) == 2
    assert plan.warnings == ("1 duplicate prompts are scored once: the config's list",)


def test_hostile_prompts_are_only_text(study, hostile):
    plan = make_plan(study(prompts=hostile))
    assert len(set(ids(plan).values())) == len(plan.samples()) == 2 * 3 * len(hostile)
    table = batches(plan.samples(), study(), 0)
    assert table["prompt"].to_pylist()[::3][: len(hostile)] == hostile


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(0, 9999),
)
def test_batches_are_neighbours_of_one_model_and_full(sizes, batch_size, part):
    models = [{"name": f"m{i}", "id": "x"} for i in range(len(sizes))]
    config = Consistency.model_validate(
        {
            "models": models,
            "prompts": ["p"],
            "seeds": 2,
            "output": "o",
            "pools": {"generate": {"batch_size": batch_size}},
        }
    )
    rows = [
        {
            "sample_id": f"{model}-{i}",
            "model": f"m{model}",
            "prompt_id": "p",
            "prompt": "p",
            "seed": i,
            "prompt_sent": "p",
            "source": None,
        }
        for model, size in enumerate(sizes)
        for i in range(size)
    ]
    table = batches(pa.Table.from_pylist(rows, schema=schema.PLANNED), config, part)
    assert table.schema == schema.SAMPLES
    assert table["sample_id"].to_pylist() == [row["sample_id"] for row in rows]
    batch_ids = table["batch_id"].to_pylist()
    assert batch_ids == sorted(batch_ids)  # neighbours, and files sort like the plan
    assert all(batch_id.startswith(f"{part:04d}-") for batch_id in batch_ids)
    filled = Counter(zip(table["model"].to_pylist(), batch_ids, strict=True))
    assert len(filled) == len(set(batch_ids)) == sum(-(-size // batch_size) for size in sizes)
    assert max(filled.values(), default=0) <= batch_size
