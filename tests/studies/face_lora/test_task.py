"""The face LoRA's task: what it reads, what it minimises, and what comes out."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load

from raypipe.config.model import Lora, Model, Sampler
from raypipe.core import guidance
from raypipe.models.diffusion.loading import load_pipeline
from raypipe.models.lora.adapter import base_of, trained_layers
from raypipe.models.lora.place import load_lora
from raypipe.storage.files import Folder
from raypipe.studies.face_lora import page as face_lora_page
from raypipe.studies.face_lora import results as face_lora_results
from raypipe.studies.face_lora.data import LatentTable
from raypipe.studies.face_lora.plan import text_id
from raypipe.studies.face_lora.samples import read_samples
from raypipe.studies.face_lora.task import CRITERION, HELD, FaceLoraTask, prediction_of
from raypipe.training import state
from raypipe.training.group import Group
from raypipe.training.loop import STEPS, VALIDATIONS, Trainer, read_log
from tests.support import lora_runs, pair_runs, processes
from tests.support.jobs import wait_for

KEEP = {"keep": 0.5}
SCRIPT = "tests/support/train_lora.py"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Pairs, general pictures, and both encoded."""
    root = tmp_path_factory.mktemp("inputs")
    pairs = pair_runs.write(root / "pairs", 24)
    general = lora_runs.write_general(root / "general")
    made = lora_runs.config(pairs, root / "run", general=str(general), loss=KEEP)
    lora_runs.prepare(made)
    return pairs, general, root / "run"


def config_at(inputs, output, **changes):
    """A config whose run directory has the encoded data."""
    pairs, general, encoded = inputs
    changes["loss"] = KEEP | changes.pop("loss", {})
    made = lora_runs.config(pairs, output, general=str(general), **changes)
    output.mkdir(exist_ok=True)
    for name in ("data", "model.json"):
        (output / name).symlink_to(encoded / name)
    return made


@pytest.fixture
def config(inputs, tmp_path):
    return lambda folder="run", **changes: config_at(inputs, tmp_path / folder, **changes)


@pytest.fixture
def task(config):
    return lambda **changes: made_of(config(**changes))


def made_of(settings) -> FaceLoraTask:
    return FaceLoraTask(settings, settings.output, "cpu")


def trainer(settings, task=None) -> Trainer:
    folder = Folder(settings.output)
    return Trainer(task or made_of(settings), settings.training, folder, best=CRITERION)


