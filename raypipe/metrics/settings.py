"""The section of a config that describes one metric: `{metric: NAME, ...}`.

Defaults are the published weights, by hub id and commit. What the names mean is in
`raypipe.metrics.registry`.
"""

from typing import Annotated, Literal

from pydantic import Field

from raypipe.config import Strict
from raypipe.detector_settings import Detector
from raypipe.reward_settings import Reward
from raypipe.settings import Encoder


class Weights(Strict):
    """Where a metric's weights are."""

    id: str
    """Hub id, path of a directory or a file, or URI (s3://, gs://) of either."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    file: str | None = None
    """File inside `id`; None where `id` is the file, or all of the directory is needed."""


class MetricSettings(Strict):
    """What all metrics have."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """What the tables call it; None for the metric's own name. Two of one kind need it."""
    metric: str

    @property
    def label(self) -> str:
        """What the tables call it."""
        return self.name or self.metric


class Sharpness(MetricSettings):
    """Variance of the Laplacian: the baseline to beat."""

    metric: Literal["sharpness"] = "sharpness"
    size: int = Field(224, ge=8)
    """Pixels of the square that is looked at: short side resized, centre cut out."""


class FaceJudge(MetricSettings):
    """The miniature world's ground truth of faces; no other pictures can be judged by it."""

    metric: Literal["face_judge"] = "face_judge"


class ClipScore(MetricSettings):
    """100 cos of picture and prompt."""

    metric: Literal["clip_score"] = "clip_score"
    encoder: Encoder = Encoder()


class Scs(MetricSettings):
    """Semantic consistency: how alike a model's pictures of one prompt are."""

    metric: Literal["scs"] = "scs"
    encoder: Encoder = Encoder()


class Hps(MetricSettings):
    """Human Preference Score v2.1 (and v2.0, which has another file)."""

    metric: Literal["hps"] = "hps"
    architecture: str = "ViT-H-14"
    """open_clip's name, or a directory with open_clip_config.json."""
    weights: Weights = Weights(
        id="xswu/HPSv2",
        revision="697403c78157020a1ae59d23f111aa58ced35b0a",
        file="HPS_v2.1_compressed.pt",
    )


class PickScore(MetricSettings):
    """PickScore v1."""

    metric: Literal["pickscore"] = "pickscore"
    weights: Weights = Weights(
        id="yuvalkirstain/PickScore_v1", revision="a4e4367c6dfa7288a00c550414478f865b875800"
    )
    processor: Weights = Weights(
        id="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
    )
    """Whose tokenizer and image processor are taken."""


class Aesthetic(MetricSettings):
    """LAION's aesthetic predictor v2 on top of an image encoder."""

    metric: Literal["aesthetic"] = "aesthetic"
    encoder: Encoder = Encoder(id="ViT-L-14")
    weights: Weights = Weights(id="trl-lib/ddpo-aesthetic-predictor", file="aesthetic-model.pth")
    """The hub's copy of sac+logos+ava1-l14-linearMSE.pth."""


class ImageReward(MetricSettings, Reward):
    """ImageReward; its keys are those of a reward."""

    metric: Literal["image_reward"] = "image_reward"


class OfFaces(MetricSettings):
    """What metrics of faces have: a picture's score is made of those of its faces."""

    detector: Detector = Detector()
    """How faces are found."""
    boxes: Literal["detected", "given"] = "detected"
    """given: the face that a pair of jobs/face_pairs.py is about, wherever a detector stands."""
    aggregate: Literal["min", "mean", "area"] = "mean"
    """Of several faces: the lowest score, the mean, or the mean weighted by the boxes' areas."""


class FaceScore(OfFaces, Reward):
    """Face Score: ImageReward's network, trained on faces."""

    metric: Literal["face_score"] = "face_score"
    id: str = "AIGCer-OPPO/FaceScore"
    """Hub id, or the directory `model` of a run of jobs/face_score.py."""


class FaceQuality(OfFaces):
    """TOPIQ trained for faces, of the pyiqa package (extra `iqa`)."""

    metric: Literal["topiq_nr_face"] = "topiq_nr_face"
    weights: Weights = Weights(
        id="chaofengc/IQA-PyTorch-Weights", file="topiq_nr_cgfiqa_res50-0a8b8e4f.pth"
    )


class _Inception(MetricSettings):
    weights: Weights
    """pt_inception-2015-12-05-6726825d.pth; GitHub has it, no hub, so it has no default."""
    resize: Literal["tensorflow", "pillow"] = "tensorflow"
    """How pictures become 299×299: as in the original code (published values), or antialiased."""


class Fid(_Inception):
    """Fréchet Inception distance to a reference set."""

    metric: Literal["fid"] = "fid"


class Kid(_Inception):
    """Kernel Inception distance to a reference set."""

    metric: Literal["kid"] = "kid"
    subsets: int = Field(100, ge=1)
    subset_size: int = Field(1000, ge=2)
    seed: int = 0


Metric = Annotated[
    Sharpness
    | FaceJudge
    | ClipScore
    | Scs
    | ImageReward
    | Hps
    | PickScore
    | Aesthetic
    | FaceScore
    | FaceQuality
    | Fid
    | Kid,
    Field(discriminator="metric"),
]
"""One entry of a config's list of metrics."""
