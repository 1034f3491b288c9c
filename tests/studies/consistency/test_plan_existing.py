"""Plans over pictures that exist, alone and beside models that generate."""

import pytest

from raypipe.studies.consistency.plan import batches, make_plan
from raypipe.studies.consistency.settings import Consistency
from tests.support.mistakes import mistake

TREE = {"one": {"a cat": [3, 1], "a dog": [1, 3]}, "two": {"a cat": [1, 3], "a dog": [3, 1]}}


@pytest.fixture
def over(tree, tiny_models, tmp_path):
    """Makes a config over a folder of pictures."""

    def make(pictures=TREE, **more):
        return Consistency.model_validate(
            {
                "images": str(tree(pictures)),
                "encoder": {"id": str(tiny_models.encoder)},
                "output": str(tmp_path / "run"),
                **more,
            }
        )

    return make


def test_all_that_is_found_is_taken(over, tmp_path):
    plan = make_plan(over())
    assert [model.name for model in plan.models] == ["one", "two"]
    assert [(row["model"], row["prompt"], row["seed"]) for row in plan.samples().to_pylist()] == [
        (model, prompt, seed)
        for model in ("one", "two")
        for prompt in ("a cat", "a dog")
        for seed in (1, 3)
    ]
    first = tmp_path / "pictures" / "one" / "a cat"
    assert plan.samples()["source"][1].as_py() == str(first / "3.png")
    assert len({row["sample_id"] for row in plan.samples().to_pylist()}) == 8


def test_a_picture_in_place_of_another_is_another_sample(over, tmp_path):
    before = make_plan(over()).samples().to_pylist()
    (tmp_path / "pictures" / "one" / "a cat" / "3.png").write_bytes(b"shorter")
    after = make_plan(over({})).samples().to_pylist()
    assert [a["sample_id"] == b["sample_id"] for a, b in zip(before, after, strict=True)] == [
        row["source"] != str(tmp_path / "pictures" / "one" / "a cat" / "3.png") for row in before
    ]


def test_models_must_have_the_same_seeds_and_the_others_are_named(over):
    told = mistake(make_plan, over({"one": {"a cat": [1, 2]}, "two": {"a cat": [1, 2, 3]}}))
    assert told == "all models must have images of the same seeds: one is missing 3"
    told = mistake(make_plan, over({}, seeds=[1, 2, 9]))
    assert told == (
        "all models must have images of the same seeds: one is missing 9; two is missing 9"
    )
    assert make_plan(over({}, seeds=[2, 1])).seeds == (2, 1)


def test_one_picture_a_prompt_is_not_enough(over):
    told = mistake(make_plan, over({"one": {"a cat": [1]}}))
    assert told == "a consistency score needs at least 2 seeds, got 1"


def test_a_missing_picture_has_an_empty_source(over):
    plan = make_plan(over({"one": {"a cat": [1, 2], "a dog": [1]}}))
    sources = {(row["prompt"], row["seed"]): row["source"] for row in plan.samples().to_pylist()}
    assert len(sources) == 4
    assert [key for key, source in sources.items() if not source] == [("a dog", 2)]


def test_a_models_name_must_be_one(over):
    told = mistake(make_plan, over({"my model": {"a cat": [1, 2]}}))
    assert told.startswith("a model's name must be letters, digits and . _ + -")
    assert "got 'my model' among the images" in told


def test_a_model_without_pictures_is_named(over):
    told = mistake(make_plan, over(models=[{"name": "three"}]))
    assert told == "no images of model three; there are ['one', 'two']"


def test_prompts_without_pictures_are_counted_and_the_first_is_named(over):
    told = mistake(make_plan, over(prompts=["a cat", "a bird", "a fish"]))
    assert told == "2 of 3 prompts have no images of model one, the first is 'a bird'"


def test_pictures_of_other_prompts_are_left_out_with_a_warning(over):
    plan = make_plan(over(prompts=["a dog"]))
    assert {row["prompt"] for row in plan.samples().to_pylist()} == {"a dog"}
    assert plan.warnings == (
        "one: images of 1 other prompts are left out",
        "two: images of 1 other prompts are left out",
    )


def test_one_models_spelling_of_a_prompt_is_no_other_prompt(over):
    plan = make_plan(over({"one": {"a cat!": [0, 1]}, "two": {"a_cat_": [0, 1]}}))
    assert len(plan.prompts) == 1
    assert [(row["prompt"], row["prompt_sent"]) for row in plan.samples().to_pylist()[::2]] == [
        ("a cat!", "a cat!"),
        ("a cat!", "a_cat_"),
    ]
    assert plan.samples()["prompt_id"][0] == plan.samples()["prompt_id"][2]


def test_two_prompts_that_are_alike_stay_two(over):
    texts = {"a cat!": [0, 1], "a cat?": [0, 1]}
    plan = make_plan(over({"one": texts, "two": texts}))
    assert len(plan.prompts) == 2
    assert all(row["prompt"] == row["prompt_sent"] for row in plan.samples().to_pylist())


def test_suffixes_pair_folders_of_sent_prompts(over):
    plan = make_plan(
        over(
            {"base": {"a cat": [0, 1]}, "lora": {"a cat in the style of TOK": [0, 1]}},
            models=[{"name": "base"}, {"name": "lora", "prompt_suffix": " in the style of TOK"}],
        )
    )
    assert {row["prompt"] for row in plan.samples().to_pylist()} == {"a cat"}
    assert len({row["prompt_id"] for row in plan.samples().to_pylist()}) == 1


def test_pictures_and_a_generating_model_go_together(over, tiny_models):
    config = over(
        models=[{"name": "one"}, {"name": "sdxl", "id": str(tiny_models.sdxl)}],
        prompts=["a cat", "a dog"],
        seeds=[1, 3],
        sampler={"steps": 1, "width": 32, "height": 32},
        pools={"read": {"batch_size": 3}, "generate": {"batch_size": 2}},
    )
    plan = make_plan(config)
    assert len(plan.samples()) == 8
    assert [bool(row["source"]) for row in plan.samples().to_pylist()] == [True] * 4 + [False] * 4
    assert all(row["source"] is None for row in plan.samples().to_pylist()[4:])
    sizes = [3, 3, 3, 1, 2, 2, 2, 2]
    batch_ids = batches(plan.samples(), config, 0)["batch_id"]
    counts = batch_ids.value_counts().to_pylist()
    by_id = {count["values"]: count["counts"] for count in counts}
    assert [by_id[batch_id] for batch_id in batch_ids.to_pylist()] == sizes