def stirred(made: FaceLoraTask) -> FaceLoraTask:
    """The task with a LoRA that does something, as if it had been trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in made.module.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


def test_a_micro_batch_depends_on_its_seed_alone(task):
    made, rows = task(), np.array([3, 0, 5])
    first, again, other = (made.load(rows, seed) for seed in (1, 1, 2))
    for one, two in ((first.pairs, again.pairs), (first.general, again.general)):
        assert torch.equal(one.noise_Bchw, two.noise_Bchw)
        assert torch.equal(one.t_B, two.t_B)
        assert torch.equal(one.pictures.good_Bchw, two.pictures.good_Bchw)
        assert torch.equal(one.pictures.text["prompt_embeds"], two.pictures.text["prompt_embeds"])
    assert not torch.equal(first.pairs.noise_Bchw, other.pairs.noise_Bchw)
    assert torch.equal(first.pairs.pictures.bad_Bchw, other.pairs.pictures.bad_Bchw)
    assert first.general.pictures.bad_Bchw is None
    assert len(first.general.t_B) == 3


def test_captions_are_left_out_as_often_as_asked(task):
    made = task(caption_dropout=0.4)
    empty = made._train.read([0], [text_id("")]).text["prompt_embeds"][0]
    rows = np.arange(8).repeat(4)
    gone = [
        torch.equal(text, empty)
        for seed in range(20)
        for text in made.load(rows, seed).pairs.pictures.text["prompt_embeds"]
    ]
    assert np.mean(gone) == pytest.approx(0.4, abs=0.08)


@pytest.mark.parametrize("form", ["step", "x0"])
def test_the_loss_is_the_sum_of_its_terms_written_out(task, form):
    """Against the network asked row by row, and the pure losses."""
    loss = {"form": form, "stride": 100, "weight": 3.0, "keep": 0.5}
    made = stirred(task(loss=loss))
    made.module.eval()
    batch = made.load(np.array([4, 1]), seed=3)
    with torch.no_grad():
        told = made.losses(batch)
    alphas = made._alphas_T

    def asked(rows, x, row):
        """The network's answer to one row."""
        text = rows.pictures.text["prompt_embeds"][row : row + 1]
        return made.module(x, rows.t_B[row], encoder_hidden_states=text).sample

    for row in range(2):
        rows, t = batch.pairs, int(batch.pairs.t_B[row])
        a, s = alphas[t].sqrt(), (1 - alphas[t]).sqrt()
        good, bad, noise = (
            values[row : row + 1]
            for values in (rows.pictures.good_Bchw, rows.pictures.bad_Bchw, rows.noise_Bchw)
        )
        with torch.no_grad():
            of_good, of_bad = (asked(rows, a * x + s * noise, row) for x in (good, bad))
        denoising = ((of_good - (a * noise - s * good)) ** 2).mean()
        earlier = t - 100 if form == "step" else -1
        a_s = alphas[earlier].sqrt() if earlier >= 0 else torch.tensor(1.0)
        s_s = (1 - a_s**2).clamp(min=0).sqrt()
        x_b = a * bad + s * noise
        reached = a_s * (a * x_b - s * of_bad) + s_s * (s * x_b + a * of_bad)
        error = (reached - (a_s * good + s_s * noise)) ** 2
        mask = rows.pictures.mask_B1hw[row : row + 1]
        steered = (error * mask).sum() / (4 * mask.sum())
        rows, t = batch.general, int(batch.general.t_B[row])
        a, s = alphas[t].sqrt(), (1 - alphas[t]).sqrt()
        x = a * rows.pictures.good_Bchw[row : row + 1] + s * rows.noise_Bchw[row : row + 1]
        with torch.no_grad():
            after = asked(rows, x, row)
            with base_of(made.module):
                before = asked(rows, x, row)
        kept = ((after - before) ** 2).mean()
        assert kept > 0
        for name, value in (("denoising", denoising), ("guidance", steered), ("keep", kept)):
            assert told[name][row].item() == pytest.approx(value.item(), rel=1e-3), name
        whole = denoising + 3.0 * steered + 0.5 * kept
        assert told["loss"][row].item() == pytest.approx(whole.item(), rel=1e-3)


def test_at_the_start_nothing_is_changed_and_dpo_sits_at_ln_2(task):
    made = task(loss={"kind": "dpo"}, adapter={"rank": 4, "dropout": 0.3})
    with torch.no_grad():
        told = made.losses(made.load(np.arange(4), seed=0))
    assert not told["keep"].any()
    assert told["preference"].tolist() == pytest.approx([np.log(2)] * 4)
    assert set(told) == {"loss", "preference", "keep"}


def test_dpo_compares_with_the_base(task):
    made = stirred(task(loss={"kind": "dpo", "beta": 30.0, "keep": 0.0}))
    made.module.eval()
    batch = made.load(np.arange(3), seed=5)
    plain = made_of(made._config)  # its B is zero: the base
    errors = {}
    for name, one in (("lora", made), ("base", plain)):
        at = guidance.level(one._alphas_T, batch.pairs.t_B)
        for side in ("good", "bad"):
            x = getattr(batch.pairs.pictures, f"{side}_Bchw")
            noise = batch.pairs.noise_Bchw
            noised = guidance.noised(x, noise, at)
            with torch.no_grad():
                out = one._predict(noised, batch.pairs.t_B, batch.pairs.pictures)
            wanted = at.a * noise - at.sigma * x
            errors[name, side] = ((out - wanted) ** 2).mean(dim=(1, 2, 3)).double().numpy()
    gained = {side: errors["base", side] - errors["lora", side] for side in ("good", "bad")}
    with torch.no_grad():
        told = made.losses(batch)["loss"].numpy()
    expected = np.log(1 + np.exp(-15.0 * (gained["good"] - gained["bad"])))
    assert told == pytest.approx(expected, abs=1e-4)


