"""Config sections of the networks that score, encode or detect, in metrics and jobs alike."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from raypipe.config.paths import FilePath, WeightsId
from raypipe.config.strict import Strict

Kind = Literal["image_reward", "face_score"]

Heads = Annotated[int, Field(ge=1, le=1024)]

FACE_TEXT = "A face."
"""What Face Score reads with every face (github.com/OPPO-Mente-Lab/FaceScore)."""


class Reward(Strict):
    """A network that scores how well a picture pleases, with its text."""

    id: WeightsId = "THUDM/ImageReward"
    """Hub id or directory: THUDM/ImageReward (ImageReward.pt), AIGCer-OPPO/FaceScore (FS_model.pt),
    one that jobs/face_score.py wrote (model.safetensors), or miniature/NAME."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    backend: Literal["port", "upstream"] = "port"
    """port: here, batched. upstream: the package image-reward, one picture at a time, in an
    environment of its own that `make env-imagereward` builds."""
    standardize: bool | None = None
    """Subtract the reward's mean and divide by its deviation. None: as its kind is published, which
    is true for ImageReward and false for Face Score."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the port's forward pass; bfloat16 moves scores by some hundredths (docs/log.md)."""
    interpreter: FilePath | None = None
    """Python of the upstream backend; None: RAYPIPE_IMAGEREWARD_PYTHON, or .venv-imagereward."""

    @model_validator(mode="after")
    def _fits_backend(self) -> Self:
        if self.interpreter is not None and self.backend != "upstream":
            raise ValueError(f"interpreter needs backend upstream, got backend {self.backend}")
        if self.precision != "float32" and self.backend != "port":
            raise ValueError(f"precision {self.precision} needs backend port, got {self.backend}")
        return self


class RewardFacts(Strict):
    """What the tensors do not show: a reward's config.json. Defaults are the published values."""

    kind: Kind
    heads: tuple[Heads, Heads] = (16, 12)
    """Attention heads of vision and text."""
    image_size: int = Field(224, ge=1, le=8192)
    """Side of the picture that the network sees, pixels."""
    max_length: int = Field(35, ge=2, le=100_000)
    """Tokens of a text, the first and last included; the rest is cut off."""
    mean: float = Field(0.16717362830052426, ge=-1e6, le=1e6)
    """Mean of the raw reward; this and `std` are ImageReward's on its own data."""
    std: float = Field(1.0333394966054072, gt=0, le=1e6)

    def standardizes(self, asked: bool | None) -> bool:
        """Whether rewards are standardized, where the config asks for it, or leaves it open."""
        return self.kind == "image_reward" if asked is None else asked


class Encoder(Strict):
    """What turns a picture into a vector."""

    library: Literal["open_clip", "timm"] = "open_clip"
    id: WeightsId = "ViT-B-32"
    """open_clip architecture, timm model, local directory, or miniature/NAME."""
    pretrained: str | None = "openai"
    """open_clip's name of the weights; ignored for a directory."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        named = self.library == "open_clip" and self.pretrained and "/" not in self.id
        return f"{self.id}/{self.pretrained}" if named else self.id


class Detector(Strict):
    """How faces are found, and which of those found are kept."""

    backend: Literal["lbp", "retinaface"] = "lbp"
    """scikit-image's LBP cascade of frontal faces, whose weights come with that library, or
    RetinaFace of the package batch-face (pip install batch-face)."""
    weights: WeightsId | None = None
    """Of retinaface: the published .pth file, as a path, a URI, or org/name/FILE on the hub."""
    network: Literal["mobilenet", "resnet50"] = "mobilenet"
    """Of retinaface: what `weights` are of. The published Face Score uses mobilenet."""
    longest: int | None = Field(None, ge=64, le=16_384)
    """Larger pictures are searched reduced to this longest side, pixels. None: 384 for lbp, which
    then finds faces from 24 of those pixels on, and the picture as it is for retinaface."""
    min_confidence: float = Field(0.9, ge=0, le=1)
    """Of retinaface: faces of lower confidence are dropped (0.9: as Face Score does)."""
    min_neighbours: int = Field(5, ge=1, le=10_000)
    """Of lbp, which has no confidence: faces at which fewer windows fired are dropped."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.backend == "retinaface" and self.weights is None:
            raise ValueError("backend retinaface needs weights, the published .pth file, got none")
        if self.backend == "lbp" and self.weights is not None:
            raise ValueError(f"backend lbp brings its own weights, got {self.weights}")
        return self
