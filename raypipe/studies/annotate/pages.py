"""The two pages, with their script and style, as text."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypipe.report.html import fill
from raypipe.studies.annotate import words
from raypipe.studies.annotate.study import Study

HERE = Path(__file__).parent


@dataclass
class Pages:
    """The pages of one study."""

    study: Study
    consent: str
    files: dict[str, tuple[str, str]] = field(init=False)
    """(text, content type) of the script and the style."""

    def __post_init__(self) -> None:
        self.files = {
            name: ((HERE / name).read_text(encoding="utf-8"), kind)
            for name, kind in (("app.js", "text/javascript"), ("app.css", "text/css"))
        }

    def start(self, name: str | None, answered: int, taken: str | None) -> str:
        """Instructions, an example, consent, and the pseudonym.

        name: the annotator who is back, with `answered` answers. taken: a pseudonym in use.
        """
        kind = self.study.kind
        return self._render(
            "start.html",
            explain=words.EXPLAIN[kind],
            example=words.EXAMPLE[kind],
            pictures=[f"/p/{name}" for name in self.study.example_pictures],
            total=len(self.study.questions),
            consent=self.consent,
            name=name,
            answered=answered,
            taken=taken,
        )

    def answer(self, name: str, link: str) -> str:
        """The page on which questions are answered; the script fills it."""
        return self._render("answer.html", name=name, link=link)

    def _render(self, template: str, **values: Any) -> str:
        kind = self.study.kind
        values |= {
            "ask": self.study.ask,
            "kind": kind,
            "side": words.SIDES[kind],
            "choices": words.CHOICES[kind],
        }
        return fill(HERE, template, values)
