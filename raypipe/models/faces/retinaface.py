"""RetinaFace as the package batch-face (1.5) has it: the detector that Face Score was made with.

The published files are `mobilenet0.25_Final.pth` and `Resnet50_Final.pth` of
github.com/biubug6/Pytorch_Retinaface, which batch-face offers at
github.com/elliottzheng/face-detection/releases/tag/0.0.1: state dicts, under the prefix `module.`.
"""

import pickle
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from raypipe.config.networks import Detector
from raypipe.errors import UserError
from raypipe.models.faces.face import Face, check_picture, inside, largest_first
from raypipe.models.memory import Pieces
from raypipe.weights.node import file_on_node
from raypipe.weights.retry import one_line

PREFIX = "module."


class RetinaFaceDetector:
    """RetinaFace on one device, its weights loaded strictly."""

    def __init__(self, config: Detector, device: str = "cpu"):
        kind = _package()
        path = file_on_node(str(config.weights), None, "the face detector")
        state = _state(path)
        try:
            gpu = torch.device(device).index or 0
            self._detector = kind(
                gpu_id=-1 if device == "cpu" else gpu, model_path=path, network=config.network
            )
        except RuntimeError as error:
            raise UserError(_misfit(config, one_line(error))) from error
        _check_keys(config, state, self._detector.model.state_dict())
        self._longest, self._min_confidence = config.longest, config.min_confidence
        self._pieces = Pieces(
            f"one picture must fit the memory of its device, but face detection does not fit "
            f"{device}: set longest of the detector"
        )

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """See `FaceDetector`; pictures of one size are searched together."""
        places = defaultdict(list)
        for place, picture_HWC in enumerate(pictures):
            check_picture(picture_HWC)
            places[picture_HWC.shape].append(place)
        faces: list[list[Face]] = [[] for _ in pictures]
        for same in places.values():
            batch_BHWC = np.stack([pictures[place] for place in same])
            found = self._pieces(
                len(same), lambda piece, batch=batch_BHWC: self._find(batch[piece])
            )
            for place, of_one in zip(same, (one for part in found for one in part), strict=True):
                faces[place] = of_one
        return faces

    def _find(self, pictures_BHWC: np.ndarray) -> list[list[Face]]:
        height, width = pictures_BHWC.shape[1:3]
        resize = min(1.0, self._longest / max(height, width)) if self._longest else 1.0
        # The network was trained on blue-green-red; `cv` has the package swap what it is given.
        found = self._detector(
            pictures_BHWC, cv=True, threshold=self._min_confidence, resize=resize
        )
        return [
            largest_first([face for one in of_one if (face := _face(one, height, width))])
            for of_one in found
        ]


def _face(found: tuple[Any, Any, Any], height: int, width: int) -> Face | None:
    box_4, landmarks_52, confidence = found
    box = inside(box_4.tolist(), height, width)
    if box is None:
        return None
    landmarks = tuple((float(x), float(y)) for x, y in landmarks_52)
    return Face(box, float(confidence), landmarks=landmarks)


def _package() -> Any:
    try:
        from batch_face import RetinaFace
    except ImportError as error:
        raise UserError(
            f"detector backend retinaface needs batch-face: pip install batch-face ({error})"
        ) from None
    return RetinaFace


def _state(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, without the prefix of data parallel training."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        return {key.removeprefix(PREFIX): value.float() for key, value in state.items()}
    except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        reason = one_line(error)
        raise UserError(f"weights of the face detector cannot be read: {path}: {reason}") from None


def _check_keys(config: Detector, state: dict[str, Any], wanted: dict[str, Any]) -> None:
    """UserError unless file and network have the same tensors: the package would load any."""
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing, foreign = sorted(set(wanted) - set(state) - counters), sorted(set(state) - set(wanted))
    if missing or foreign:
        counts = [f"{len(keys)} {word}, as {keys[0]}" for word, keys in
                (("missing", missing), ("foreign", foreign)) if keys]  # fmt: skip
        raise UserError(_misfit(config, "; ".join(counts)))


def _misfit(config: Detector, reason: str) -> str:
    return (
        f"weights of the face detector must be of RetinaFace {config.network}: "
        f"{config.weights}: {reason}"
    )
