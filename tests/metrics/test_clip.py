"""CLIPScore and HPS against open_clip itself, used as its documentation says."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.metrics.clip import ClipScore, Hps, longest_side
from raypipe.metrics.settings import ClipScore as ClipScoreSettings
from raypipe.metrics.settings import Hps as HpsSettings
from raypipe.metrics.settings import Weights
from raypipe.miniature.captions import full_caption
from raypipe.miniature.scenes import render
from raypipe.miniature.specs import sample_spec
from raypipe.weights.locate import miniature_path


@pytest.fixture(scope="module")
def miniature():
    return ClipScore(ClipScoreSettings(encoder=Encoder(id="miniature/clip")), "cpu")


@pytest.fixture(scope="module")
def hps(vit_h, tmp_path_factory):
    """A checkpoint as HPS_v2.1_compressed.pt is: half precision, under `state_dict`."""
    directory, model = vit_h
    path = tmp_path_factory.mktemp("hps") / "HPS_v2.1_compressed.pt"
    state = {key: value.half() for key, value in model.state_dict().items()}
    torch.save({"state_dict": state}, path)
    model.load_state_dict(state)
    return HpsSettings(architecture=str(directory), weights=Weights(id=str(path)))


def test_clip_score_tells_the_right_caption(miniature):
    specs = [sample_spec(seed) for seed in range(70_000, 70_012)]
    shown = [Image.fromarray(render(spec)) for spec in specs]
    captions = [full_caption(spec) for spec in specs]
    right = miniature(shown, captions)
    wrong = miniature(shown, captions[1:] + captions[:1])
    assert (right > wrong).mean() > 0.9
    assert right.min() >= 0
    assert right.max() <= 100


def test_clip_score_is_open_clips_cosine(miniature, pictures, prompts):
    name = f"local-dir:{miniature_path('clip')}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokenize = open_clip.get_tokenizer(name)
    with torch.inference_mode():
        pixels = torch.stack([transform(picture) for picture in pictures])
        images = model.eval().encode_image(pixels, normalize=True)
        texts = model.encode_text(tokenize(prompts), normalize=True)
    expected = (100 * (images * texts).sum(dim=1)).clamp(min=0).numpy()
    assert np.allclose(miniature(pictures, prompts), expected, atol=1e-3)


def test_batches_change_nothing_for_clip_score(miniature, batches_change_nothing):
    batches_change_nothing(miniature)


def test_clip_score_needs_text_and_prompts(miniature, pictures, tmp_path):
    with pytest.raises(ValueError, match="each of 4 pictures needs its prompt"):
        miniature(pictures)
    with pytest.raises(UserError, match="cannot be loaded"):
        ClipScore(ClipScoreSettings(encoder=Encoder(id=str(tmp_path))), "cpu")


def test_hps_is_the_cosine_of_its_checkpoint(hps, vit_h, pictures, prompts):
    directory, model = vit_h
    tokenize = open_clip.get_tokenizer(f"local-dir:{directory}")
    pixels = torch.stack([longest_side(28)(picture) for picture in pictures])
    with torch.inference_mode():
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(tokenize(prompts), normalize=True)
    expected = 100 * (images @ texts.T).diagonal().numpy()
    assert np.allclose(Hps(hps, "cpu")(pictures, prompts), expected, atol=1e-3)


def test_batches_change_nothing_for_hps(hps, batches_change_nothing):
    batches_change_nothing(Hps(hps, "cpu"))


def test_hps_sees_the_whole_picture_in_a_black_square(pictures):
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    transform = longest_side(28)
    for picture in pictures:
        pixels = transform(picture)
        assert pixels.shape == (3, 28, 28)
        outside = open_clip.image_transform(28, is_train=False, resize_mode="longest")(picture)
        assert (pixels - outside).abs().mean() < 0.02  # open_clip resizes rounded pixels
    tall = transform(pictures[1])  # 96 by 48: 7 columns of black on either side
    black = -torch.tensor(mean) / torch.tensor(std)
    border = torch.cat([tall[:, :, :7], tall[:, :, 21:]], dim=2)
    assert torch.allclose(border, black.view(3, 1, 1).expand_as(border))
    assert not torch.allclose(tall[:, :, 7], black.view(3, 1).expand(3, 28))


def test_hps_resizes_like_torch_antialiased(pictures):
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    pixels = torch.from_numpy(np.array(pictures[0])).permute(2, 0, 1).float() / 255
    resized = torch.nn.functional.interpolate(
        pixels[None], size=(28, 28), mode="bicubic", antialias=True, align_corners=False
    )[0]
    assert torch.allclose(longest_side(28)(pictures[0]), (resized - mean) / std, atol=1e-5)


def test_a_picture_of_the_right_length_gets_its_border_too():
    assert longest_side(28)(Image.new("RGB", (28, 9))).shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("logit_scale"), r"1 missing \(logit_scale\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 foreign \(extra\)"),
        (lambda s: s.update(text_projection=torch.zeros(3, 3)), r"1 of another shape \(text_pro"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_its_keys(hps, vit_h, tmp_path, change, told):
    state = dict(vit_h[1].state_dict())
    change(state)
    torch.save({"state_dict": state}, tmp_path / "bad.pt")
    config = hps.model_copy(update={"weights": Weights(id=str(tmp_path / "bad.pt"))})
    with pytest.raises(UserError, match=told):
        Hps(config, "cpu")


def test_an_architecture_that_does_not_exist(hps):
    with pytest.raises(UserError, match="no such architecture: ViT-H-15"):
        Hps(hps.model_copy(update={"architecture": "ViT-H-15"}), "cpu")
