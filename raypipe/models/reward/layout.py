"""Where a reward's files are, and whether they can be one, by their names and headers.

`raypipe.models.reward.files` describes the layouts. Nothing here imports torch.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypipe.config.networks import Kind, Reward, RewardFacts
from raypipe.config.strict import validate
from raypipe.errors import UserError
from raypipe.models.reward.keys import Geometry, geometry
from raypipe.weights.headers import check_weights_file, read_json, safetensors_shapes
from raypipe.weights.locate import is_local, locate
from raypipe.weights.node import bert_on_node

OWN, FACTS, MED_CONFIG = "model.safetensors", "config.json", "med_config.json"

PUBLISHED: dict[str, Kind] = {"ImageReward.pt": "image_reward", "FS_model.pt": "face_score"}
"""Names of published files, and what they are."""

VOCABULARY_FILES = ("vocab.txt", "tokenizer.json")

VARIABLE = "RAYPIPE_IMAGEREWARD_PYTHON"
DEFAULT = Path(__file__).parents[3] / ".venv-imagereward" / "bin" / "python"

_MED_KEYS = {
    "hidden_size": "text_width",
    "intermediate_size": "text_mlp",
    "num_hidden_layers": "text_layers",
    "vocab_size": "vocabulary",
    "max_position_embeddings": "positions",
}


@dataclass(frozen=True)
class _Header:
    """A tensor of which only the shape is known."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class RewardFiles:
    """Where a reward's files are on this node, and what the tensors do not show."""

    weights: Path
    facts: RewardFacts
    med_config: dict[str, Any] | None
    """The content of med_config.json, where there is one."""

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's directory: the reward's own, else bert-base-uncased, fetched."""
        folder = self.weights.parent
        if self.weights.name == OWN or any((folder / f).is_file() for f in VOCABULARY_FILES):
            return folder
        return Path(bert_on_node())


def find_reward(folder: Path) -> RewardFiles:
    """The files of a reward's directory. UserError where it is in none of the layouts."""
    if (folder / OWN).is_file():
        return RewardFiles(folder / OWN, _facts(folder / FACTS), None)
    found = [path for name in PUBLISHED for path in sorted(folder.rglob(name))]
    if len(found) != 1:
        raise UserError(
            f"a reward's directory must hold {OWN} or one of {', '.join(PUBLISHED)}, got "
            f"{len(found) or 'none'}: {folder}"
        )
    weights, med_config = found[0], None
    heads = RewardFacts.model_fields["heads"].default
    if (weights.parent / MED_CONFIG).is_file():
        med_config = read_json(weights.parent / MED_CONFIG, "reward")
        heads = (heads[0], med_config.get("num_attention_heads", heads[1]))
    facts = _validated({"kind": PUBLISHED[weights.name], "heads": heads}, weights.parent)
    return RewardFiles(weights, facts, med_config)


def check_reward(reward: Reward, kind: Kind | None, what: str) -> None:
    """UserError, in one line, for a reward that would not load, as far as local files tell.

    kind: which it must be; None: either.
    """
    where = locate(reward.id)
    if "://" in where or not is_local(where):
        return
    if not Path(where).is_dir():
        raise UserError(f"{what} must be a reward's directory or a hub id, got {where}")
    files = find_reward(Path(where))
    if kind is not None and files.facts.kind != kind:
        raise UserError(f"{what} needs a reward of kind {kind}, got {files.facts.kind}: {where}")
    check_weights_file(files.weights, what)
    if files.weights.suffix != ".safetensors":
        return
    shapes = {name: _Header(shape) for name, shape in safetensors_shapes(files.weights).items()}
    try:
        sizes = geometry(shapes, files.facts.heads)
    except ValueError as error:
        reason = " ".join(str(error).split())[:600]
        raise UserError(f"reward cannot be loaded: {files.weights}: {reason}") from None
    check_sizes(files, files.facts, sizes)
    if not any((files.weights.parent / name).is_file() for name in VOCABULARY_FILES):
        raise UserError(
            f"a reward's directory must hold its tokenizer, {' or '.join(VOCABULARY_FILES)}: "
            f"{files.weights.parent}"
        )


def interpreter(config: Reward) -> Path:
    """The Python that has image-reward. UserError, with the install command, without one."""
    path = Path(config.interpreter or os.environ.get(VARIABLE) or DEFAULT).expanduser()
    if not os.access(path, os.X_OK):
        raise UserError(
            f"backend upstream needs the environment of image-reward: run `make env-imagereward`, "
            f"or set interpreter or {VARIABLE}; got {path}"
        )
    return path


def check_sizes(files: RewardFiles, facts: RewardFacts, sizes: Geometry) -> None:
    """UserError for weights of other sizes than their configs state."""
    weights = files.weights
    checks = {"image_size": (facts.image_size, sizes.image)}
    for key, name in _MED_KEYS.items():
        if files.med_config and key in files.med_config:
            checks[key] = (files.med_config[key], getattr(sizes, name))
    for key, (expected, got) in checks.items():
        if expected != got:
            raise UserError(
                f"a reward's weights must fit its config: {key} is {expected}, the weights have "
                f"{got}: {weights}"
            )
    if facts.max_length > sizes.positions:
        raise UserError(
            f"max_length must not exceed the {sizes.positions} positions of the weights, got "
            f"{facts.max_length}: {weights.parent}"
        )


def _facts(file: Path) -> RewardFacts:
    if not file.is_file():
        raise UserError(f"a reward's directory must hold {FACTS} beside {OWN}: {file.parent}")
    return _validated(read_json(file, "reward"), file)


def _validated(tree: dict[str, Any], where: Path) -> RewardFacts:
    return validate(RewardFacts, tree, str(where))