def test_min_snr_weighs_the_denoising_and_the_keep_term(task):
    loss = {"kind": "sft"}
    plain = stirred(task(loss=loss))
    weighed = stirred(task(folder="other", loss=loss | {"weighting": "min_snr"}))
    batch = plain.load(np.arange(4), seed=0)
    with torch.no_grad():
        before, after = plain.losses(batch), weighed.losses(batch)
    for name, rows in (("denoising", batch.pairs), ("keep", batch.general)):
        at = guidance.level(plain._alphas_T, rows.t_B)
        weights = guidance.min_snr_weights(at, "v_prediction")
        assert torch.allclose(after[name], before[name] * weights, rtol=1e-4)


def test_without_guidance_its_weight_is_sft(task):
    one = task(loss={"weight": 0.0})
    two = task(folder="other", loss={"kind": "sft"})
    batch = one.load(np.arange(4), seed=0)
    for made in (one, two):
        made.losses(batch)["loss"].sum().backward()
    pairs = zip(one.module.named_parameters(), two.module.parameters(), strict=True)
    trained = [(n, p.grad, q.grad) for (n, p), q in pairs if p.requires_grad]
    assert any(grad.any() for _, grad, _ in trained)
    for name, grad, other in trained:
        assert torch.allclose(grad, other, rtol=1e-3, atol=1e-6), name


def test_the_adapter_is_float32_on_a_base_of_bfloat16(task):
    model = lora_runs.MINIATURE | {"dtype": "bfloat16"}
    made = task(model=model)
    kinds = {(p.requires_grad, p.dtype) for p in made.module.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    told = made.losses(made.load(np.arange(2), seed=0))
    told["loss"].sum().backward()
    gradients = [p.grad for p in made.module.parameters() if p.requires_grad]
    assert all(g is not None and g.dtype == torch.float32 for g in gradients)
    assert told["loss"].dtype == torch.float32


def test_gradient_checkpointing_changes_no_gradient(task):
    gradients = []
    for number, wanted in enumerate((False, True)):
        made = stirred(task(folder=str(number), training={"gradient_checkpointing": wanted}))
        made.losses(made.load(np.arange(2), seed=0))["loss"].sum().backward()
        gradients.append([p.grad for p in made.module.parameters() if p.requires_grad])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-6)


def test_sdxl_gets_size_and_pooled_text(inputs, tmp_path):
    pairs, general, _ = inputs
    settings = lora_runs.config(
        pairs,
        tmp_path,
        model={"name": "sdxl", "id": "miniature/sdxl"},
        general=str(general),
        loss=KEEP,
    )
    lora_runs.prepare(settings)
    made = made_of(settings)
    batch = made.load(np.arange(3), seed=0)
    assert batch.pairs.pictures.text["pooled_prompt_embeds"].shape[0] == 3
    assert batch.pairs.pictures.time_ids_B6.tolist() == [[64, 64, 0, 0, 64, 64]] * 3
    empty = made._train.read([0], [text_id("")]).text
    assert not any(value.any() for value in empty.values())  # what SDXL takes for no text
    told = made.losses(batch)
    # a base that knows its pictures: noise alone would give an error near 1
    assert 0.01 < told["denoising"].mean() < 0.6
    told["loss"].sum().backward()
    assert any(p.grad.any() for p in made.module.parameters() if p.grad is not None)


