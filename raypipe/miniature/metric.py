"""The ground truth of miniature faces as a metric: it knows how the renderer draws them."""

import numpy as np

from raypipe.metrics import settings
from raypipe.metrics.registry import Pictures, Prompts
from raypipe.miniature.face_judge import judged


class FaceJudge:
    """How much of the face no rendering explains: see `raypipe.miniature.face_judge.score`.

    Meaningless for pictures outside of the miniature world, and for those without a portrait.
    """

    def __init__(self, config: settings.FaceJudge, device: str = "cpu"):
        """Neither is used: nothing can be set, and this is arithmetic on one small picture."""

    def __call__(self, pictures: Pictures, prompts: Prompts = None) -> np.ndarray:
        """Scores (B,), at most 0. UserError for pictures of another size than the world's."""
        what = "metric face_judge (of the miniature world)"
        return np.array([judged(picture, what) for picture in pictures], float)
