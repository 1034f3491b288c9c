"""Faces are found where they are, by every backend, in pictures of every size."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from pydantic import ValidationError
from skimage.feature import Cascade

from raypipe.config.networks import Detector
from raypipe.errors import UserError
from raypipe.miniature.data import HELD_OUT
from raypipe.miniature.portrait import landmarks
from raypipe.miniature.scenes import render
from raypipe.miniature.specs import sample_portrait, sample_scene
from raypipe.models.faces.detector import load_detector
from raypipe.models.faces.face import inside
from raypipe.models.faces.lbp import merged

ASTRONAUT = (168, 60, 280, 190)
"""Where the face is in scikit-image's photo of Eileen Collins (NASA, public domain)."""


@pytest.fixture(scope="module")
def lbp():
    return load_detector(Detector())


@pytest.fixture(scope="module")
def photo():
    return skimage.data.astronaut()


def middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def holds(outer, point, margin=0.0):
    x, y = point
    return outer[0] - margin < x < outer[2] + margin and outer[1] - margin < y < outer[3] + margin


def strongest(faces):
    return max(faces, key=lambda face: face.neighbours)


def test_a_photographed_face_is_found(lbp, photo):
    (faces,) = lbp([photo])
    face = strongest(faces)
    assert holds(ASTRONAUT, middle(face.box))
    assert 60 < face.box[2] - face.box[0] < 140
    assert face.confidence is None
    assert face.landmarks is None


def test_miniature_portraits_have_one_face_and_scenes_none(lbp):
    specs = [sample_portrait(HELD_OUT + i) for i in range(60)]
    found = lbp([render(spec) for spec in specs])
    assert np.mean([len(faces) == 1 for faces in found]) >= 0.95
    for spec, faces in zip(specs, found, strict=True):
        assert all(holds(face.box, landmarks(spec)["nose"]) for face in faces[:1])
    scenes = lbp([render(sample_scene(HELD_OUT + i)) for i in range(60)])
    assert np.mean([len(faces) == 0 for faces in scenes]) >= 0.9


def test_several_faces_come_largest_first(lbp):
    first, second = (render(sample_portrait(HELD_OUT + i)) for i in (0, 1))
    canvas = np.full((260, 400, 3), 128, np.uint8)
    canvas[:256, :256] = Image.fromarray(first).resize((256, 256), Image.Resampling.BICUBIC)
    canvas[60:188, 264:392] = Image.fromarray(second).resize((128, 128), Image.Resampling.BICUBIC)
    (faces,) = lbp([canvas])
    assert len(faces) >= 2
    assert holds((0, 0, 256, 256), middle(faces[0].box))
    areas = [(f.box[2] - f.box[0]) * (f.box[3] - f.box[1]) for f in faces]
    assert areas == sorted(areas, reverse=True)
    assert any(holds((264, 60, 392, 188), middle(face.box)) for face in faces)


def test_boxes_are_in_pixels_of_the_picture_whatever_its_size(lbp, photo):
    """A picture beyond the size that is searched has its face where the small one has it."""
    small = np.asarray(Image.fromarray(photo).resize((384, 384), Image.Resampling.LANCZOS))
    large = np.asarray(Image.fromarray(photo).resize((1536, 1536), Image.Resampling.LANCZOS))
    one, other = (strongest(faces) for faces in lbp([small, large]))
    assert np.abs(4 * np.array(one.box) - other.box).max() < 40


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (24, 24), (10, 4000), (64, 64)])
def test_pictures_without_faces_have_none(lbp, shape):
    assert lbp([np.full((*shape, 3), 90, np.uint8)]) == [[]]


def test_a_tiny_face_is_no_face(lbp, photo):
    canvas = np.full((1024, 1024, 3), 128, np.uint8)
    canvas[500:548, 500:548] = Image.fromarray(photo[:256, 100:356]).resize((48, 48))
    assert lbp([canvas]) == [[]]


def test_a_face_cut_by_the_border_ends_there(lbp, photo):
    for left in (180, 190, 200, 210):
        cut = np.ascontiguousarray(photo[40:240, left : left + 200])
        (faces,) = lbp([cut])
        for face in faces:
            x0, y0, x1, y1 = face.box
            assert 0 <= x0 < x1 <= 200
            assert 0 <= y0 < y1 <= 200


def test_fewer_windows_are_asked_for_by_config(photo):
    counts = [
        len(load_detector(Detector(min_neighbours=least))([photo])[0]) for least in (1, 5, 15)
    ]
    assert counts[0] > counts[1] >= counts[2] == 1


def test_windows_are_merged_as_a_plain_loop_would():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 30, (40, 1))], axis=1)

    def overlap(a, b):
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        common = max(w, 0) * max(h, 0)
        return common / ((a[2] - a[0]) ** 2 + (b[2] - b[0]) ** 2 - common)

    groups: list[set[int]] = []
    for i in range(40):
        near = [g for g in groups if any(overlap(boxes[i], boxes[j]) > 0.4 for j in g)]
        groups = [g for g in groups if g not in near] + [{i}.union(*near)]
    expected = sorted((*boxes[sorted(g)].mean(0).round(6), len(g)) for g in groups)
    assert sorted((*mean.round(6), count) for mean, count in merged(boxes)) == expected


