"""What one annotator is asked, in which order, on which sides, and by which names.

All of it follows from a secret that never leaves the server: whoever has the config, the pseudonym
and everything that a browser is sent can compute none of it.
"""

import hmac
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
    shown_id: str
    """The question's name in this annotator's browser."""
    pictures: tuple[str, str]
    """Names there of what stands first and second; a rating has the first alone."""


class Blind:
    """Places, sides and names of every annotator: HMAC-SHA256 of (seed, annotator, question).

    They are the same after every restart, differ between annotators, and a question and its repeat
    have nothing in common.
    """

    def __init__(self, secret: bytes, seed: int):
        self._secret, self._seed = secret, str(seed)

    def name(self, *words: str) -> str:
        """An opaque name, which hides its words."""
        return self._digest(*words).hex()[:24]

    def order(self, questions: Sequence[tuple[str, str | None]], annotator: str) -> list[Asked]:
        """All questions, given as (id, id of the one it repeats, if any), in one's own order.

        >>> blind = Blind(b"secret", 0)
        >>> [asked.question_id for asked in blind.order([("r", "q"), ("q", None)], "anna")]
        ['q', 'r']
        """
        twice = {original for _, original in questions if original is not None}

        def place(question: tuple[str, str | None]) -> float:
            at = self._uniform(annotator, question[0], "place")
            if question[1] is not None:
                return LATE + (1 - LATE) * at
            return EARLY * at if question[0] in twice else at

        return [self._asked(annotator, name) for name, _ in sorted(questions, key=place)]

    def _asked(self, annotator: str, question: str) -> Asked:
        return Asked(
            question,
            self._uniform(annotator, question, "side") < 0.5,
            self.name(annotator, question, "question"),
            (self.name(annotator, question, "first"), self.name(annotator, question, "second")),
        )

    def _uniform(self, *words: str) -> float:
        """A number in [0, 1)."""
        return int.from_bytes(self._digest(*words)[:7]) / 2**56

    def _digest(self, *words: str) -> bytes:
        return hmac.digest(self._secret, "\0".join([self._seed, *words]).encode(), "sha256")
