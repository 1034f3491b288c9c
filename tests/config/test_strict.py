"""Configs are read strictly: every mistake is a UserError that names the key, rule and value."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raypipe.config.inputs import Images
from raypipe.config.model import Lora, Model, Sampler
from raypipe.config.networks import Encoder
from raypipe.config.sections import Pool, Statistics, Storage
from raypipe.config.strict import Strict, changes, dump, load, near_miss
from raypipe.config.text import read_yaml
from raypipe.errors import UserError
from raypipe.studies.consistency.settings import Consistency, Pools, Report
from raypipe.studies.evaluate.settings import Evaluate

WHOLE = """
models: [{name: a, id: x, lora: {id: l}, sampler: {steps: 3}}, {name: b}]
prompts: [p]
seeds: 2
encoder: [{id: e}]
images: {folder: f}
output: o
"""
SECTIONS = {
    "": Consistency,
    "models.0.": Model,
    "models.1.": Model,
    "models.0.lora.": Lora,
    "sampler.": Sampler,
    "images.": Images,
    "encoder.0.": Encoder,
    "storage.": Storage,
    "statistics.": Statistics,
    "pools.": Pools,
    "pools.generate.": Pool,
    "pools.read.": Pool,
    "pools.embed.": Pool,
    "report.": Report,
}


@pytest.fixture
def read(tmp_path):
    """Reads a text as a config, with overrides."""

    def read(text=WHOLE, *overrides, kind=Consistency):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, overrides, kind)

    return read


def mistake(read, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        read(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("place", SECTIONS)
def test_a_misspelt_key_is_named_with_the_key_that_was_meant(read, place):
    for key in SECTIONS[place].model_fields:
        told = mistake(read, WHOLE, f"{place}{key}x=1")
        assert f"unknown key {place}{key}x; did you mean {key}?" in told


@pytest.mark.parametrize("key", ["Seeds", "str", "int", "models[0]"])
def test_an_unknown_key_may_look_like_anything(read, key):
    assert f"unknown key {key}" in mistake(read, f"{WHOLE}{key}: 1\n")


def test_an_unknown_key_without_a_near_one_lists_those_there_are(read):
    told = mistake(read, WHOLE, "storage.zzzz=1")
    assert told.endswith("unknown key storage.zzzz; known keys are format, quality")


def test_a_models_own_sampler_keys_are_checked_like_the_sampler(read):
    told = mistake(read, WHOLE, "models.0.sampler.stpes=3")
    assert "models.0.sampler: unknown key stpes; did you mean steps?" in told
    told = mistake(read, WHOLE, "models.0.sampler.width=7")
    assert told.endswith("models.0.sampler.width: Input should be a multiple of 8, got 7")


METRICS = "output: o\nimages: f\nmetrics:\n"
ONE = "metrics: [{metric: sharpness}]\n"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{metric: sharpnes}", "metrics.0: unknown metric sharpnes; did you mean sharpness?"),
        ("{metric: zzz}", "metrics.0: unknown metric zzz; those known are sharpness"),
        ("{size: 3}", "missing key metrics.0.metric"),
        ("{metric: hps, wieghts: x}", "unknown key metrics.0.wieghts; did you mean weights?"),
        ("{metric: hps, sise: 3}", "unknown key metrics.0.sise; known keys are name, metric, arch"),
        ("{metric: sharpness, size: 1}", "metrics.0.size: Input should be greater than or equal"),
        (
            "{metric: face_score, detector: {longst: 99}}",
            "unknown key metrics.0.detector.longst; did you mean longest?",
        ),
        ("{metric: kid}", "missing key metrics.0.weights"),
        ("{metric: kid, weights: {id: x}}", "metric kid needs a reference set, got no reference"),
        ("sharpness", "metrics.0: "),
    ],
)
def test_a_mistake_in_one_kind_of_section_is_told_by_that_kind(read, entry, told):
    line = mistake(lambda: read(f"{METRICS}  - {entry}\n", kind=Evaluate))
    assert told in line
    assert "discriminat" not in line


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("metrics: [{metric: sharpness}, {metric: sharpness}]", "given twice: sharpness"),
        ("metrics: []", "metrics: must hold at least 1, got none"),
        ("metrics: [{metric: face_score, boxes: given}]", "boxes are given by pairs only"),
        ("run: r", "exactly one of images, run, pairs must be given, got images and run"),
        ("pools: {metrics: {sharpnes: {}}}", "no metric sharpnes; did you mean sharpness?"),
        ("pairs: p\nimages: null\nsplits: tset", "splits.0: Input should be 'train', 'valid"),
    ],
)
def test_the_config_of_an_evaluation_is_checked_as_a_whole(read, more, told):
    text = "".join(f"{line}\n" for line in more.split("\n"))
    text += "" if "metrics:" in more.partition("pools")[0] else ONE
    text += "output: o\n" + ("" if "images" in more else "images: f\n")
    assert told in mistake(lambda: read(text, kind=Evaluate))


def test_all_mistakes_are_told_at_once_on_one_line(read):
    told = mistake(read, WHOLE, "sede=3", "sampler.stps=3", "storage.quality=101")
    for key in ("sede", "sampler.stps", "storage.quality"):
        assert key in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sampler.steps=0", "sampler.steps: Input should be greater than or equal to 1, got 0"),
        ("sampler.guidance=.nan", "sampler.guidance: Input should be a finite number, got NaN"),
        ("models.0.lora.scale=.inf", "models.0.lora.scale: Input should be a finite number"),
        ("models.0.dtype=fp16", "models.0.dtype: Input should be 'float32', 'float16' or"),
        ("models.0.name=a b", "models.0.name: String should match pattern '^[A-Za-z0-9]"),
        ("models.1.name=a", "model names must differ, given twice: a"),
        ("encoder=[{id: e}, {id: e}]", "encoders must differ, given twice: e/openai"),
        ("encoder=[]", "encoder: must hold at least 1, got none"),
        ("sampler=[1]", "sampler: Input should be a mapping of keys, got [1]"),
        ("models={name: a}", "models: Input should be a list"),
        ("prompts=5", "prompts: Input should be a valid string or a list, got 5"),
        ("prompts=", "models that generate need prompts, got none"),
        ("prompts=[]", "models that generate need prompts, got none"),
        ("seeds=null", "models that generate need seeds, got none"),
        ("seeds=[1.5, 2]", "seeds.0: Input should be a valid integer"),
        ("pools.embed.min=2", "pools.embed: min must not exceed max, got 2 > 1"),
        ("comparisons=[[a, c]]", "comparisons must pair two models of ['a', 'b'], got ['a', 'c']"),
        ("comparisons=[[a, a]]", "comparisons must pair two models of ['a', 'b'], got ['a', 'a']"),
        ("comparisons=[[a, b, a]]", "comparisons.0: must hold at most 2, got 3"),
        ("images={}", "exactly one of folder, parquet, huggingface must be given, got none"),
        ("images.parquet=p", "must be given, got folder and parquet"),
        ("output=null", "output: Input should be a valid string, got null"),
        ("models.0.options={a: [1]}", "models.0.options.a: Input should be a valid boolean or a"),
    ],
)
def test_a_broken_rule_is_told_with_its_key_and_value(read, override, told):
    assert told in mistake(read, WHOLE, override)


def test_a_config_needs_a_model_or_images_and_an_output(read):
    assert "models must name at least one model, or images" in mistake(read, "output: o")
    told = mistake(read, "models: [{name: a}]\noutput: o")
    assert "a model needs an id, or images must be given: a" in told
    assert "missing key output" in mistake(read, "images: f")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must hold a mapping of keys"),
        ("[1, 2]", "must hold a mapping of keys"),
        ("a: [", "is not valid YAML"),
        ("output: o\noutput: p", "key output is given twice, in lines 1 and 2"),
        ("a: !!python/object:os.system {}", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        (b"a: \xff", "must be UTF-8"),
        ("1: 2", "1: Keys should be strings, got 1"),
    ],
)
def test_a_file_that_is_no_config_is_refused(read, text, told):
    assert told in mistake(read, text)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, told in (
        (tmp_path / "absent.yaml", "config file cannot be read: {}: No such file"),
        (tmp_path, "config file must be a file, got a directory: {}"),
        (tmp_path / "pipe.yaml", "config file must be a file, got a pipe or a device: {}"),
        (Path("/dev/zero"), "config file must be a file, got a pipe or a device: {}"),
    ):
        with pytest.raises(UserError, match=told.format(path)):
            load(path, [], Consistency)


def test_overrides_reach_every_level_and_read_their_values_as_yaml(read):
    config = read(
        WHOLE,
        "models.1.id=y",
        "models.0.lora.scale=0.25",
        "models.0.sampler.guidance=1",
        "pools.embed.gpus_per_actor=0.5",
        "seeds=[3, 4]",
        "encoder={id: one}",
        "images=dir",
        "comparisons=[[b, a]]",
        "output=a=b",
    )
    assert config.models[1].id == "y"
    assert config.models[0].lora == Lora(id="l", scale=0.25)
    assert config.sampler_of(config.models[0]) == Sampler(steps=3, guidance=1.0)
    assert config.pools.embed.gpus_per_actor == 0.5
    assert config.seeds == (3, 4)
    assert config.encoder == (Encoder(id="one"),)
    assert config.images == Images(folder="dir")
    assert config.comparisons == (("b", "a"),)
    assert config.output == "a=b"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seeds", "an override must look like a.b=c, got 'seeds'"),
        ("=3", "an override must look like a.b=c, got '=3'"),
        ("models.2.id=x", "a list of 2 needs a position from 0 to 1, got '2'"),
        ("models.-1.id=x", "a list of 2 needs a position from 0 to 1, got '-1'"),
        ("models.².id=x", "a list of 2 needs a position from 0 to 1, got '²'"),
        ("models.name=x", "a list of 2 needs a position from 0 to 1, got 'name'"),
        ("seeds.0=3", "seeds is a value, it has no keys"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(read, override, told):
    assert told in mistake(read, WHOLE, override)


def test_an_override_of_an_empty_list_says_so(read):
    told = mistake(read, "models: []", "models.0.id=x")
    assert "the list is empty, it has no position 0" in told


def test_defaults_yield_to_the_file_and_the_file_to_overrides(read):
    assert read(WHOLE).sampler.steps == Sampler().steps
    assert read(WHOLE + "sampler: {steps: 5}").sampler.steps == 5
    assert read(WHOLE + "sampler: {steps: 5}", "sampler.steps=6").sampler.steps == 6


def test_a_config_cannot_be_changed(read):
    with pytest.raises(ValueError, match="frozen"):
        read().output = "elsewhere"


class Anything(Strict):
    text: str
    number: float
    names: tuple[str, ...]


PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t"))


@given(
    PLAIN_TEXT,
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(PLAIN_TEXT, max_size=3),
)
def test_what_is_dumped_is_read_back(text, number, names):
    config = Anything(text=text, number=number, names=tuple(names))
    tree = read_yaml(dump(config))
    assert tree == yaml.safe_load(dump(config).encode())
    assert Anything.model_validate(tree) == config
    assert changes(tree, config.model_dump(mode="json")) == []


def test_changes_are_dotted_keys():
    before = {"a": {"b": 1, "c": [1]}, "d": None, "e": 1}
    after = {"a": {"b": 2, "c": [2]}, "d": {"x": 1}, "f": 1}
    assert changes(before, after) == ["a.b", "a.c", "d", "e", "f"]
    assert changes(before, before) == []


def test_near_miss_ends_a_message():
    assert near_miss("sede", ["seeds", "prompts"]) == "; did you mean seeds?"
    assert near_miss("x", []) == ""
