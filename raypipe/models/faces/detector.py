"""Face detection behind one small interface: pictures to the faces in each."""

from raypipe.config.networks import Detector
from raypipe.models.faces.face import FaceDetector


def load_detector(config: Detector, device: str = "cpu") -> FaceDetector:
    """The detector of a config. UserError for a missing package or weights that do not fit."""
    if config.backend == "lbp":
        from raypipe.models.faces.lbp import LbpDetector

        return LbpDetector(config)
    from raypipe.models.faces.retinaface import RetinaFaceDetector

    return RetinaFaceDetector(config, device)
