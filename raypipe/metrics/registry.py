"""Every metric there is, with what a table of results must say of it; docs/metrics.md shows it.

To add one: a class of settings in `raypipe.metrics.settings` (and in its union), a class that
scores, and a row here. Nothing heavy is imported before a metric is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from raypipe.metrics import settings
from raypipe.metrics.settings import MetricSettings


class Scorer(Protocol):
    """A loaded metric of single pictures or face crops."""

    def __call__(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str] | None = None
    ) -> np.ndarray:
        """Scores (B,), float64, each of its picture (and prompt) alone: batches change nothing."""


class Features(Protocol):
    """A loaded metric of sets, or of prompts: what it keeps of each picture, to be compared later
    (`raypipe.core.frechet`, `raypipe.core.consistency`)."""

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Features (B, D), float32."""


@dataclass(frozen=True)
class Facts:
    """What is known of a metric before it is loaded."""

    title: str
    higher_is_better: bool
    low: float | None
    """Lower end of its range; None for no bound."""
    high: float | None
    reads: Literal["picture", "face", "prompt", "set"]
    """What one score is of: a picture, a face cut out of one, a picture beside the others of its
    model and prompt, or a set against a reference set."""
    reads_prompt: bool
    source: str
    """Paper and code."""
    weights: str
    settings: type[MetricSettings]
    scorer: str
    """`module:Class`, taken as Class(settings, device)."""


METRICS: dict[str, Facts] = {
    "sharpness": Facts(
        title="Sharpness",
        higher_is_better=True,
        low=0,
        high=None,
        reads="picture",
        reads_prompt=False,
        source="Pech-Pacheco et al. 2000 (variance of the Laplacian)",
        weights="none",
        settings=settings.Sharpness,
        scorer="raypipe.metrics.sharpness:Sharpness",
    ),
    "face_judge": Facts(
        title="Judge of miniature faces",
        higher_is_better=True,
        low=None,
        high=0,
        reads="picture",
        reads_prompt=False,
        source="raypipe.miniature.face_judge; portraits of the miniature world alone",
        weights="none",
        settings=settings.FaceJudge,
        scorer="raypipe.metrics.face_judge:FaceJudge",
    ),
    "clip_score": Facts(
        title="CLIPScore",
        higher_is_better=True,
        low=0,
        high=100,
        reads="picture",
        reads_prompt=True,
        source="Hessel et al. 2021 (there 2.5 for 100); open_clip",
        weights="any open_clip model, or `miniature/clip`",
        settings=settings.ClipScore,
        scorer="raypipe.metrics.clip:ClipScore",
    ),
    "scs": Facts(
        title="Semantic consistency (SCS)",
        higher_is_better=True,
        low=0,
        high=100,
        reads="prompt",
        reads_prompt=False,
        source="arXiv 2404.08799, as jobs/consistency.py",
        weights="any open_clip or timm model, or `miniature/clip`",
        settings=settings.Scs,
        scorer="raypipe.metrics.clip:Embeddings",
    ),
    "image_reward": Facts(
        title="ImageReward",
        higher_is_better=True,
        low=None,
        high=None,
        reads="picture",
        reads_prompt=True,
        source="Xu et al. 2023, arXiv 2304.05977; THUDM/ImageReward",
        weights="THUDM/ImageReward, ImageReward.pt, or `miniature/reward`",
        settings=settings.ImageReward,
        scorer="raypipe.metrics.reward:ImageReward",
    ),
    "hps": Facts(
        title="HPS v2.1",
        higher_is_better=True,
        low=-100,
        high=100,
        reads="picture",
        reads_prompt=True,
        source="Wu et al. 2023, arXiv 2306.09341; tgxs002/HPSv2",
        weights="xswu/HPSv2, HPS_v2.1_compressed.pt",
        settings=settings.Hps,
        scorer="raypipe.metrics.clip:Hps",
    ),
    "pickscore": Facts(
        title="PickScore",
        higher_is_better=True,
        low=-100,
        high=100,
        reads="picture",
        reads_prompt=True,
        source="Kirstain et al. 2023, arXiv 2305.01569; yuvalkirstain/PickScore",
        weights="yuvalkirstain/PickScore_v1",
        settings=settings.PickScore,
        scorer="raypipe.metrics.pickscore:PickScore",
    ),
    "aesthetic": Facts(
        title="Aesthetic",
        higher_is_better=True,
        low=None,
        high=None,
        reads="picture",
        reads_prompt=False,
        source="Schuhmann 2022; christophschuhmann/improved-aesthetic-predictor",
        weights="sac+logos+ava1-l14-linearMSE.pth on OpenAI's CLIP ViT-L/14",
        settings=settings.Aesthetic,
        scorer="raypipe.metrics.aesthetic:Aesthetic",
    ),
    "face_score": Facts(
        title="Face Score",
        higher_is_better=True,
        low=None,
        high=None,
        reads="face",
        reads_prompt=False,
        source="Liao et al. 2024, arXiv 2406.17100; OPPO-Mente-Lab/FaceScore",
        weights="AIGCer-OPPO/FaceScore, FS_model.pt, or `model` of a run of jobs/face_score.py",
        settings=settings.FaceScore,
        scorer="raypipe.metrics.reward:FaceScore",
    ),
    "topiq_nr_face": Facts(
        title="TOPIQ face",
        higher_is_better=True,
        low=0,
        high=1,
        reads="face",
        reads_prompt=False,
        source="Chen et al. 2024, arXiv 2308.03060; pyiqa (extra `iqa`)",
        weights="chaofengc/IQA-PyTorch-Weights, topiq_nr_cgfiqa_res50-0a8b8e4f.pth",
        settings=settings.FaceQuality,
        scorer="raypipe.metrics.face_quality:FaceQuality",
    ),
    "fid": Facts(
        title="FID",
        higher_is_better=False,
        low=0,
        high=None,
        reads="set",
        reads_prompt=False,
        source="Heusel et al. 2017, arXiv 1706.08500; network as in mseitzer/pytorch-fid",
        weights="pt_inception-2015-12-05-6726825d.pth",
        settings=settings.Fid,
        scorer="raypipe.metrics.inception:Inception",
    ),
    "kid": Facts(
        title="KID",
        higher_is_better=False,
        low=None,
        high=None,
        reads="set",
        reads_prompt=False,
        source="Bińkowski et al. 2018, arXiv 1801.01401",
        weights="pt_inception-2015-12-05-6726825d.pth",
        settings=settings.Kid,
        scorer="raypipe.metrics.inception:Inception",
    ),
}


def facts_of(config: MetricSettings) -> Facts:
    """What is known of a config's metric."""
    return METRICS[config.metric]


def load(config: MetricSettings, device: str) -> Any:
    """The metric on a device, its weights fetched to this node: a `Scorer`, or `Features` of a set.

    Raises UserError for weights that cannot be had or do not fit, and for a missing package.
    """
    module, _, name = facts_of(config).scorer.partition(":")
    return getattr(import_module(module), name)(config, device)
