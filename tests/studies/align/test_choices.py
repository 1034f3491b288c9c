"""Human choices: every layout and format, and everything that can be wrong with them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.errors import UserError
from raypipe.storage import schema
from raypipe.studies.align.choices import decide, read_choices

ROWS = [
    {"left_id": "a", "right_id": "b", "choice": "left", "annotator": "p", "subset": "weak"},
    {"left_id": "c", "right_id": "d", "choice": "right", "annotator": "p", "subset": "strong"},
    {"left_id": "b", "right_id": "a", "choice": "tie", "annotator": "q", "subset": "weak"},
]


def answers(*rows):
    """Answers given as (left, right, choice, annotator) and more columns by name."""
    names = ("left_id", "right_id", "choice", "annotator")
    filled = [{**dict(zip(names, row[:4], strict=False)), **(row[4:] or ({},))[0]} for row in rows]
    return pa.Table.from_pylist(filled, schema=schema.CHOICES)


def saved(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return str(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".jsonl"])
def test_our_own_layout_in_every_format(tmp_path, suffix):
    table = read_choices(saved(tmp_path / f"choices{suffix}", ROWS))
    assert table.schema == schema.CHOICES
    assert table.select(list(ROWS[0])).to_pylist() == ROWS
    assert table["photo_id"].null_count == 3


def test_numbers_are_ids_and_blank_cells_are_nothing(tmp_path):
    (tmp_path / "c.csv").write_text("left_id,right_id,choice,annotator\n1,2,left,\n")
    assert read_choices(str(tmp_path / "c.csv")).to_pylist()[0] == {
        "left_id": "1", "right_id": "2", "choice": "left", "annotator": None, "prompt": None,
        "photo_id": None, "subset": None,
    }  # fmt: skip


IMAGE_REWARD = [
    {
        "id": "005658-0040",
        "prompt": "a portal",
        "generations": ["x/0.webp", "x/1.webp", "x/2.webp"],
        "ranking": [2, 1, 2],
    },
    {"id": "005664-0153", "prompt": "cola", "generations": ["y/0", "y/1"], "ranking": [1, 5]},
]


def test_image_rewards_test_set(tmp_path):
    table = read_choices(saved(tmp_path / "test.json", IMAGE_REWARD))
    told = table.select(["left_id", "right_id", "choice", "photo_id"]).to_pylist()
    assert [tuple(row.values()) for row in told] == [
        ("x/0.webp", "x/1.webp", "right", "005658-0040"),
        ("x/0.webp", "x/2.webp", "tie", "005658-0040"),
        ("x/1.webp", "x/2.webp", "left", "005658-0040"),
        ("y/0", "y/1", "left", "005664-0153"),
    ]
    assert decide(table).ties == 1


def test_hpds_test_and_training_files(tmp_path):
    test = [
        {
            "prompt": "a cat",
            "image_path": ["0.jpg", "1.jpg", "2.jpg"],
            "rank": [1.5, 0.2, 2.3],
            "raw_annotation": [{"rank": [1, 0, 2], "user_hash": "u"}],
        }
    ]
    table = read_choices(saved(tmp_path / "test.json", test))
    assert table["choice"].to_pylist() == ["right", "left", "left"]
    assert set(table["photo_id"].to_pylist()) == {"1"}
    training = [
        {"prompt": "a", "file_path": ["0", "1"], "human_preference": [0, 1], "user_hash": "u"},
        {"prompt": "b", "image_path": ["2", "3"], "human_preference": [1, 0], "user_hash": "v"},
    ]
    with pytest.raises(UserError, match="row 1 has no file_path, rank"):
        read_choices(saved(tmp_path / "bad.json", [{"prompt": "a", "rank": None}]), "hpd")
    for rows in (training, training[::-1]):
        table = read_choices(saved(tmp_path / "train.json", rows))
        by_prompt = dict(zip(table["prompt"].to_pylist(), table.to_pylist(), strict=True))
        assert (by_prompt["a"]["choice"], by_prompt["a"]["annotator"]) == ("right", "u")
        assert (by_prompt["b"]["choice"], by_prompt["b"]["left_id"]) == ("left", "2")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("c.txt", "", "must be .parquet, .csv, .json or .jsonl"),
        ("c.json", "{", "not valid JSON"),
        ("c.json", "{}", "must be a list of objects"),
        ("c.json", "[]", "must hold at least one"),
        ("c.csv", "left_id,right_id\na,b\n", "row 1 has no choice.*it has left_id, right_id"),
        ("c.csv", "left_id,right_id,choice\na,b,left\na,,left\n", "row 2 has no right_id"),
        ("c.csv", "left_id,right_id,choice\na,b,first\n", "left, right or tie, got 'first' in row"),
        ("c.csv", "left_id,right_id,choice\na,b,left,x\n", "row 1 has more cells"),
        ("c.parquet", "no", "cannot be read"),
        ("c.json", '[{"generations": ["a"], "ranking": [1, 2]}]', "one length.*1 and 2 in row 1"),
        ("c.json", '[{"image_path": ["a"], "rank": ["x"]}]', "of paths and of numbers"),
    ],
)
def test_a_file_without_a_choice_is_refused(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=told):
        read_choices(str(tmp_path / name))


def test_a_missing_file_and_an_unknown_layout(tmp_path):
    for name in ("c.csv", "c.parquet"):
        with pytest.raises(UserError, match="file of choices not found"):
            read_choices(str(tmp_path / name))
    with pytest.raises(UserError, match="must be auto, raypipe, imagereward, hpd, got pickapic"):
        read_choices(saved(tmp_path / "c.json", ROWS), "pickapic")


def test_the_majority_decides_whichever_stood_left():
    decided = decide(
        answers(
            ("b", "a", "left", "p"), ("a", "b", "right", "q"), ("a", "b", "left", "r"),
            ("a", "b", "tie", "s"),
        )
    )  # fmt: skip
    assert decided.pairs.to_pylist() == [
        {
            "left_id": "a", "right_id": "b", "choice": "right", "prompt": None,
            "photo_id": "pair: a and b", "subset": None,
            "votes_left": 1, "votes_right": 2, "votes_tie": 1,
        }
    ]  # fmt: skip
    assert decided.answers == 4
    assert not any(decided.left_out.values())


def test_equal_votes_are_a_tie():
    decided = decide(
        answers(("a", "b", "left", "p"), ("a", "b", "right", "q"), ("c", "d", "left", "p"))
    )
    assert decided.pairs["choice"].to_pylist() == ["tie", "left"]
    assert decided.ties == 1


def test_an_annotator_who_answered_both_ways_is_left_out_of_that_pair():
    decided = decide(
        answers(
            ("a", "b", "left", "p"), ("b", "a", "left", "p"), ("a", "b", "right", "q"),
            ("c", "d", "left", "p"), ("d", "c", "right", "p"),
        )
    )  # fmt: skip
    assert decided.pairs["choice"].to_pylist() == ["right", "left"]
    assert decided.left_out["both_ways"] == 2
    assert decided.examples["both_ways"] == ["p on a and b"]
    assert decided.left_out["repeated"] == 1
    assert decided.examples["repeated"] == ["p on c and d"]


def test_answers_without_an_annotator_are_different_peoples():
    decided = decide(
        answers(("a", "b", "left"), ("a", "b", "right"), ("a", "b", "right"), ("a", "b", "right"))
    )
    assert decided.pairs.to_pylist()[0]["votes_right"] == 3
    assert not any(decided.left_out.values())


def test_unknown_images_are_counted_and_named():
    rows = [("a", "b", "left", "p"), ("a", "z", "left", "p"), ("y", "a", "left", "q")]
    decided = decide(answers(*rows), known={"a", "b"})
    assert decided.pairs["right_id"].to_pylist() == ["b"]
    assert decided.left_out["unknown_image"] == 2
    assert decided.examples["unknown_image"] == ["z", "y"]
    with pytest.raises(UserError, match=r"no choice is left.*3 answers with an image that is not"):
        decide(answers(*rows), known={"z"})


def test_nothing_is_lost():
    rows = [
        ("a", "b", "left", "p"), ("a", "a", "left", "p"), ("a", "q", "left", "p"),
        ("c", "d", "left", "p"), ("c", "d", "right", "p"), ("a", "b", "left", "p"),
        ("c", "d", "tie", "r"),
    ]  # fmt: skip
    decided = decide(answers(*rows), known=set("abcd"))
    votes = sum(
        sum(decided.pairs[f"votes_{choice}"].to_pylist()) for choice in ("left", "right", "tie")
    )
    assert votes + sum(decided.left_out.values()) == decided.answers == len(rows)


def test_one_pair_under_two_prompts_is_two_pairs_of_two_photos():
    decided = decide(
        answers(
            ("a", "b", "left", "p", {"prompt": "red"}),
            ("a", "b", "right", "p", {"prompt": "round"}),
            ("c", "d", "left", "p", {"prompt": "red", "photo_id": "7"}),
        )
    )
    assert decided.pairs["photo_id"].to_pylist() == ["prompt: red", "prompt: round", "7"]
    assert decided.left_out["both_ways"] == 0


def test_ties_alone_judge_nothing():
    with pytest.raises(UserError, match="all 1 pairs are ties"):
        decide(answers(("a", "b", "tie", "p"), ("b", "a", "tie", "q")))


def test_a_pair_has_one_photo_and_one_subset():
    for column in ("photo_id", "subset"):
        rows = [("a", "b", "left", who, {column: who}) for who in ("p", "q")]
        with pytest.raises(UserError, match=f"one {column}, got .*'p', 'q'.* for a and b"):
            decide(answers(*rows))
