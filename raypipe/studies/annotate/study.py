"""The questions of the app, and the next one of each annotator. No HTTP here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from raypipe.errors import UserError
from raypipe.inputs.finished import finished
from raypipe.storage import manifest as manifests
from raypipe.storage import schema
from raypipe.studies.annotate import words
from raypipe.studies.annotate.order import Asked, Blind
from raypipe.studies.annotate.settings import Annotate
from raypipe.studies.annotate.store import Known

AHEAD = 3
"""Questions whose pictures the page fetches beforehand."""

CACHED = 1024
"""Pictures that the server holds in memory."""

HELD = 400_000
"""Questions, of all annotators together, whose order is held in memory."""

EXAMPLE = ""
"""In place of a pseudonym: the example has one name for all."""

NAME = re.compile(r"[0-9a-f]{8,64}")
"""Of a stored picture; it becomes a path."""

FIRST, SECOND, UNSURE = "1", "2", "0"


@dataclass(frozen=True)
class View:
    """All questions as one annotator sees them."""

    asked: list[Asked]
    places: dict[str, int]
    """By the question's name in this annotator's browser."""
    pictures: dict[str, tuple[str, str | None]]
    """The stored picture, and the one beside it, by its name in this annotator's browser."""


class Study:
    """The questions of a finished run of jobs/questions.py."""

    def __init__(self, config: Annotate):
        """UserError for another directory. Nothing is shown before `blind` is given its secret."""
        self._config = config
        made = finished(config.run, "questions")
        self.folder, self._manifest = made.folder, made.manifest
        table = made.table("questions.parquet")
        if table.schema.names != schema.QUESTIONS.names:
            raise UserError(f"run must have questions of this version, got {config.run}")
        rows = {row["question_id"]: row for row in table.to_pylist()}
        self.questions = {k: row for k, row in rows.items() if row["role"] != "example"}
        examples = [row for row in rows.values() if row["role"] == "example"]
        names = [row[side] for row in rows.values() for side in ("a_picture", "b_picture")]
        if not examples or not self.questions or not all(NAME.fullmatch(n) for n in names if n):
            raise UserError(f"run must have questions, an example and pictures, got {config.run}")
        self.example = examples[0]
        self.kind: str = self.example["kind"]
        self.ask: str = made.setting("ask") or words.ASK[self.kind]
        self._read = lru_cache(CACHED)(self._read_picture)
        self._listed = sorted((r["question_id"], r["repeat_of"]) for r in self.questions.values())

    def blind(self, secret: bytes) -> None:
        """Orders, sides and names follow from a secret of the server's."""
        self._blind = Blind(secret, self._config.seed)
        self._view = lru_cache(max(16, HELD // len(self._listed)))(self._make_view)
        names = [self._blind.name(EXAMPLE, EXAMPLE, place) for place in ("first", "second")]
        swapped = self.example["expected"] == "b"  # the better one stands first, as its text says
        stored = self._stored(self.example, swapped)
        self.example_pictures = dict(zip(names, (stored, stored[::-1]), strict=True))
        if stored[1] is None:
            del self.example_pictures[names[1]]

    def picture(self, annotator: str | None, name: str) -> bytes | None:
        """An encoded picture by its name in an annotator's browser, None for any other name.

        The two pictures of a question are of one length: zeros follow the shorter one, which
        decoders of WebP leave alone.
        """
        known = self.example_pictures if annotator is None else self._view(annotator).pictures
        pair = known.get(name) or self.example_pictures.get(name)
        if pair is None:
            return None
        mine, other = pair
        data = self._read(mine)
        return data if other is None else data.ljust(len(self._read(other)), b"\0")

    def asked(self, annotator: str, shown_id: str) -> tuple[int, Asked] | None:
        """Where a question stands in an annotator's order, None for one that is not asked."""
        view = self._view(annotator)
        at = view.places.get(shown_id)
        return None if at is None else (at, view.asked[at])

    def item(self, annotator: str, known: Mapping[str, Known], at: int | None) -> dict[str, Any]:
        """The content of the page: the question at a position, or the first without an answer.

        Everything in it may be seen by an annotator.
        """
        asked, total = self._view(annotator).asked, len(self.questions)
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
            "id": here.shown_id,
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

    def _make_view(self, annotator: str) -> View:
        asked = self._blind.order(self._listed, annotator)
        pictures: dict[str, tuple[str, str | None]] = {}
        for one in asked:
            first, second = self._stored(self.questions[one.question_id], one.swapped)
            pictures[one.pictures[0]] = (first, second)
            if second is not None:
                pictures[one.pictures[1]] = (second, first)
        return View(asked, {one.shown_id: at for at, one in enumerate(asked)}, pictures)

    def _stored(self, row: Mapping[str, Any], swapped: bool) -> tuple[str, str | None]:
        """A question's stored pictures in the order in which they are shown."""
        a, b = row["a_picture"], row["b_picture"]
        return (b, a) if swapped and b is not None else (a, b)

    def _shown(self, asked: Asked) -> list[str]:
        """Addresses of a question's pictures, in the order in which they are shown."""
        return [f"/p/{name}" for name in asked.pictures[: 1 if self.kind == "rate" else 2]]

    def _read_picture(self, name: str) -> bytes:
        return manifests.content(self.folder, self._manifest, f"pictures/{name}.webp")
