"""Every metric: the facts that a table shows of it, and the config section that describes one,
`{metric: NAME, ...}`. docs/metrics.md has them all.

To add one: a class here (and in the union at the end), and a class that scores in a file of its
own. Defaults are the published weights, by hub id and commit. Nothing heavy is imported here.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from raypipe.config.networks import Detector, Encoder, Reward
from raypipe.config.paths import WeightsId
from raypipe.config.strict import Strict
from raypipe.config.values import Name, Seed


class Weights(Strict):
    """Where a metric's weights are."""

    id: WeightsId
    """Hub id, path of a directory or a file, or URI (s3://, gs://) of either."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    file: str | None = None
    """File inside `id`; None where `id` is the file, or all of the directory is needed."""


class MetricSettings(Strict):
    """What all metrics have in common."""

    name: Name | None = None
    """What the tables call it; None for the metric's own name. Two of one kind need it."""
    metric: str

    title: ClassVar[str]
    higher_is_better: ClassVar[bool]
    low: ClassVar[float | None] = None
    """Lower end of its range; None for no bound."""
    high: ClassVar[float | None] = None
    reads: ClassVar[Literal["picture", "face", "prompt", "set"]] = "picture"
    """What one score is of: a picture, a face cut out of one, a picture beside the others of its
    model and prompt, or a set against a reference set."""
    reads_prompt: ClassVar[bool] = False
    source: ClassVar[str]
    """Paper and code."""
    published: ClassVar[str] = "none"
    """The weights that are its defaults."""
    scorer: ClassVar[str]
    """`module:Class`, taken as Class(settings, device)."""

    @property
    def label(self) -> str:
        """What the tables call it."""
        return self.name or self.metric


class Sharpness(MetricSettings):
    """Variance of the Laplacian: the baseline to beat."""

    title = "Sharpness"
    higher_is_better = True
    low = 0
    source = "Pech-Pacheco et al. 2000 (variance of the Laplacian)"
    scorer = "raypipe.metrics.sharpness:Sharpness"

    metric: Literal["sharpness"] = "sharpness"
    size: int = Field(224, ge=8, le=8192)
    """Pixels of the square that is scored: short side resized, centre cut out."""


class FaceJudge(MetricSettings):
    """The miniature world's ground truth of faces; no other pictures can be judged by it."""

    title = "Judge of miniature faces"
    higher_is_better = True
    high = 0
    source = "raypipe.miniature.face_judge; portraits of the miniature world alone"
    scorer = "raypipe.miniature.metric:FaceJudge"

    metric: Literal["face_judge"] = "face_judge"


class ClipScore(MetricSettings):
    """100 cos of picture and prompt."""

    title = "CLIPScore"
    higher_is_better = True
    low = 0
    high = 100
    reads_prompt = True
    source = "Hessel et al. 2021 (there 2.5 for 100); open_clip"
    published = "any open_clip model, or `miniature/clip`"
    scorer = "raypipe.metrics.clip:ClipScore"

    metric: Literal["clip_score"] = "clip_score"
    encoder: Encoder = Encoder()

    @model_validator(mode="after")
    def _reads_text(self) -> Self:
        if self.encoder.library != "open_clip":
            raise ValueError(
                f"metric {self.label} needs an encoder that reads text, of open_clip, got one of "
                f"{self.encoder.library}"
            )
        return self


class Scs(MetricSettings):
    """Semantic consistency: how alike a model's pictures of one prompt are."""

    title = "Semantic consistency (SCS)"
    higher_is_better = True
    low = 0
    high = 100
    reads = "prompt"
    source = "arXiv 2404.08799, as jobs/consistency.py"
    published = "any open_clip or timm model, or `miniature/clip`"
    scorer = "raypipe.metrics.clip:Embeddings"

    metric: Literal["scs"] = "scs"
    encoder: Encoder = Encoder()