def test_validation_is_the_same_for_any_number_of_workers(task):
    made = stirred(task())
    made.module.eval()
    with torch.inference_mode():
        alone, again = made.validate(0, 1), made.validate(0, 1)
        shares = [made.validate(rank, 3) for rank in range(3)]
    assert alone == again
    assert set(alone) == {"denoising", "guidance", "keep", CRITERION}
    for name, (total, count) in alone.items():
        parts = [share[name] for share in shares if name in share]
        assert sum(n for _, n in parts) == count
        assert sum(t for t, _ in parts) == pytest.approx(total, rel=1e-4)
    mean = {name: total / count for name, (total, count) in alone.items()}
    assert alone["denoising"][1] == 2 * 4  # held_out rows at four timesteps
    whole = mean["denoising"] + mean["guidance"] + 0.5 * mean["keep"]
    assert -mean[CRITERION] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("kind", ["guidance", "dpo"])
def test_it_learns_a_fixed_table(config, kind):
    """The same rows at the same noise: what is minimised falls."""
    settings = config(loss={"kind": kind, "keep": 0.0, "beta": 500.0})
    made = made_of(settings)
    batch = made.load(np.arange(4), seed=0)
    made.load = lambda rows, seed: batch
    steps = {"steps": 8, "micro_batch": 4, "lr": 5e-3, "validate_every": 99}
    plan = settings.training.model_copy(update=steps)
    made_by = Trainer(made, plan, Folder(settings.output), best=CRITERION)
    before = {n: p.clone() for n, p in made.module.named_parameters() if not p.requires_grad}
    made_by.run()
    losses = [line["loss"] for line in made_by.lines]
    assert losses[-1] < 0.97 * losses[0]
    assert before
    for name, weight in before.items():
        assert torch.equal(weight, made.module.get_parameter(name)), name


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    settings = config_at(inputs, tmp_path_factory.mktemp("undisturbed"), **RANDOM)
    trainer(settings).run()
    return settings


RANDOM = {"training": {"ema": 0.8}, "adapter": {"rank": 4, "dropout": 0.2}}


def kept(settings, step=8):
    return state.read(Folder(settings.output), step)


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_training_that_is_killed_goes_on_to_the_same_bits(config, kills):
    last = 8 * kills
    steps = {"training": {"ema": 0.8, "steps": last, "checkpoint_every": 3}}
    disturbed, alone = (config(name, **RANDOM | steps) for name in ("killed", "alone"))
    trainer(alone).run()
    folder = Folder(disturbed.output)
    for _ in range(kills):
        there = state.steps(folder)
        (process,) = processes.start(SCRIPT, disturbed.model_dump_json())
        wait_for(lambda there=there: state.steps(folder) != there, process)
        process.kill()
        process.wait()
    assert max(state.steps(folder)) < last
    trainer(disturbed).run()
    one, other = kept(disturbed, last).tensors, kept(alone, last).tensors
    assert one.keys() == other.keys()
    assert any(name.startswith("average/") for name in one)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    assert read_log(folder, VALIDATIONS) == read_log(Folder(alone.output), VALIDATIONS)


def test_the_average_is_that_of_the_weights(config):
    settings = config(training={"ema": 0.6, "checkpoint_every": 1, "keep": 99, "steps": 5})
    trainer(settings).run()
    there = [kept(settings, step) for step in range(1, 6)]
    fresh = made_of(settings).module
    names = [name for name, p in fresh.named_parameters() if p.requires_grad]
    assert set(there[-1].weights) == set(names)
    for name in names:
        average = fresh.get_parameter(name).detach().double()
        for step, checkpoint in enumerate(there):
            decay = min(0.6, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * checkpoint.tensors[f"weight/{name}"].double()
            assert torch.allclose(checkpoint.weights[name].double(), average, atol=1e-6)
        assert not torch.equal(there[-1].weights[name], there[-1].tensors[f"weight/{name}"])


@pytest.mark.long  # training/test_loop.py has a small network; here are what a worker computes
def test_two_workers_give_the_weights_of_one(undisturbed, config):
    settings = config(**RANDOM)
    workers = processes.start(SCRIPT, settings.model_dump_json(), world=2)
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    one, other = kept(settings).tensors, kept(undisturbed).tensors
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], rtol=0, atol=2e-4), name


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    """A short training to its end, with pictures."""
    settings = config_at(
        inputs,
        tmp_path_factory.mktemp("finished"),
        loss={"kind": "sft"},
        adapter={"rank": 4, "alpha": 8.0},
        training={"ema": 0.5},
        samples={"prompts": ["a portrait of a woman"], "seeds": 1},
    )
    task, folder = made_of(settings), Folder(settings.output)
    made = Trainer(task, settings.training, folder, best=CRITERION)
    task.finish(made.run(), Group(), folder)
    return settings, folder, task


