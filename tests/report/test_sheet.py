"""The page of the other jobs: everything is there, and nothing of it is code."""

from html.parser import HTMLParser

from raypipe.report.sheet import Section, Sheet, Strip, Table, render

HOSTILE = '<script>alert(1)</script> & "quoted"'
PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page() -> Page:
    section = Section(
        "Accuracy",
        "By kind of pair.",
        tables=[Table(["kind", "share"], [["photo", "0.93"], [HOSTILE, "–"]], "held out")],
        figures=[('<svg viewBox="0 0 1 1"><title>curve</title></svg>', "loss")],
        strips=[Strip("wrong ones", [(PNG, HOSTILE)])],
    )
    sheet = Sheet(
        "Face Score",
        HOSTILE,
        ["It tells good from bad."],
        facts=[("Pairs", "1,000")],
        notes=["a note"],
        sections=[section],
    )
    manifest = {
        "schema_version": 1,
        "config": {"output": HOSTILE},
        "counts": {"pairs": 3},
        "job": "face_score",
    }
    return Page(render(sheet, manifest))


def test_everything_is_shown():
    made = page()
    for words in ("Accuracy", "0.93", "held out", "wrong ones", "1,000", "a note", "face_score"):
        assert words in made.text, words
    sources = [attrs["src"] for tag, attrs in made.tags if tag == "img"]
    assert sources == ["data:image/png;base64,iVBORw0KGgo="]
    assert ("a", {"href": "#part-1"}) in made.tags


def test_what_comes_from_outside_is_text():
    made = page()
    assert not [tag for tag, _ in made.tags if tag == "script"]
    assert made.text.count("alert(1)") >= 3
    assert [attrs["alt"] for tag, attrs in made.tags if tag == "img"] == [HOSTILE]


def test_it_needs_no_network():
    for tag, attrs in page().tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