class Hps(MetricSettings):
    """Human Preference Score v2.1 (and v2.0, which has another file)."""

    title = "HPS v2.1"
    higher_is_better = True
    low = -100
    high = 100
    reads_prompt = True
    source = "Wu et al. 2023, arXiv 2306.09341; tgxs002/HPSv2"
    published = "xswu/HPSv2, HPS_v2.1_compressed.pt"
    scorer = "raypipe.metrics.clip:Hps"

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

    title = "PickScore"
    higher_is_better = True
    low = -100
    high = 100
    reads_prompt = True
    source = "Kirstain et al. 2023, arXiv 2305.01569; yuvalkirstain/PickScore"
    published = "yuvalkirstain/PickScore_v1"
    scorer = "raypipe.metrics.pickscore:PickScore"

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

    title = "Aesthetic"
    higher_is_better = True
    source = "Schuhmann 2022; christophschuhmann/improved-aesthetic-predictor"
    published = "sac+logos+ava1-l14-linearMSE.pth on OpenAI's CLIP ViT-L/14"
    scorer = "raypipe.metrics.aesthetic:Aesthetic"

    metric: Literal["aesthetic"] = "aesthetic"
    encoder: Encoder = Encoder(id="ViT-L-14")
    weights: Weights = Weights(id="trl-lib/ddpo-aesthetic-predictor", file="aesthetic-model.pth")
    """The hub's copy of sac+logos+ava1-l14-linearMSE.pth."""


class ImageReward(MetricSettings, Reward):
    """ImageReward; its keys are those of a reward."""

    title = "ImageReward"
    higher_is_better = True
    reads_prompt = True
    source = "Xu et al. 2023, arXiv 2304.05977; THUDM/ImageReward"
    published = "THUDM/ImageReward, ImageReward.pt, or `miniature/reward`"
    scorer = "raypipe.metrics.reward:ImageReward"

    metric: Literal["image_reward"] = "image_reward"


class OfFaces(MetricSettings):
    """What metrics of faces have in common: a picture's score combines those of its faces."""

    detector: Detector = Detector()
    """How faces are found."""
    boxes: Literal["detected", "given"] = "detected"
    """given: the face that a pair of jobs/face_pairs.py is about, wherever a detector stands."""
    aggregate: Literal["min", "mean", "area"] = "mean"
    """Of several faces: the lowest score, the mean, or the mean weighted by the boxes' areas."""


class FaceScore(OfFaces, Reward):
    """Face Score: ImageReward's network, trained on faces."""

    title = "Face Score"
    higher_is_better = True
    reads = "face"
    source = "Liao et al. 2024, arXiv 2406.17100; OPPO-Mente-Lab/FaceScore"
    published = "AIGCer-OPPO/FaceScore, FS_model.pt, or `model` of a run of jobs/face_score.py"
    scorer = "raypipe.metrics.reward:FaceScore"

    metric: Literal["face_score"] = "face_score"
    id: WeightsId = "AIGCer-OPPO/FaceScore"
    """Hub id, or the directory `model` of a run of jobs/face_score.py."""


class FaceQuality(OfFaces):
    """TOPIQ trained for faces, of the pyiqa package (extra `iqa`)."""

    title = "TOPIQ face"
    higher_is_better = True
    low = 0
    high = 1
    reads = "face"
    source = "Chen et al. 2024, arXiv 2308.03060; pyiqa (extra `iqa`)"
    published = "chaofengc/IQA-PyTorch-Weights, topiq_nr_cgfiqa_res50-0a8b8e4f.pth"
    scorer = "raypipe.metrics.face_quality:FaceQuality"

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

    title = "FID"
    higher_is_better = False
    low = 0
    reads = "set"
    source = "Heusel et al. 2017, arXiv 1706.08500; network as in mseitzer/pytorch-fid"
    published = "pt_inception-2015-12-05-6726825d.pth"
    scorer = "raypipe.metrics.inception:Inception"

    metric: Literal["fid"] = "fid"


class Kid(_Inception):
    """Kernel Inception distance to a reference set."""

    title = "KID"
    higher_is_better = False
    reads = "set"
    source = "Bińkowski et al. 2018, arXiv 1801.01401"
    published = "pt_inception-2015-12-05-6726825d.pth"
    scorer = "raypipe.metrics.inception:Inception"

    metric: Literal["kid"] = "kid"
    subsets: int = Field(100, ge=1, le=100_000)
    subset_size: int = Field(1000, ge=2, le=1_000_000)
    seed: Seed = 0


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
