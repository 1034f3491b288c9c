"""Whether a face detector can be loaded, as far as packages and local files tell.

Nothing here imports torch.
"""

from importlib.util import find_spec
from pathlib import Path

from raypipe.config.networks import Detector
from raypipe.errors import UserError
from raypipe.weights.headers import check_weights_file
from raypipe.weights.locate import is_local, locate
from raypipe.weights.single_file import split_hub_file

WHAT = "weights of the face detector"


def check_detector(detector: Detector) -> None:
    """UserError for a missing package, and for local weights that are no file of tensors."""
    if detector.weights is None:
        return
    if find_spec("batch_face") is None:
        raise UserError("detector backend retinaface needs batch-face: pip install batch-face")
    where = locate(detector.weights)
    if "://" in where:
        return
    if is_local(where):
        check_weights_file(Path(where), WHAT)
    else:
        split_hub_file(where, "the face detector")