def test_the_product_is_the_best_step_and_a_model_entry_of_it_is_the_trained_network(finished):
    settings, folder, task = finished
    told = json.loads(folder.read(HELD))
    validations = read_log(folder, VALIDATIONS)
    best = max(validations, key=lambda line: line[CRITERION])
    assert told["best_step"] == best["step"]
    assert told["lora"][CRITERION] == pytest.approx(best[CRITERION], rel=1e-5)
    assert told["base"]["keep"] == 0
    tensors = load(folder.read("lora.safetensors"))
    checkpoint = kept(settings, best["step"])
    path = next(iter(trained_layers(task.module)))
    up = checkpoint.weights[f"{path}.lora_B.face.weight"]
    assert torch.allclose(tensors[f"unet.{path}.lora_B.weight"].float(), 2 * up)  # alpha / rank
    entry = Model(**lora_runs.MINIATURE, lora=Lora(id=f"{settings.output}/lora.safetensors"))
    pipe = load_pipeline(entry, Sampler(), "denoiser")
    x, t = torch.randn(1, 4, 16, 16), torch.tensor([500])
    text = torch.randn(1, 5, 64)

    def output(unet):
        with torch.no_grad():
            return unet(x, t, encoder_hidden_states=text).sample

    before = output(pipe.unet)
    load_lora(pipe, entry)
    assert torch.allclose(output(pipe.unet), output(task.module), atol=1e-5)
    assert not torch.allclose(output(pipe.unet), before, atol=1e-5)


def test_the_page_shows_both_from_the_same_noise(finished):
    settings, folder, _ = finished
    (row,) = read_samples(folder)
    assert row["base"] != row["lora"]
    counts = {"train": 16, "validation": 4, "general": 15, "general_validation": 4, "refused": 1}
    told = face_lora_results.results(settings, folder, counts)
    json.dumps(told, allow_nan=False)
    assert told["counts"]["train"] == 16
    assert told["left_out"] == {"refused": 1}
    assert told["training"]["steps"] == len(read_log(folder, STEPS)) == 8
    held = told["held_out"]
    assert held["base"]["loss"] == pytest.approx(held["base"]["denoising"])
    assert held["lora"]["loss"] == pytest.approx(
        held["lora"]["denoising"] + 0.5 * held["lora"]["keep"]
    )
    page = face_lora_page.sheet(told, folder)
    assert [name for _, name in page.sections[2].strips[0].pictures] == ["base", "lora"]
    assert "held-out loss" in face_lora_page.summary(told)


def test_a_network_that_predicts_something_else_is_refused():
    with pytest.raises(Exception, match="must predict epsilon or v_prediction, got sample"):
        prediction_of("sample")


def test_rows_are_read_in_any_order(inputs):
    _, _, encoded = inputs
    table = LatentTable(str(encoded / "data"), "train")
    whole = table.read(range(len(table)), [None] * len(table))
    some = table.read([5, 2, 5], [None, text_id(""), None])
    assert torch.equal(some.good_Bchw, whole.good_Bchw[[5, 2, 5]])
    assert torch.equal(some.mask_B1hw, whole.mask_B1hw[[5, 2, 5]])
    texts = some.text["prompt_embeds"]
    assert torch.equal(texts[0], whole.text["prompt_embeds"][5])
    assert not torch.equal(texts[1], whole.text["prompt_embeds"][2])
