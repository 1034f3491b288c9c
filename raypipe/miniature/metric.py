"""The ground truth of miniature faces as a metric: it knows how the renderer draws them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from raypipe.errors import UserError
from raypipe.metrics import settings
from raypipe.miniature.face_judge import SIDE, score


class FaceJudge:
    """How much of the face no rendering explains: see `raypipe.miniature.face_judge.score`.

    Meaningless for pictures outside of the miniature world, and for those without a portrait.
    """

    def __init__(self, config: settings.FaceJudge, device: str = "cpu"):
        """Neither is used: nothing can be set, and this is arithmetic on one small picture."""

    def __call__(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str] | None = None
    ) -> np.ndarray:
        """Scores (B,), at most 0. UserError for pictures of another size than the world's."""
        for picture in pictures:
            if picture.size != (SIDE, SIDE):
                width, height = picture.size
                raise UserError(
                    f"metric face_judge knows pictures of the miniature world, {SIDE}×{SIDE}, "
                    f"got one of {width}×{height}"
                )
        return np.array([score(np.asarray(picture.convert("RGB"))) for picture in pictures], float)
