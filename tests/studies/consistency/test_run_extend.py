"""What a later config may ask of a run, and what it may not change."""

import shutil

import pytest

from raypipe.errors import UserError
from raypipe.studies.consistency.plan import make_plan
from raypipe.studies.consistency.run import Run
from raypipe.weights import locate as weights
from tests.support.mistakes import mistake


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"sampler": {"steps": 3, "width": 32, "height": 32}}, "sampler.steps"),
        ({"sampler": {"steps": 2, "width": 40, "height": 48}}, "sampler.width, sampler.height"),
        ({"storage": {"format": "jpeg"}}, "storage.format"),
        ({"images": "somewhere"}, "images"),
        ({"encoder": {"id": "ViT-B-32"}}, "encoder"),
    ],
)
def test_a_changed_setting_is_refused_by_its_key(study, begun, change, keys):
    config = study()
    begun(config)
    told = mistake(Run(config.output).check, study(**change))
    assert told == (
        f"a run keeps its settings, but this config changes {keys} of {config.output}; "
        "choose another output"
    )


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"dtype": "float16"}, "dtype"),
        ({"prompt_suffix": "!"}, "prompt_suffix"),
        ({"sampler": {"steps": 9}}, "sampler.steps"),
        ({"lora": {"id": "x"}}, "lora"),
        ({"options": {"clip_skip": 1}}, "options.clip_skip"),
        ({"id": "elsewhere"}, "id"),
    ],
)
def test_a_changed_model_is_refused_by_its_name_and_key(study, begun, tiny_models, change, key):
    config = study()
    begun(config)
    pixart = {"name": "pixart", "id": str(tiny_models.pixart)}
    models = [{"name": "sdxl", "id": str(tiny_models.sdxl), **change}, pixart]
    told = mistake(Run(config.output).check, study(models=models))
    assert f"changes models.sdxl.{key} of" in told


def test_resources_and_the_report_may_change(study, begun):
    config = study()
    begun(config)
    other = study(
        pools={"generate": {"batch_size": 9, "gpus_per_actor": 1}},
        report={"prompts": 1},
        prompt_column="caption",
    )
    Run(config.output).check(other)


def test_a_further_encoder_comes_behind_the_first(study, begun, tiny_models):
    config = study()
    begun(config)
    first, further = {"id": str(tiny_models.encoder)}, {"id": "ViT-B-32"}
    Run(config.output).check(study(encoder=[first, further]))
    told = mistake(Run(config.output).check, study(encoder=[further, first]))
    assert "changes encoder of" in told


def test_more_prompts_seeds_and_models_extend_a_run(study, begun, tiny_models):
    first = begun(study()).samples()
    lora = {"id": str(tiny_models.lora)}
    wider = study(
        prompts=["a new one", "a red ball", "a blue box", "a green cone"],
        seeds=[2, 7, 1, 4],
        models=[
            {"name": "lora", "id": str(tiny_models.sdxl), "lora": lora},
            {"name": "pixart", "id": str(tiny_models.pixart)},
            {"name": "sdxl", "id": str(tiny_models.sdxl)},
        ],
        comparisons=[["lora", "sdxl"]],
        pools={"generate": {"batch_size": 5}},
    )
    run = begun(wider)
    samples = run.samples()
    assert samples.slice(0, len(first)).equals(first)  # where it was, in the batches it was in
    assert len(samples) == 3 * 4 * 4
    assert len(set(samples["sample_id"].to_pylist())) == len(samples)
    old, new = (set(t["batch_id"].to_pylist()) for t in (first, samples.slice(len(first))))
    assert not old & new
    assert run.folder.names("samples") == ["0000.parquet", "0001.parquet"]


def test_models_that_are_sent_the_same_text_keep_samples_of_their_own(study, begun, tiny_models):
    one = {"name": "one", "id": str(tiny_models.sdxl)}
    begun(study(models=[one], prompts=["a", "a!"]))
    two = {**one, "name": "two", "prompt_suffix": "!"}
    samples = begun(study(models=[one, two], prompts=["a", "a!"])).samples()
    assert len(samples) == 2 * 2 * 3
    assert len(set(samples["sample_id"].to_pylist())) == 3 * 3  # "a!" was sent by both


def test_the_same_config_again_plans_nothing_new(study, begun):
    config = study()
    run = begun(config)
    assert len(run.new_samples(make_plan(config).samples())) == 0
    reordered = study(prompts=config.prompts[::-1], seeds=config.seeds[::-1])
    assert len(run.new_samples(make_plan(reordered).samples())) == 0


def test_a_run_can_be_extended_but_not_cut(study, begun, tiny_models):
    config = study()
    run = begun(config)
    sdxl = {"name": "sdxl", "id": str(tiny_models.sdxl)}
    renamed = {"name": "renamed", "id": str(tiny_models.pixart)}
    for change, told in (
        ({"prompts": ["a red ball", "more"]}, "prompts .*: a blue box, a green cone"),
        ({"seeds": [7, 1, 2]}, "seeds .*: 4"),
        ({"models": [sdxl]}, "models .*: pixart"),
        ({"models": [sdxl, renamed]}, "models .*: pixart"),
    ):
        wanted = make_plan(study(**change)).samples()
        with pytest.raises(UserError, match=f"can be extended, not cut: .* holds {told}$"):
            run.new_samples(wanted)


def test_retrained_weights_never_mix_into_a_run(study, begun, tiny_models, tmp_path, monkeypatch):
    where = shutil.copytree(tiny_models.sdxl, tmp_path / "model")
    config = study(models=[{"name": "m", "id": str(where)}])
    run = begun(config)
    path = where / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    weights._hash_files.cache_clear()  # as a new process would find it
    told = mistake(run.new_samples, make_plan(config).samples())
    assert told.startswith("the weights or images of m are not those that ")


def test_a_retrained_encoder_never_mixes_into_a_run(study, begun, tiny_models, tmp_path):
    directory = shutil.copytree(tiny_models.encoder, tmp_path / "encoder")
    begun(study(encoder={"id": str(directory)}))
    file = directory / "open_clip_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    weights._hash_files.cache_clear()  # a hash is remembered for one process
    with pytest.raises(UserError, match="the weights of encoder "):
        begun(study(encoder={"id": str(directory)}, seeds=[7, 1, 4, 5]))
