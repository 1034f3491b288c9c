"""A zoo name stands for pinned, published weights; what a config says itself wins."""

import re
import subprocess
import sys

import pytest
import yaml
from huggingface_hub.utils import validate_repo_id

from raypipe.config.model import Model, Sampler
from raypipe.config.strict import dump, load
from raypipe.config.zoo import ZOO
from raypipe.errors import UserError
from raypipe.studies.consistency.settings import Consistency
from tests.support import ROOT

REST = {"prompts": ["a"], "seeds": 2, "output": "o"}


def study(*models, **more):
    return Consistency.model_validate({"models": list(models), **REST, **more})


@pytest.mark.parametrize("name", ZOO)
def test_every_entry_is_a_pinned_model(name):
    model = Model(name="m", id=f"zoo/{name}")
    assert model.id is not None
    validate_repo_id(model.id)
    assert model.dtype == "float16"
    pinned = [model.revision] + ([model.vae_revision] if model.vae else [])
    assert all(re.fullmatch(r"[0-9a-f]{40}", revision or "") for revision in pinned)
    assert ZOO[name].licence
    Sampler.model_validate(ZOO[name].sampler)


def test_the_keys_of_the_config_win():
    model = Model(name="m", id="zoo/sdxl", revision="main", vae=None, options={"eta": 1})
    assert (model.revision, model.vae, model.vae_revision) == ("main", None, None)
    assert model.variant is None  # the weights of another revision need not have one
    assert model.options == {"eta": 1}


def test_what_holds_for_half_precision_goes_with_it():
    half = Model(name="m", id="zoo/sdxl")
    assert (half.variant, half.vae) == ("fp16", "madebyollin/sdxl-vae-fp16-fix")
    full = Model(name="m", id="zoo/sdxl", dtype="float32")
    assert (full.variant, full.vae, full.vae_revision) == (None, None, None)


def test_sampler_keys_of_the_run_come_before_those_of_the_zoo():
    alone = study({"name": "m", "id": "zoo/pixart-512"})
    assert alone.sampler_of(alone.models[0]) == Sampler(
        steps=20, guidance=4.5, width=512, height=512
    )
    run = study(
        {"name": "m", "id": "zoo/pixart-512", "sampler": {"guidance": 2}},
        {"name": "other", "id": "org/name"},
        sampler={"steps": 30, "height": 768},
    )
    assert run.sampler_of(run.models[0]) == Sampler(steps=30, guidance=2, width=512, height=768)
    assert run.sampler_of(run.models[1]) == Sampler(steps=30, height=768)


def test_the_resolved_config_means_the_same_when_it_is_read_again(tmp_path):
    config = study({"name": "m", "id": "zoo/realistic-vision", "lora": {"id": "l"}})
    text = dump(config)
    assert "zoo/" not in text
    assert yaml.safe_load(text)["models"][0]["id"] == "SG161222/Realistic_Vision_V5.1_noVAE"
    (tmp_path / "config.yaml").write_text(text)
    again = load(tmp_path / "config.yaml", [], Consistency)
    assert again == config
    assert again.sampler_of(again.models[0]).scheduler == "euler_a"


def test_an_unknown_name_is_told_with_the_near_miss(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"models": [{"name": "m", "id": "x"}], **REST}))
    with pytest.raises(UserError, match=r"unknown zoo model sdlx; did you mean sdxl\?"):
        load(path, ["models.0.id=zoo/sdlx"], Consistency)
    with pytest.raises(UserError, match=r"unknown zoo model flux-\d; the zoo has sdxl, pixart-512"):
        load(path, ["models.0.id=zoo/flux-1"], Consistency)


def test_the_table_in_the_docs_says_what_the_zoo_says():
    table = (ROOT / "docs" / "models.md").read_text()
    for name, entry in ZOO.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| `zoo/{name}`"))
        for key in ("id", "revision", "vae"):
            value = {**entry.keys, **entry.half}.get(key)
            assert value is None or value[:10] in row
        assert entry.licence in row


def test_the_zoo_imports_nothing_heavy():
    script = "import sys, raypipe.config.zoo; print({'torch', 'diffusers'} & {*sys.modules})"
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, text=True).strip() == "set()"
