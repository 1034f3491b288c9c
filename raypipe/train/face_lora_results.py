"""What a face LoRA's training has shown: results.json and the report."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from raypipe import schema
from raypipe.files import Folder
from raypipe.lora_plan import ROLES
from raypipe.lora_settings import FaceLora
from raypipe.report import figures
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.words import number
from raypipe.train.face_lora import CRITERION, HELD
from raypipe.train.loop import STEPS, VALIDATIONS, read_log
from raypipe.train.lora_samples import SIDES, read_samples

TERMS = {
    "denoising": "denoising, good faces",
    "guidance": "guidance, bad faces",
    "preference": "preference (DPO)",
    "keep": "change on general pictures",
}
RECENT = 50
"""Steps at both ends of the training whose mean loss is told."""


def results(config: FaceLora, folder: Folder, counts: dict[str, int]) -> dict[str, Any]:
    """results.json: held-out losses of the base and of the LoRA, by term, and how it was trained.

    `loss` is the weighted sum that was minimised. counts: rows by role, and what was left out.
    """
    told = json.loads(folder.read(HELD) or b"")
    steps, validations = read_log(folder, STEPS), read_log(folder, VALIDATIONS)
    losses = [line["loss"] for line in steps]
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "counts": {role: counts[role] for role in ROLES if role in counts},
        "left_out": {name: n for name, n in counts.items() if name not in ROLES},
        "loss": config.loss.name,
        "held_out": {side: _named(told[side]) for side in SIDES},
        "training": {
            "steps": len(steps),
            "best_step": told["best_step"],
            "first_loss": float(np.mean(losses[:RECENT])),
            "last_loss": float(np.mean(losses[-RECENT:])),
            "seconds": round(sum(line["seconds"] for line in steps), 1),
            "validations": [_named(line, "train_loss") for line in validations],
        },
        "notes": _notes(told, validations),
    }


def _named(numbers: dict[str, float], loss: str = "loss") -> dict[str, float]:
    """Numbers of a validation with the held-out loss itself in place of its negative."""
    rest = {loss if n == "loss" else n: v for n, v in numbers.items() if n != CRITERION}
    return rest | {"loss": -numbers[CRITERION]}


def _notes(told: dict[str, Any], validations: Sequence[dict[str, float]]) -> list[str]:
    notes = []
    if told["lora"][CRITERION] <= told["base"][CRITERION]:
        notes.append(
            "the held-out loss is not below that of the base: nothing was learned that carries "
            "over; a larger training.lr, more steps or other loss.weight may help"
        )
    if len(validations) > 1 and told["best_step"] == validations[0]["step"]:
        notes.append(
            "the first validation was the best one: later steps fitted the training pairs alone"
        )
    return notes


def sheet(results: dict[str, Any], folder: Folder) -> Sheet:
    """The report."""
    held, training = results["held_out"], results["training"]
    sentences = [
        f"Trained with the loss {results['loss']} on {results['counts']['train']:,} pairs, the "
        f"held-out loss went from {number(held['base']['loss'], 4)} to "
        f"{number(held['lora']['loss'], 4)}.",
        "It says how well the network does what it was trained to do; whether faces are better is "
        "for jobs/evaluate.py to say.",
    ]
    rows = [
        [words, number(held["base"][name], 5), number(held["lora"][name], 5)]
        for name, words in {**TERMS, "loss": "loss, the weighted sum"}.items()
        if name in held["base"]
    ]
    table = Table(["term", "base", "LoRA"], rows, "Held-out losses, at fixed timesteps and noise")
    return Sheet(
        eyebrow="Face LoRA",
        title="What did it learn?",
        sentences=sentences,
        facts=[(role.replace("_", " "), f"{n:,}") for role, n in results["counts"].items()]
        + [("best step", f"{training['best_step']:,} of {training['steps']:,}")],
        notes=results["notes"],
        sections=[
            Section("Held out", tables=[table]),
            Section("Training", figures=_curves(folder, results)),
            Section(
                "Samples",
                "The base and the LoRA, from the same noise.",
                strips=_strips(folder),
            ),
        ],
    )


def _curves(folder: Folder, results: dict[str, Any]) -> list[tuple[str, str]]:
    steps, held = read_log(folder, STEPS), results["held_out"]["base"]["loss"]
    validations = results["training"]["validations"]
    return [
        (_curve("loss", steps, steps[0]["loss"]), "Loss of each step; the line is the first one."),
        (_curve("held-out", validations, held), "Held-out loss; the line is the base."),
    ]


def _curve(key: str, lines: Sequence[dict[str, Any]], level: float) -> str:
    x, y = [line["step"] for line in lines], [line["loss"] for line in lines]
    return figures.curve(key, x, y, "step", "loss", level)


def _strips(folder: Folder) -> list[Strip]:
    """A strip for each prompt and seed."""
    return [
        Strip(
            f"{row['prompt']} (seed {row['seed']})",
            [(row[side], side) for side in SIDES if row[side] is not None],
        )
        for row in read_samples(folder)
    ]


def summary(results: dict[str, Any]) -> str:
    """The last lines that the job prints."""
    held = results["held_out"]
    lines = [f"{'held-out loss':<28}{'base':>10}{'LoRA':>10}"]
    lines += [
        f"{words:<28}{held['base'][name]:>10.5f}{held['lora'][name]:>10.5f}"
        for name, words in {**TERMS, "loss": results["loss"]}.items()
        if name in held["base"]
    ]
    return "\n".join([*lines, *results["notes"]])
