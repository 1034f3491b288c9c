"""Prompt lists and seeds, from every kind of file, and what is wrong with them."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import UserError
from raypipe.inputs.prompts import read_prompts, read_seeds
from tests.support.mistakes import mistake

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"))
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@pytest.fixture
def file(tmp_path):
    """Writes bytes or text to a file; returns its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def parquet(column):
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": range(len(column)), "prompt": column}), sink)
    return sink.getvalue()


def as_file(suffix, prompts):
    """The bytes of a prompt file of this kind."""
    if suffix == "txt":
        return "\n".join(prompts).encode()
    if suffix == "csv":
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerows([["id", "prompt"], *enumerate(prompts)])
        return text.getvalue().encode()
    if suffix == "jsonl":
        return "\n".join(json.dumps({"prompt": p}, ensure_ascii=False) for p in prompts).encode()
    return parquet(prompts)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_any_text_comes_out_of_a_file_as_it_went_in(tmp_path_factory, suffix, hostile):
    path = tmp_path_factory.mktemp("prompts") / f"p.{suffix}"

    @given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4, unique=True))
    def check(prompts):
        path.write_bytes(as_file(suffix, prompts))
        assert read_prompts(str(path), "prompt")[0] == prompts

    check()
    path.write_bytes(as_file(suffix, hostile))
    found, warnings = read_prompts(str(path), "prompt")
    assert found == hostile
    assert [w[:30] for w in warnings] == ["1 prompts hold a line break, a"] * (suffix == "csv")


@given(st.lists(LINES, min_size=1, max_size=4, unique=True))
def test_a_text_file_has_one_prompt_a_line(tmp_path_factory, prompts):
    path = tmp_path_factory.mktemp("prompts") / "p.txt"
    path.write_bytes(as_file("txt", prompts))
    assert read_prompts(str(path), "prompt") == (prompts, [])


