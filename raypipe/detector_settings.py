"""The section of a config that says how faces are found; importing it loads nothing heavy."""

from typing import Literal, Self

from pydantic import Field, model_validator

from raypipe.config import Strict


class Detector(Strict):
    """How faces are found, and which of those found are kept."""

    backend: Literal["lbp", "retinaface"] = "lbp"
    """scikit-image's LBP cascade of frontal faces, whose weights come with that library, or
    RetinaFace of the package batch-face (pip install 'raypipe[faces]')."""
    weights: str | None = None
    """Of retinaface: the published .pth file, as a path, a URI, or org/name/FILE on the hub."""
    network: Literal["mobilenet", "resnet50"] = "mobilenet"
    """Of retinaface: what `weights` are of. The published Face Score uses mobilenet."""
    longest: int | None = Field(None, ge=64)
    """Larger pictures are searched reduced to this longest side, pixels. None: 384 for lbp, which
    then finds faces from 24 of those pixels on, and the picture as it is for retinaface."""
    min_confidence: float = Field(0.9, ge=0, le=1)
    """Of retinaface: faces that it is less sure of are dropped (0.9: as Face Score does)."""
    min_neighbours: int = Field(5, ge=1)
    """Of lbp, which knows no confidence: faces at which fewer windows fired are dropped."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.backend == "retinaface" and self.weights is None:
            raise ValueError("backend retinaface needs weights, the published .pth file, got none")
        if self.backend == "lbp" and self.weights is not None:
            raise ValueError(f"backend lbp brings its own weights, got {self.weights}")
        return self
