"""Pairs and texts as a denoiser is trained on them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from raypipe.engine.work import parts_without
from raypipe.errors import UserError
from raypipe.storage.directory import split_batches
from raypipe.studies.face_lora import encode as latents
from raypipe.studies.face_lora import plan as lora_plan
from raypipe.studies.face_lora import run as face_lora_run
from raypipe.studies.face_lora.data import DATA_FILE, LatentTable
from raypipe.studies.face_lora.encode import EncodeTexts
from raypipe.weights.locate import miniature_path
from tests.support import lora_runs, pair_runs


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoded")
    pairs = pair_runs.write(root / "pairs", 12)
    general = lora_runs.write_general(root / "general")
    pools = {"encode": {"batch_size": 3}}
    config = lora_runs.config(
        pairs, root / "run", general=str(general), loss={"keep": 1.0}, pools=pools
    )
    return config, lora_runs.prepare(config), pairs


def pixels(data: bytes) -> torch.Tensor:
    picture = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1


def test_latents_are_those_of_the_vae(encoded):
    """Every training row, against diffusers' own VAE and the pair run's files."""
    _, run, pairs = encoded
    vae = AutoencoderKL.from_pretrained(miniature_path("sd15"), subfolder="vae")
    rows = [
        row
        for file in sorted((pairs / "pairs").iterdir())
        for row in pq.read_table(file).to_pylist()
        if row["split"] == "train"
    ]
    photos = pq.read_table(pairs / "photos").to_pylist()
    image_of = {photo["photo_id"]: photo["image"] for photo in photos}
    table = LatentTable(f"{run.uri}/data", "train")
    found = table.read(range(len(table)), [None] * len(table))
    assert len(table) == len(rows) == 8
    assert {row["good"] is None for row in rows} == {True, False}
    for index, row in enumerate(rows):
        good = row["good"] or image_of[row["photo_id"]]
        for data, told in ((good, found.good_Bchw[index]), (row["bad"], found.bad_Bchw[index])):
            with torch.no_grad():
                mean = vae.encode(pixels(data)).latent_dist.mean
            wanted = mean[0] * vae.config.scaling_factor
            assert torch.allclose(told, wanted, atol=2e-3 * float(wanted.abs().max()))
        assert not torch.equal(found.good_Bchw[index], found.bad_Bchw[index])


def test_the_mask_covers_the_box(encoded):
    _, run, _ = encoded
    mask_hw = LatentTable(f"{run.uri}/data", "train").read([0], [None]).mask_B1hw[0, 0]
    x0, y0, x1, y1 = pair_runs.BOX  # 18, 14, 46, 48, and a latent is four pixels wide
    expected = np.zeros((64, 64))
    expected[int(y0) : int(y1), int(x0) : int(x1)] = 1
    expected = expected.reshape(16, 4, 16, 4).mean(axis=(1, 3))
    assert mask_hw.numpy() == pytest.approx(expected, abs=1e-3)


def test_texts_are_the_pipelines_and_no_text_is_what_it_takes_for_none(encoded):
    config, run, _ = encoded
    pipe = StableDiffusionPipeline.from_pretrained(miniature_path("sd15"))
    texts = face_lora_run.TextPlan(run.uri).samples()["text"].to_pylist()
    assert {"", "a person"} < set(texts)
    table = LatentTable(f"{run.uri}/data", "train")
    for text in texts[:4]:
        with torch.no_grad():
            wanted, none = pipe.encode_prompt(text, "cpu", 1, True)
        found = table.read([0], [lora_plan.text_id(text)]).text["prompt_embeds"]
        assert torch.allclose(found, wanted if text else none, atol=5e-3)
    assert config.model.prompt_suffix == ""


def test_only_what_is_missing_is_encoded_again(encoded):
    _, run, _ = encoded
    assert not parts_without(run, [DATA_FILE])
    names = run.folder.names("data")
    run.folder.delete(f"data/{names[0]}")
    (part,) = parts_without(run, [DATA_FILE])
    (batch,) = part.read()
    assert batch["batch_id"].unique().to_pylist() == [names[0].removesuffix(".arrow")]
    stage = latents.EncodePictures(encoded[0], run.uri)
    stage(batch.select(stage.reads))
    assert run.folder.names("data") == names


def test_batches_are_of_one_file_and_role_and_not_too_large(encoded):
    _, run, _ = encoded
    seen = set()
    for batch_id, batch in split_batches(run.samples()):
        assert 1 <= len(batch) <= 3
        for column in ("role", "file", "run"):
            assert len(batch[column].unique()) == 1
        assert batch_id.startswith(batch["role"][0].as_py() + "-")
        assert batch_id not in seen
        seen.add(batch_id)


def test_a_prompt_of_the_samples_that_is_too_long_is_refused(encoded):
    config, run, _ = encoded
    long = " ".join(["word"] * 200)
    row = {"batch_id": "text-9", "text_id": "x", "text": long, "must_fit": True}
    batch = pa.Table.from_pylist([row], schema=face_lora_run.TEXTS)
    with pytest.raises(UserError, match=r"samples.prompts must fit the model's tokenizers, got"):
        EncodeTexts(config, run.uri)(batch)


def test_the_cut_of_a_photo_holds_the_face_and_sdxl_gets_its_place():
    photo = np.zeros((300, 600, 3), np.uint8)
    region = latents.region_of([500, 40, 560, 120], 0.1, photo)
    assert region == (300, 0, 600, 300)
    assert latents.time_ids(region, (300, 600), 150) == [300, 600, 0, 150, 150, 150]
    assert latents.middle(photo) == (150, 0, 450, 300)
    photo[:, 300:] = 9
    assert latents.fit(photo, region, 150).shape == (150, 150, 3)
    assert (latents.fit(photo, region, 150) == 9).all()


def test_a_mask_keeps_its_area_when_it_is_reduced():
    mask = np.zeros((300, 600), np.float32)
    mask[100:160, 420:500] = 1
    reduced = latents.fit_mask(mask, (300, 0, 600, 300), 150)
    assert reduced.shape == (150, 150)
    assert reduced.sum() * 4 == pytest.approx(60 * 80)