@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_a_prompt(file, suffix):
    text = as_file(suffix, ["a red ball", "a blue box"]).decode().replace("\r\n", "\n")
    path = file(f"p.{suffix}", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert read_prompts(path, "prompt") == (["a red ball", "a blue box"], [])


def test_blank_lines_and_empty_cells_are_skipped(file):
    assert read_prompts(file("p.txt", "\n \na\n\t\nb"), "prompt")[0] == ["a", "b"]
    assert read_prompts(file("p.csv", "id,prompt\n1,a\n2,\n3\n"), "prompt")[0] == ["a"]
    rows = '{"prompt": null}\n\n{"prompt": "a"}\n'
    assert read_prompts(file("p.jsonl", rows), "prompt")[0] == ["a"]
    assert read_prompts(file("p.parquet", parquet([None, "a", ""])), "prompt")[0] == ["a"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_column_can_be_chosen(file, suffix):
    path = file(f"p.{suffix}", as_file(suffix, ["a"]))
    with pytest.raises(UserError, match=r"has no column 'caption': .*it has \[.*'prompt'\]"):
        read_prompts(path, "caption")


def test_duplicates_are_scored_once_with_a_warning(file):
    path = file("p.txt", "a\nb\na\na\n")
    prompts, warnings = read_prompts(path, "prompt")
    assert prompts == ["a", "b"]
    assert warnings == [f"2 duplicate prompts are scored once: {path}"]
    _, warnings = read_prompts(("a", "a"), "prompt")
    assert warnings == ["1 duplicate prompts are scored once: the config's list"]


def test_prompts_that_differ_by_a_space_or_a_capital_are_two():
    prompts = ("a cat", "a cat ", "A cat", "caf\u00e9", "cafe\u0301")
    assert read_prompts(prompts, "prompt") == (list(prompts), [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", ""),
        ("p.txt", "\n \n"),
        ("p.csv", ""),
        ("p.csv", "prompt\n"),
        ("p.jsonl", ""),
        ("p.parquet", parquet(pa.array([], pa.string()))),
    ],
)
def test_a_file_without_prompts_is_refused(file, name, content):
    path = file(name, content)
    told = mistake(read_prompts, path, "prompt")
    assert told == f"a prompt list must hold at least one prompt, got none: {path}"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.txt", b"good\ncaf\xe9\n", "must be UTF-8 text: .*: byte 8 is not"),
        ("p.csv", b"prompt\n\xff\n", "must be UTF-8 text: .*: byte 7 is not"),
        ("p.csv", "prompt\n" + "x" * 200_000, "not valid CSV: .*larger than field limit"),
        ("p.jsonl", "{'prompt': 1}", "is not valid JSON: .*, line 1: "),
        ("p.jsonl", '["a"]', "a .jsonl prompt file must hold an object on each line"),
        ("p.jsonl", '{"prompt": ["a"]}', r"a prompt must be text, got \['a'\]"),
        ("p.jsonl", '{"prompt": 0}', "a prompt must be text, got 0"),
        ("p.jsonl", '{"prompt": "a\\ud800"}', r"must be valid Unicode, got 'a\\ud800'"),
        ("p.jsonl", "[" * 100_000, "line 1: it is nested more than 64 levels deep"),
        ("p.txt", "a\n\nb\x00\n", r"prompt in line 3 must hold no control .* U\+0000"),
        ("p.txt", "a\rb\n", r"prompt in line 1 must hold no control .* U\+000D"),
        ("p.csv", "prompt\na\nb\x1b[2J\n", r"prompt 2 must hold no control .* U\+001B"),
        ("p.jsonl", '{"prompt": "\\u0007"}', r"prompt 1 must hold no control .* U\+0007"),
        ("p.parquet", "no Parquet", "prompt file cannot be read"),
        ("p.parquet", parquet([1, 2]), "a prompt must be text, got 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(file, name, content, told):
    with pytest.raises(UserError, match=told):
        read_prompts(file(name, content), "prompt")


@pytest.mark.parametrize("name", ["absent.txt", "absent.csv", "absent.parquet", "."])
def test_a_missing_file_or_a_directory_is_named(tmp_path, name):
    with pytest.raises(UserError, match=r"prompt file (not found|cannot be read): ") as caught:
        read_prompts(str(tmp_path / name), "prompt")
    assert str(tmp_path / name) in str(caught.value)


def test_seeds_are_a_count_a_list_or_a_file(file):
    assert read_seeds(3) == [0, 1, 2]
    assert read_seeds((5, 2)) == [5, 2]
    assert read_seeds(file("seeds.txt", "\ufeff7\r\n3\n\n 5 ")) == [7, 3, 5]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (1, "a consistency score needs at least 2 seeds, got 1"),
        (0, "a consistency score needs at least 2 seeds, got 0"),
        (-4, "a consistency score needs at least 2 seeds, got 0"),
        ((), "a consistency score needs at least 2 seeds, got 0"),
        ((3,), "a consistency score needs at least 2 seeds, got 1"),
        ((3, 4, 3, 4, 5), "seeds must differ, given twice: 3, 4"),
        ((1, -2), r"a seed must be from 0 to 2\^63 - 1, got -2"),
        ((1, 2**63), r"a seed must be from 0 to 2\^63 - 1, got 9223372036854775808"),
    ],
)
def test_seeds_that_cannot_be_used_are_refused(source, told):
    with pytest.raises(UserError, match=f"^{told}$"):
        read_seeds(source)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("1\ntwo\n", "a seed must be a whole number in plain digits, got 'two': .*seeds.txt"),
        ("1\n2.5\n", "a seed must be a whole number in plain digits, got '2.5'"),
        ("1\n1_0\n", "a seed must be a whole number in plain digits, got '1_0'"),
        ("1\n" + "9" * 5000, "a seed must be"),
        ("", "needs at least 2 seeds, got 0"),
        (b"\xff\n", "seed file must be UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_seed_file_is_named(file, content, told):
    with pytest.raises(UserError, match=told):
        read_seeds(file("seeds.txt", content))


def test_a_missing_seed_file_is_named():
    with pytest.raises(UserError, match=r"^seed file not found: nowhere\.txt$"):
        read_seeds("nowhere.txt")
