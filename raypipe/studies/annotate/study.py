"""The questions of the app, and the next one of each annotator. No HTTP here."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import pyarrow.parquet as pq

from raypipe.errors import UserError
from raypipe.inputs.runs import finished
from raypipe.storage import schema
from raypipe.studies.annotate import words
from raypipe.studies.annotate.order import Asked, order
from raypipe.studies.annotate.settings import Annotate
from raypipe.studies.annotate.store import Known

AHEAD = 3
"""Questions whose pictures the page fetches beforehand."""

CACHED = 1024
"""Pictures that the server holds in memory."""

ORDERS = 4096
"""Annotators whose order is held in memory."""

FIRST, SECOND, UNSURE = "1", "2", "0"


class Study:
    """The questions of a finished run of jobs/questions.py."""

    def __init__(self, config: Annotate):
        """UserError for another directory."""
        made = finished(config.run, "questions")
        self.folder = made.folder
        try:
            table = pq.read_table(self.folder.open("questions.parquet"))
        except (OSError, ValueError):
            raise UserError(f"run has no questions that can be read: {config.run}") from None
        if table.schema.names != schema.QUESTIONS.names:
            raise UserError(f"run must have questions of this version, got {config.run}")
        rows = {row["question_id"]: row for row in table.to_pylist()}
        self.questions = {k: row for k, row in rows.items() if row["role"] != "example"}
        self.example = next(row for row in rows.values() if row["role"] == "example")
        self.kind: str = self.example["kind"]
        self.ask: str = made.config["ask"] or words.ASK[self.kind]
        pictures = [row[side] for row in rows.values() for side in ("a_picture", "b_picture")]
        self._pictures = {name for name in pictures if name is not None}
        self._read = lru_cache(CACHED)(self._read_picture)
        listed = sorted((row["question_id"], row["repeat_of"]) for row in self.questions.values())
        self._order = lru_cache(ORDERS)(lambda annotator: order(listed, annotator, config.seed))
        self._place = lru_cache(ORDERS)(
            lambda annotator: {a.question_id: i for i, a in enumerate(self._order(annotator))}
        )

    def picture(self, name: str) -> bytes | None:
        """An encoded picture by its name, None for any other name."""
        return self._read(name) if name in self._pictures else None

    def asked(self, annotator: str, question_id: str) -> tuple[int, Asked] | None:
        """Where a question stands in an annotator's order, None for one that is not asked."""
        at = self._place(annotator).get(question_id)
        return None if at is None else (at, self._order(annotator)[at])

    def item(self, annotator: str, known: Mapping[str, Known], at: int | None) -> dict[str, Any]:
        """The content of the page: the question at a position, or the first without an answer.

        Everything in it may be seen by an annotator.
        """
        asked, total = self._order(annotator), len(self.questions)
        unanswered = (i for i, a in enumerate(asked) if a.question_id not in known)
        coming = list(islice(unanswered, AHEAD + 1)) if len(known) < total else []
        if at is None or not 0 <= at < total:
            if not coming:
                return {"done": True, "total": total, "answered": total}
            at = coming[0]
        here = asked[at]
        before = known.get(here.question_id)
        return {
            "done": False,
            "total": total,
            "answered": len(known),
            "at": at,
            "id": here.question_id,
            "prompt": self.questions[here.question_id]["prompt"],
            "pictures": self._shown(here),
            "choice": None if before is None else self.to_key(before.choice, here.swapped),
            "version": 0 if before is None else before.version,
            "ahead": [url for i in coming if i != at for url in self._shown(asked[i])],
        }

    def to_choice(self, key: str, swapped: bool) -> str | None:
        """The stored answer of a key; None for a key that means nothing."""
        if self.kind == "rate":
            return "none" if key == UNSURE else key if key in words.CHOICES["rate"] else None
        first, second = ("b", "a") if swapped else ("a", "b")
        return {FIRST: first, SECOND: second, UNSURE: "tie"}.get(key)

    def to_key(self, choice: str, swapped: bool) -> str:
        """The key that gave this answer."""
        keys = (*words.CHOICES[self.kind], UNSURE)
        return next(key for key in keys if self.to_choice(key, swapped) == choice)

    def _shown(self, asked: Asked) -> list[str]:
        """Addresses of a question's pictures, in the order in which they are shown."""
        row = self.questions[asked.question_id]
        names = [row["a_picture"], row["b_picture"]]
        if asked.swapped and names[1] is not None:
            names.reverse()
        return [f"/p/{name}" for name in names if name is not None]

    def _read_picture(self, name: str) -> bytes:
        data = self.folder.read(f"pictures/{name}.webp")
        assert data is not None, "a finished run has its pictures"
        return data
