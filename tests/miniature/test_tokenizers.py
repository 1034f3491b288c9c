"""Both tokenizers take any text and have the lengths and ends that the pipelines expect."""

import pytest
from transformers import AutoTokenizer

from raypipe.weights.locate import miniature_path

ODD = [
    "",
    "😀 naïve café — “quoted”",
    "line\nbreak\ttab",
    "word " * 500,
    "<script>alert('x')</script> ../.. \\ \x07",
    "日本語のプロンプト",
    "<|endoftext|> </s> <pad>",
]
PLACES = [("sdxl/tokenizer", 77), ("sdxl/tokenizer_2", 77), ("pixart/tokenizer", 120), ("clip", 77)]


@pytest.mark.parametrize(("place", "length"), PLACES)
def test_any_text(place, length):
    name, _, rest = place.partition("/")
    tokenizer = AutoTokenizer.from_pretrained(miniature_path(name) / rest)
    ids = tokenizer(ODD, padding="max_length", max_length=length, truncation=True).input_ids
    assert [len(row) for row in ids] == [length] * len(ODD)
    assert all(0 <= token < len(tokenizer) for row in ids for token in row)
    assert all(tokenizer.eos_token_id in row for row in ids)
    assert tokenizer.model_max_length == length or name == "clip"


def test_known_words_are_one_token():
    for place in ("sdxl/tokenizer", "pixart/tokenizer"):
        name, _, rest = place.partition("/")
        tokenizer = AutoTokenizer.from_pretrained(miniature_path(name) / rest)
        ids = tokenizer("a portrait of a smiling woman with blonde hair").input_ids
        assert tokenizer.unk_token_id not in ids[:-1]
        assert len(ids) <= 9 + 2
