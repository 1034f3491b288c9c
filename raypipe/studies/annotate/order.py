"""An annotator's order of questions and sides: a function of seed and pseudonym."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

EARLY, LATE = 0.4, 0.6
"""A question that is asked twice comes in the first part of the order, its repeat in the last."""


@dataclass(frozen=True)
class Asked:
    """A question as one annotator sees it."""

    question_id: str
    swapped: bool
    """Whether b is shown first."""


def order(questions: Sequence[tuple[str, str | None]], annotator: str, seed: int) -> list[Asked]:
    """All questions, given as (id, id of the one it repeats, if any), in one annotator's order.

    Places and sides are hashes of (seed, annotator, question), so they are the same on every
    machine and after every restart, and differ between annotators.

    >>> [asked.question_id for asked in order([("r", "q"), ("q", None)], "anna", 0)]
    ['q', 'r']
    """
    twice = {original for _, original in questions if original is not None}

    def place(question: tuple[str, str | None]) -> float:
        at = _uniform(seed, annotator, question[0], "place")
        if question[1] is not None:
            return LATE + (1 - LATE) * at
        return EARLY * at if question[0] in twice else at

    return [
        Asked(name, _uniform(seed, annotator, name, "side") < 0.5)
        for name, _ in sorted(questions, key=place)
    ]


def _uniform(seed: int, *words: str) -> float:
    """A number in [0, 1) that depends on nothing else."""
    text = "\0".join([str(seed), *words])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56
