"""Pictures that exist are listed completely, or refused with the reason."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.config.inputs import Images
from raypipe.inputs.pictures import check_seeds, list_pictures, match_prompts, seeds_by_model
from raypipe.storage.files import open_uri
from tests.support.mistakes import mistake

MODELS = {"one": {"a cat": [0, 12], "a dog": [3]}, "two": {"a cat": [0]}}
FOUND = [("one", "a cat", 0), ("one", "a cat", 12), ("one", "a dog", 3), ("two", "a cat", 0)]


def keys(pictures):
    return [(picture.model, picture.prompt, picture.seed) for picture in pictures]


def test_a_folder_is_listed_in_one_order_with_sizes(tree):
    root = tree(MODELS)
    pictures = list_pictures(Images(folder=str(root)))
    assert keys(pictures) == FOUND
    assert pictures == list_pictures(Images(folder=f"{root}/"))
    for picture in pictures:
        file = root / picture.model / picture.prompt / f"{picture.seed}.png"
        assert picture.source == str(file)
        assert picture.size == file.stat().st_size


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_source_opens_whatever_the_prompt_looks_like(tree, scheme):
    names = ["a b#c", "100%25 ?", "é 😀", "a+b&c"]
    root = tree({"one": {name: [5] for name in names}})
    pictures = list_pictures(Images(folder=f"{scheme}{root}"))
    assert {picture.prompt for picture in pictures} == set(names)
    for picture in pictures:
        filesystem, path = open_uri(picture.source)
        data = filesystem.open_input_file(path).read()
        assert data == (root / "one" / picture.prompt / "5.png").read_bytes()


def test_the_order_is_not_the_file_systems(tree):
    names = [f"prompt {i}" for i in range(30)]
    root = tree({"one": {name: [5] for name in reversed(names)}})
    assert [p.prompt for p in list_pictures(Images(folder=str(root)))] == sorted(names)


def test_other_files_beside_the_pictures_do_no_harm(tree):
    root = tree(MODELS)
    for stray in ("README.md", "one/.DS_Store", "one/a cat/prompt.txt", "thumbs.db"):
        (root / stray).write_text("x")
    assert keys(list_pictures(Images(folder=str(root)))) == FOUND


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp", "PNG"])
def test_pictures_may_be_of_several_kinds(tree, suffix):
    root = tree({"one": {"a cat": [0, 1]}})
    (root / "one" / "a cat" / "1.png").rename(root / "one" / "a cat" / f"1.{suffix}")
    assert len(list_pictures(Images(folder=str(root)))) == 2


@pytest.mark.parametrize(
    "stray", ["0.png", "one/0.png", "one/a cat/x.png", "one/a cat/².png", "one/a cat/0/0.png"]
)
def test_a_picture_in_the_wrong_place_is_named(tree, stray):
    root = tree(MODELS)
    (root / stray).parent.mkdir(exist_ok=True)
    (root / stray).write_bytes(b"x")
    told = f"an image must lie at <root>/<model>/<prompt>/<seed>.png, got {stray}"
    assert mistake(list_pictures, Images(folder=str(root))) == told


@pytest.mark.parametrize("twin", ["0.jpg", "00.png"])
def test_two_pictures_of_one_sample_are_refused(tree, twin):
    folder = tree(MODELS) / "one" / "a cat"
    (folder / twin).write_bytes(b"x")
    told = mistake(list_pictures, Images(folder=str(folder.parents[1])))
    assert told.startswith("one image per model, prompt and seed, got two: ")
    assert f"{folder}/0.png" in told
    assert f"{folder}/{twin}" in told


def test_a_folder_without_pictures_is_refused(tmp_path):
    told = "no images found (a folder must be <root>/<model>/<prompt>/<seed>.png): "
    assert mistake(list_pictures, Images(folder=str(tmp_path))) == f"{told}{tmp_path}"
    (tmp_path / "one" / "a cat").mkdir(parents=True)
    assert mistake(list_pictures, Images(folder=str(tmp_path))) == f"{told}{tmp_path}"
    absent = str(tmp_path / "absent")
    assert mistake(list_pictures, Images(folder=absent)) == f"image folder not found: {absent}"
    (tmp_path / "file").write_text("x")
    assert "cannot be read" in mistake(list_pictures, Images(folder=str(tmp_path / "file")))


GOOD = {"model": ["one"], "prompt": ["a cat"], "seed": [7], "image": [b"png"]}


def test_parquet_is_listed_across_files_and_row_groups(tmp_path):
    for part in range(2):
        seeds = range(10 * part, 10 * part + 5)
        rows = {"model": ["one"] * 5, "prompt": ["a cat"] * 5, "seed": seeds, "image": [b"x"] * 5}
        pq.write_table(pa.table(rows), tmp_path / f"{part}.parquet", row_group_size=2)
    pictures = list_pictures(Images(parquet=str(tmp_path)))
    assert [picture.seed for picture in pictures] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert [picture.source.rpartition("/")[2] for picture in pictures[4:6]] == [
        "0.parquet#4",
        "1.parquet#0",
    ]
    assert len(list_pictures(Images(parquet=str(tmp_path / "1.parquet")))) == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": None}, "Parquet images need columns ['model', 'prompt', 'seed', 'image'], "),
        ({"seed": ["7"]}, "its seed a whole number, got 'one', 'a cat', '7' at "),
        ({"seed": [7.5]}, "its seed a whole number, got 'one', 'a cat', 7.5 at "),
        ({"prompt": [None]}, "must be text and its seed a whole number, got 'one', None, 7 at "),
        ({"image": ["x.png"]}, "Parquet images must be encoded bytes, got string: "),
        ({"model": [], "prompt": [], "seed": [], "image": []}, "Parquet images must be encoded"),
    ],
)
def test_parquet_of_another_shape_is_refused(tmp_path, change, told):
    columns = {name: values for name, values in {**GOOD, **change}.items() if values is not None}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path)
    assert told in mistake(list_pictures, Images(parquet=str(path)))


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("nothing of the kind")
    for name in ("x.parquet", "absent.parquet"):
        assert "Parquet images cannot be read" in mistake(
            list_pictures, Images(parquet=str(tmp_path / name))
        )
    (tmp_path / "empty").mkdir()
    assert mistake(list_pictures, Images(parquet=str(tmp_path / "empty")))


def test_differing_seeds_are_named_by_model():
    seeds = {"one": {1, 2, 3}, "two": {1, 2, 3}}
    assert check_seeds(seeds) == [1, 2, 3]
    seeds = {"one": {1, *range(10, 20)}, "two": {1, 2}, "three": {1, 2, *range(10, 20)}}
    assert mistake(check_seeds, seeds) == (
        "all models must have images of the same seeds: "
        "one is missing 2; two is missing 10, 11, 12, 13, 14 ..."
    )


def test_seeds_are_gathered_over_a_models_prompts(tree):
    pictures = list_pictures(Images(folder=str(tree(MODELS))))
    assert seeds_by_model(pictures) == {"one": {0, 3, 12}, "two": {0}}


def test_prompts_are_found_as_sent_as_kept_or_by_their_letters():
    found = {"a cat, in the style of X", "a dog", "A_bird_ (red)", "other"}
    assert match_prompts(
        ["a cat", "a dog", "a bird: red", "a fish"], ", in the style of X", found
    ) == {
        "a cat": "a cat, in the style of X",
        "a dog": "a dog",
        "a bird: red": "A_bird_ (red)",
    }


def test_an_exact_text_goes_before_one_that_is_only_alike():
    assert match_prompts(["a cat", "a cat!"], "", {"a cat!", "a cat"}) == {
        "a cat": "a cat",
        "a cat!": "a cat!",
    }
    assert match_prompts(["a_cat", "a cat"], "", {"a cat"}) == {"a cat": "a cat"}


@given(
    st.lists(st.text("ab_! ", min_size=1, max_size=4), unique=True),
    st.sampled_from(["", " b", "!"]),
    st.sets(st.text("ab_! ", min_size=1, max_size=6)),
)
def test_no_picture_stands_for_two_prompts(prompts, suffix, found):
    matches = match_prompts(prompts, suffix, found)
    assert set(matches) <= set(prompts)
    assert set(matches.values()) <= found
    assert len(set(matches.values())) == len(matches)
