"""Where weights are found, and what a bad file is told."""

import os

import pytest
import torch
from safetensors.torch import save_file

from raypipe.errors import UserError
from raypipe.metrics.settings import Weights
from raypipe.metrics.weights import load_whole, read_state, weights_directory, weights_file


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/raypipe-test-ran-code",)


def test_a_file_is_named_by_itself_or_in_its_directory(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pt")
    assert weights_file(Weights(id=str(tmp_path / "w.pt")), "w") == tmp_path / "w.pt"
    assert weights_file(Weights(id=str(tmp_path), file="w.pt"), "w") == tmp_path / "w.pt"
    assert weights_directory(Weights(id=str(tmp_path)), "w", ["*"]) == tmp_path


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"file": None}, r"w must name a file inside its directory \(weights.file\)"),
        ({"file": "other.pt"}, "w not found: .*other.pt"),
    ],
)
def test_what_is_not_there(tmp_path, weights, told):
    with pytest.raises(UserError, match=told):
        weights_file(Weights(id=str(tmp_path), **weights), "w")


def test_a_file_is_no_directory(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="must be a directory or a hub id"):
        weights_directory(Weights(id=str(tmp_path / "w.pt")), "w", ["*"])


def test_both_formats_are_read_bare_or_inside_a_key(tmp_path):
    state = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "bare.pt")
    torch.save({"params": state, "epoch": 3}, tmp_path / "inside.pt")
    for name in ("w.safetensors", "bare.pt", "inside.pt"):
        found = read_state(tmp_path / name, "w", inside="params")
        assert sorted(found) == ["a", "b"]
        assert torch.equal(found["a"], state["a"])


def test_no_code_is_run_and_other_files_are_refused(tmp_path):
    torch.save({"state_dict": Malicious()}, tmp_path / "evil.pt")
    torch.save({"a": torch.ones(1), "name": "x"}, tmp_path / "mixed.pt")
    torch.save({}, tmp_path / "empty.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "cut.safetensors").write_bytes(b"\x09\0\0\0\0\0\0\0{")
    for name in ("evil.pt", "mixed.pt", "empty.pt", "text.pt", "cut.safetensors"):
        with pytest.raises(UserError, match=r"the weights (must hold nothing but|cannot be)"):
            read_state(tmp_path / name, "the weights")
    assert not os.path.exists("/tmp/raypipe-test-ran-code")  # noqa: PTH110


def test_half_precision_becomes_the_modules_own():
    module = torch.nn.Linear(2, 1)
    load_whole(module, {"weight": torch.ones(1, 2).half(), "bias": torch.zeros(1).half()}, "w")
    assert module.weight.dtype == torch.float32
    assert module.weight.tolist() == [[1, 1]]


def test_only_some_keys_are_named():
    module = torch.nn.Sequential(*[torch.nn.Linear(1, 1) for _ in range(4)])
    with pytest.raises(UserError, match=r"keys 8 missing \(0.weight, 0.bias, 1.weight, \.\.\.\)"):
        load_whole(module, {}, "w")