def test_scikit_image_merges_the_same_windows(photo):
    """With its own merging, the library puts a face at the place where the count is highest."""
    cascade = Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    theirs = cascade.detect_multi_scale(photo, 1.1, 1, (60, 60), (300, 300), 6)
    ours = strongest(load_detector(Detector(longest=512))([photo])[0])
    assert any(
        holds((f["c"], f["r"], f["c"] + f["width"], f["r"] + f["height"]), middle(ours.box))
        for f in theirs
    )


def test_boxes_outside_the_picture_are_dropped():
    assert inside((5, 5, 9, 9), 10, 10) == (5, 5, 9, 9)
    assert inside((-5, -5, -1, 4), 10, 10) is None
    assert inside((12, 2, 15, 4), 10, 10) is None


@pytest.mark.parametrize("picture", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_other_arrays_are_refused(lbp, picture):
    with pytest.raises(ValueError, match="uint8 H×W×3"):
        lbp([picture])


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="needs weights"):
        Detector(backend="retinaface")
    with pytest.raises(ValidationError, match="brings its own"):
        Detector(weights="x.pth")


def tame(net, photo):
    """Give random weights outputs of the usual size: boxes near their anchors, few sure faces."""
    pixels_BCHW = torch.tensor(photo[None, :256, :256, ::-1].copy()).float().permute(0, 3, 1, 2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(pixels_BCHW - 115)
        net.eval()
        for head in [*net.BboxHead, *net.LandmarkHead]:
            head.conv1x1.weight.mul_(0.3)
        margin = net(pixels_BCHW - 115)[1].diff(dim=-1).flatten()
        for head in net.ClassHead:
            head.conv1x1.weight.mul_(4 / margin.std())
            head.conv1x1.bias[0::2], head.conv1x1.bias[1::2] = 4.0, -4.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory, photo):
    """Random weights of the full architecture, in the published layout."""
    alignment = pytest.importorskip(
        "batch_face.face_detection.alignment", reason="needs pip install batch-face"
    )
    path = tmp_path_factory.mktemp("retinaface")
    for name, config in (("mobilenet", alignment.cfg_mnet), ("resnet50", alignment.cfg_re50)):
        torch.manual_seed(0)
        net = alignment.RetinaFace(cfg={**config, "pretrain": False}, phase="train")
        tame(net, photo)
        state = {f"module.{key}": value for key, value in net.state_dict().items()}
        torch.save(state, path / f"{name}.pth")
    return path


def retinaface(weights, network="mobilenet", **more):
    path = str(weights / f"{network}.pth")
    return load_detector(Detector(backend="retinaface", weights=path, network=network, **more))


@pytest.mark.parametrize("network", ["mobilenet", "resnet50"])
def test_retinaface_is_used_as_face_score_uses_it(weights, network, photo):
    """Face Score reads a file with OpenCV (blue first) and detects with the package's defaults."""
    from batch_face import RetinaFace

    picture = np.ascontiguousarray(photo[40:200, 100:300])
    plain = RetinaFace(model_path=str(weights / f"{network}.pth"), network=network)
    expected = [f for f in plain(picture[:, :, ::-1].copy(), cv=False) if f[2] > 0.9]
    expected = [f for f in expected if inside(f[0], 160, 200) is not None]
    (faces,) = retinaface(weights, network)([picture])
    assert len(faces) == len(expected) > 0
    for box, marks, confidence in expected:
        near = min(faces, key=lambda f: np.abs(np.array(f.box) - inside(box, 160, 200)).sum())
        assert near.confidence == pytest.approx(confidence, abs=1e-3)
        assert near.box == pytest.approx(inside(box, 160, 200), abs=0.05)
        assert np.abs(np.array(near.landmarks) - marks).max() < 0.05


def test_retinaface_finds_the_same_in_any_batch(weights, photo):
    detector = retinaface(weights)
    pictures = [photo[:128, :160], photo[100:228, 100:260], photo[:96, :96]]
    together = detector(pictures)
    for picture, faces in zip(pictures, together, strict=True):
        (alone,) = detector([picture])
        assert len(faces) == len(alone) > 0
        assert np.abs(np.array([f.box for f in alone]) - [f.box for f in faces]).max() < 1e-2


def test_large_pictures_are_searched_reduced(weights, photo, capsys):
    (faces,) = retinaface(weights, longest=128)([photo])
    assert all(0 <= f.box[0] < f.box[2] <= 512 for f in faces)
    assert max(f.box[2] for f in faces) > 128
    retinaface(weights, longest=2000)([photo[:64, :64]])
    assert capsys.readouterr().out == ""


def test_weights_of_another_network_are_refused(weights, tmp_path):
    with pytest.raises(UserError, match="must be of RetinaFace mobilenet"):
        load_detector(Detector(backend="retinaface", weights=str(weights / "resnet50.pth")))
    state = torch.load(weights / "mobilenet.pth", weights_only=True)
    lacking = dict(list(state.items())[5:])
    torch.save(lacking, tmp_path / "lacking.pth")
    with pytest.raises(UserError, match="missing, as body"):
        load_detector(Detector(backend="retinaface", weights=str(tmp_path / "lacking.pth")))
    torch.save({**state, "other": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(UserError, match="1 foreign, as other"):
        load_detector(Detector(backend="retinaface", weights=str(tmp_path / "more.pth")))
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    for name in ("damaged.pth", "absent.pth"):
        with pytest.raises(UserError, match="cannot be read"):
            load_detector(Detector(backend="retinaface", weights=str(tmp_path / name)))
