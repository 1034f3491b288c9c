"""results.json of jobs/face_lora.py."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raypipe.storage import schema
from raypipe.storage.damage import parse_json
from raypipe.storage.files import Folder
from raypipe.studies.face_lora.plan import ROLES
from raypipe.studies.face_lora.samples import SIDES
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.studies.face_lora.task import CRITERION, HELD
from raypipe.training.loop import STEPS, VALIDATIONS, read_log

TERMS = {
    "denoising": "denoising, good faces",
    "guidance": "guidance, bad faces",
    "preference": "preference (DPO)",
    "keep": "change on general pictures",
}
RECENT = 50
"""Steps at both ends of the training whose mean loss is reported."""


def results(config: FaceLora, folder: Folder, counts: dict[str, int]) -> dict[str, Any]:
    """results.json: held-out losses of the base and of the LoRA, by term, and how it was trained.

    `loss` is the weighted sum that was minimised. counts: rows by role, and what was left out.
    """
    losses_of = parse_json(folder.read(HELD) or b"", folder.uri, HELD)
    steps, validations = read_log(folder, STEPS), read_log(folder, VALIDATIONS)
    losses = [line["loss"] for line in steps]
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "counts": {role: counts[role] for role in ROLES if role in counts},
        "left_out": {name: n for name, n in counts.items() if name not in ROLES},
        "loss": config.loss.name,
        "held_out": {side: _named(losses_of[side]) for side in SIDES},
        "training": {
            "steps": len(steps),
            "best_step": losses_of["best_step"],
            "first_loss": float(np.mean(losses[:RECENT])),
            "last_loss": float(np.mean(losses[-RECENT:])),
            "seconds": round(sum(line["seconds"] for line in steps), 1),
            "validations": [_named(line, "train_loss") for line in validations],
        },
        "notes": _notes(losses_of, validations),
    }


def _named(numbers: dict[str, float], loss: str = "loss") -> dict[str, float]:
    """Numbers of a validation with the held-out loss itself in place of its negative."""
    rest = {loss if n == "loss" else n: v for n, v in numbers.items() if n != CRITERION}
    return rest | {"loss": -numbers[CRITERION]}


def _notes(losses_of: dict[str, Any], validations: Sequence[dict[str, float]]) -> list[str]:
    notes = []
    if losses_of["lora"][CRITERION] <= losses_of["base"][CRITERION]:
        notes.append(
            "the held-out loss is not below that of the base: nothing was learned that carries "
            "over; a larger training.lr, more steps or other loss.weight may help"
        )
    if len(validations) > 1 and losses_of["best_step"] == validations[0]["step"]:
        notes.append(
            "the first validation was the best one: later steps fitted the training pairs alone"
        )
    return notes
