"""The page and the last lines of jobs/face_lora.py."""

from collections.abc import Sequence
from typing import Any

from raypipe.report import figures
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.words import number
from raypipe.storage.files import Folder
from raypipe.studies.face_lora.results import TERMS
from raypipe.studies.face_lora.samples import SIDES, read_samples
from raypipe.training.loop import STEPS, read_log


def sheet(results: dict[str, Any], folder: Folder) -> Sheet:
    held, training = results["held_out"], results["training"]
    sentences = [
        f"Trained with the loss {results['loss']} on {results['counts']['train']:,} pairs, the "
        f"held-out loss went from {number(held['base']['loss'], 4)} to "
        f"{number(held['lora']['loss'], 4)}.",
        "It shows how well the network does what it was trained to do; whether faces are better "
        "is measured by jobs/evaluate.py.",
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
                "Samples", "The base and the LoRA, from the same noise.", strips=_strips(folder)
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
    held = results["held_out"]
    lines = [f"{'held-out loss':<28}{'base':>10}{'LoRA':>10}"]
    lines += [
        f"{words:<28}{held['base'][name]:>10.5f}{held['lora'][name]:>10.5f}"
        for name, words in {**TERMS, "loss": results["loss"]}.items()
        if name in held["base"]
    ]
    return "\n".join([*lines, *results["notes"]])
