"""Texts that are encoded apart: once each, in batches of one model, and kept to the last bit."""

import pytest
import torch

from raypipe.storage import schema
from raypipe.storage.files import Folder
from raypipe.studies.consistency.encode import TEXTS, Encode, read_text, text_id, write_text
from raypipe.studies.consistency.generate import Generate
from raypipe.studies.consistency.plan import batches, make_plan
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.work import missing


@pytest.fixture
def apart(study):
    """A study of two models whose text is encoded apart, planned."""
    config = study(pools={"encode": {"batch_size": 2}, "generate": {"batch_size": 4}})
    run = Run(config.output)
    plan = make_plan(config)
    run.begin(config, encoders=plan.encoders)
    run.add_samples(batches(plan.samples(), config, 0), 0)
    return run, config


def texts_of(work):
    return [batch for part in work["encode"] for batch in part.read()]


def test_a_text_is_kept_to_the_last_bit(tmp_path):
    tensors = {
        "prompt_embeds": torch.randn(1, 7, 4, dtype=torch.bfloat16).transpose(1, 2),
        "prompt_attention_mask": torch.ones(1, 7, dtype=torch.bool),
    }
    folder = Folder(str(tmp_path))
    for truncated in (True, False):
        write_text(folder, "t", tensors, truncated)
        found, told = read_text(folder, "t")
        assert told is truncated
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


def test_every_text_is_encoded_once_in_batches_of_one_model(apart):
    run, config = apart
    work = missing(run, config)
    assert list(work) == ["encode", "generate"]  # in the order of the work
    found = texts_of(work)
    assert all(batch.schema == TEXTS for batch in found)
    assert all(len(batch) <= 2 and len(batch["model"].unique()) == 1 for batch in found)
    pairs = [(r["model"], r["prompt_sent"]) for batch in found for r in batch.to_pylist()]
    wanted = {(r["model"], r["prompt_sent"]) for r in run.samples().to_pylist()}
    assert sorted(pairs) == sorted(wanted)
    assert sum(part.n_samples for part in work["encode"]) == len(wanted)


def test_pictures_are_those_of_a_generator_that_encodes(apart):
    run, config = apart
    work = missing(run, config)
    encode = Encode(config, run.uri)
    for batch in texts_of(work):
        assert len(encode(batch.select(encode.reads))) == len(batch)
    assert "encode" not in missing(run, config)
    names = frozenset(model.name for model in config.models)
    reads_texts = Generate(config, run.uri, names)
    encodes = Generate(config, run.uri, frozenset())
    for part in work["generate"]:
        for batch in part.read():
            ours, theirs = (stage(batch.select(stage.reads)) for stage in (reads_texts, encodes))
            assert ours.equals(theirs)
            assert set(ours["status"].to_pylist()) == {schema.OK}


def test_without_a_pool_of_their_own_texts_are_not_encoded_apart(study, begun):
    config = study()
    assert list(missing(begun(config), config)) == ["generate"]


def test_a_run_that_is_finished_keeps_no_texts(apart, tmp_path):
    run, _ = apart
    write_text(run.folder, text_id("m", "p"), {"prompt_embeds": torch.zeros(1, 2)}, False)
    run.finish({"config_hash": "x"})
    assert not (tmp_path / "run" / "texts").exists()
