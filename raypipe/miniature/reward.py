"""Train the BLIP-shaped reward: which picture fits its caption better, and which is not spoiled?

The miniature of ImageReward, on choices that need no annotator. The worse picture of a pair shows
something else, or the same badly: smeared, noisy, or with pieces in the wrong places.

Shape letters: B batch, H W picture (64), C colours.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import BertTokenizer

from raypipe.config.networks import FACE_TEXT, Reward, RewardFacts
from raypipe.models.reward.files import save_reward
from raypipe.models.reward.input import ADDED_TOKENS, Texts, preprocess
from raypipe.models.reward.keys import Geometry
from raypipe.models.reward.layout import FACTS, find_reward
from raypipe.models.reward.network import RewardNetwork, new_network
from raypipe.models.reward.scores import load_reward

from .captions import full_caption
from .data import HELD_OUT
from .denoise import captions_of
from .loop import train
from .scenes import render
from .settings import Plan
from .specs import sample_spec

_LENGTH = 35
_OTHERS = 0.5
"""Final share of pairs whose worse picture shows something else."""


def others(step: int, steps: int) -> float:
    """That share at one step: none in the first fifth, all of it from two fifths on.

    With such pairs from the start the loss stays at ln 2; trained on spoiled pictures first, the
    image encoder can learn the captions.
    """
    return _OTHERS * min(max(5 * step / steps - 1, 0.0), 1.0)


def tokenizer(captions: list[str]) -> BertTokenizer:
    """A BERT tokenizer with one piece for every word of the captions and every letter."""
    words = {word for text in [*captions, FACE_TEXT] for word in text.lower().strip(".").split()}
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    pieces += sorted(words - set(letters)) + [f"##{letter}" for letter in letters]
    made = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})
    made.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return made


def geometry(vocabulary: int) -> Geometry:
    """ImageReward's layout at a three-hundredth of its size: 1.3 million parameters."""
    return Geometry(
        image=64,
        patch=8,
        vision_width=96,
        vision_mlp=384,
        vision_layers=4,
        vision_heads=4,
        text_width=64,
        text_mlp=256,
        text_layers=3,
        text_heads=4,
        vocabulary=vocabulary,
        positions=40,
    )


def spoil(picture_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture, done badly somewhere: blurred, noisy, or with shuffled pieces, uint8 HWC."""
    side = int(rng.integers(16, 41))
    y, x = (int(v) for v in rng.integers(4, 64 - side - 3, 2))
    spoiled_HWC = picture_HWC.copy()
    part = spoiled_HWC[y : y + side, x : x + side]
    kind = rng.integers(4)
    if kind == 0:
        small = Image.fromarray(part).resize((max(side // int(rng.integers(3, 9)), 2),) * 2)
        part[:] = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
    elif kind == 1:
        noisy = part + rng.normal(0, rng.uniform(15, 60), part.shape)
        part[:] = noisy.clip(0, 255)
    elif kind == 2:
        cut = int(rng.integers(4, side - 3))
        part[:] = np.roll(part, cut, axis=int(rng.integers(2)))
    else:
        half = side // 2
        upper = part[:half].copy()
        part[:half], part[half : 2 * half] = part[half : 2 * half], upper
    return spoiled_HWC


def _pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.stack([preprocess(Image.fromarray(picture), 64) for picture in pictures])


def train_reward(
    pictures_NHWC: np.ndarray, words: BertTokenizer, plan: Plan, work: Path
) -> RewardNetwork:
    """The trained network; the pictures are the renders of the seeds from 0 on."""
    torch.manual_seed(plan.seed)
    network = new_network(geometry(len(words))).train()
    for part in network.modules():
        if isinstance(part, nn.Linear):  # upstream's init is for weights to come, and wide layers
            nn.init.xavier_normal_(part.weight)
        elif isinstance(part, nn.Dropout):  # behind the head's narrow layers it drowns a small loss
            part.p = 0.0
    texts = Texts(words, _LENGTH)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(pictures_NHWC), (2, plan.batch), generator=generator)
        rng = np.random.default_rng([plan.seed, step])
        better = [pictures_NHWC[row] for row in rows[0].tolist()]
        share = others(step, plan.steps)
        worse = [
            pictures_NHWC[other] if rng.random() < share else spoil(picture, rng)
            for picture, other in zip(better, rows[1].tolist(), strict=True)
        ]
        ids_BT, mask_BT = texts(captions_of(rows[0].tolist(), generator))
        with torch.autocast("cpu", torch.bfloat16):
            rewards_2B = network(
                torch.cat([_pixels(better), _pixels(worse)]),
                ids_BT.repeat(2, 1),
                mask_BT.repeat(2, 1),
            )
        better_B, worse_B = rewards_2B.float().chunk(2)
        return -functional.logsigmoid(better_B - worse_B).mean()

    trained = train(network, loss_of, plan, work / "reward.pt")
    assert isinstance(trained, RewardNetwork)
    return trained


@torch.inference_mode()
def choices(directory: Path, count: int = 300) -> dict[str, float]:
    """Share of held-out pairs in which the better picture gets the higher reward, by kind."""
    scorer = load_reward(str(directory), "cpu")
    rng = np.random.default_rng(0)
    specs = [sample_spec(HELD_OUT + i) for i in range(count)]
    pictures = [render(spec) for spec in specs]
    texts = [full_caption(spec) for spec in specs]
    worse = {
        "other": pictures[1:] + pictures[:1],
        "spoiled": [spoil(picture, rng) for picture in pictures],
    }

    def rewards(pictures_NHWC: list[np.ndarray]) -> np.ndarray:
        return scorer.score([Image.fromarray(picture) for picture in pictures_NHWC], texts)

    better_N = rewards(pictures)
    return {
        kind: round(float((better_N > rewards(shown)).mean()), 4) for kind, shown in worse.items()
    }


def save(network: RewardNetwork, words: BertTokenizer, directory: Path) -> None:
    """Write it in half precision, in raypipe's own layout."""
    sizes = network.sizes
    facts = RewardFacts(
        kind="image_reward",
        heads=(sizes.vision_heads, sizes.text_heads),
        image_size=sizes.image,
        max_length=_LENGTH,
        mean=0.0,
        std=1.0,
    )
    save_reward(directory, network.half(), words, facts)


def standardize(directory: Path, pictures_NHWC: np.ndarray) -> None:
    """Set the mean and the deviation of what `save` wrote, as ImageReward's are of its own data.

    The pictures are renders of the seeds from 0 on, scored with their captions.
    """
    pictures = [Image.fromarray(picture) for picture in pictures_NHWC]
    texts = [full_caption(sample_spec(seed)) for seed in range(len(pictures))]
    scorer = load_reward(Reward(id=str(directory), standardize=False), "cpu")
    raw_N = scorer.score(pictures, texts)
    statistics = {"mean": float(raw_N.mean()), "std": float(raw_N.std())}
    facts = find_reward(directory).facts.model_copy(update=statistics)
    (directory / FACTS).write_text(facts.model_dump_json(indent=1) + "\n")
