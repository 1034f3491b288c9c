import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.ids import content_hash, prompt_id, sample_id

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # lone surrogates included: a prompt read from a broken file must not crash the hash
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_hash_ignores_key_order_and_survives_a_round_trip_through_json(content):
    reordered = dict(reversed(content.items()))
    assert content_hash(reordered) == content_hash(content)
    assert content_hash(json.loads(json.dumps(content))) == content_hash(content)


def test_hash_is_fixed_for_all_time():
    # sha256 of {"guidance":7.5,"model":"sdxl"}; a change here would orphan every stored sample
    assert content_hash({"model": "sdxl", "guidance": 7.5}) == "c7eb4dc81270a9e34ec004ea8680a90f"


@pytest.mark.parametrize("other", [{"a": 1.0}, {"a": "1"}, {"a": True}, {"b": 1}, {"a": [1]}])
def test_hash_tells_values_and_types_apart(other):
    assert content_hash(other) != content_hash({"a": 1})


def test_floats_are_exact():
    assert content_hash({"x": 0.1 + 0.2}) != content_hash({"x": 0.3})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_without_json_form_are_refused(value):
    with pytest.raises(ValueError, match=r"must be finite.*content\.a\[0\]"):
        content_hash({"a": [value]})


@pytest.mark.parametrize("value", [(1, 2), {1}, b"x", np.float32(1), np.arange(2), {1: 2}])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError):
        content_hash({"a": value})


def test_prompts_are_taken_exactly():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    texts = ["a cat", "a cat ", "A cat", composed, decomposed, "", "\n", "\N{CAT}", "../.."]
    assert len({prompt_id(text) for text in texts}) == len(texts)


def test_sample_id_changes_with_each_part():
    base = sample_id({"steps": 20}, "a cat", 1)
    assert base == sample_id({"steps": 20}, "a cat", 1)
    others = [
        sample_id({"steps": 21}, "a cat", 1),
        sample_id({"steps": 20}, "a cat in the style of TOK", 1),
        sample_id({"steps": 20}, "a cat", 2),
    ]
    assert len({base, *others}) == 4


@pytest.mark.parametrize("seed", [True, 1.0, "1", None])
def test_seed_must_be_an_integer(seed):
    with pytest.raises(TypeError, match="seed must be an int"):
        sample_id({}, "a cat", seed)
