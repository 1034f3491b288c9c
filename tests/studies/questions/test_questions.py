"""What is asked, and that nothing about it tells which model made it."""

import io
import json

import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypipe.storage import schema
from raypipe.studies.annotate.order import Blind
from raypipe.studies.questions import draw
from tests.support import study_runs
from tests.support.annotators import questions
from tests.support.jobs import run_here
from tests.support.mistakes import refusal
from tests.support.pictures import encoded


def test_names_say_nothing_and_pictures_hold_only_pixels(source, study):
    table = pq.read_table(study / "questions.parquet")
    assert table.schema == schema.QUESTIONS
    rows = table.to_pylist()
    roles = [row["role"] for row in rows]
    assert {role: roles.count(role) for role in set(roles)} == {
        "question": 6, "repeat": 2, "check": 2, "example": 1,
    }  # fmt: skip
    files = sorted(path.name for path in (study / "pictures").iterdir())
    named = {row[side] for row in rows for side in ("a_picture", "b_picture")}
    assert files == sorted(f"{name}.webp" for name in named)
    for row in rows:
        assert all(c in "0123456789abcdef" for c in row["question_id"] + row["a_picture"])
    for file in (study / "pictures").iterdir():
        picture = Image.open(file)
        assert picture.format == "WEBP"
        assert not picture.getexif()
        assert max(picture.size) <= 720
        assert not any(m.encode() in file.read_bytes() for m in study_runs.MODELS)
    again = questions(source, study.parent / "again", "grid", "repeats=2", "checks=2")
    others = pq.read_table(again / "questions.parquet").to_pylist()
    assert not {row["question_id"] for row in rows} & {row["question_id"] for row in others}
    assert {row["a_id"] for row in rows} == {row["a_id"] for row in others}


def test_a_finished_run_is_made_once(source, study, tmp_path):
    before = (study / "questions.parquet").read_bytes()
    config = study.with_suffix(".yaml")
    done = run_here("questions", config, "repeats=2", "checks=2")
    assert "already complete" in done.stderr
    assert (study / "questions.parquet").read_bytes() == before
    assert json.loads((study / "manifest.json").read_text())["counts"]["question"] == 6
    other = run_here("questions", config, "repeats=1", "checks=2")
    assert (other.returncode, "this config changes repeats" in other.stderr) == (2, True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["run=nowhere"], "jobs/consistency.py or jobs/face_pairs.py, got nowhere"),
        (["models=[Quokka]"], "has no model Quokka"),
        (["repeats=7"], "repeats must be at most the 6 questions, got 7"),
        (["models=[Quokkadiffusion]"], "there must be something to ask"),
        (["kind=rat"], "Input should be 'grid', 'pair' or 'rate', got \"rat\""),
        (["limit=1"], "a check of grids needs two prompts, got 1"),
        (["limit=3", "repeats=4"], "repeats must be at most limit, got 4 and 3"),
    ],
)
def test_mistakes_are_one_line(source, tmp_path, changes, told):
    (tmp_path / "c.yaml").write_text(f"run: {source}\nkind: grid\noutput: {tmp_path}/x\n")
    assert told in refusal(run_here("questions", tmp_path / "c.yaml", *changes))
    assert not (tmp_path / "x").exists()


def picture(size: tuple[int, int], colour: str = "red") -> bytes:
    return encoded(Image.new("RGB", size, colour))


def test_grids_are_as_large_as_asked_and_never_enlarged():
    pictures = [picture((400, 300), colour) for colour in ("red", "lime", "blue", "black", "white")]
    (grid,) = draw.grids([pictures], 604)
    assert grid.size == (3 * 198 + 8, 2 * 198 + 4)
    middle = [grid.getpixel((99 + 202 * (n % 3), 99 + 202 * (n // 3))) for n in range(5)]
    pure = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)]
    for found, wanted in zip(middle, pure, strict=True):
        assert max(abs(x - y) for x, y in zip(found, wanted, strict=True)) < 12
    assert draw.grids([[picture((32, 32))] * 4], 720)[0].size == (68, 68)
    assert draw.singles([picture((400, 200))], 100)[0].size == (100, 50)
    assert Image.open(io.BytesIO(draw.encode(grid))).size == grid.size


def test_both_sides_are_of_one_size_whatever_the_models_make():
    small, large = picture((64, 64)), picture((512, 512), "blue")
    assert [sheet.size for sheet in draw.grids([[small] * 4, [large] * 4], 720)] == [(132, 132)] * 2
    assert [one.size for one in draw.singles([small, large], 720)] == [(64, 64)] * 2
    wide, high = draw.singles([picture((400, 200)), picture((200, 400), "blue")], 100)
    assert wide.size == high.size == (100, 100)
    assert (wide.getpixel((50, 10)), wide.getpixel((50, 50))) == ((255,) * 3, (255, 0, 0))
    assert (high.getpixel((10, 50)), high.getpixel((50, 50))) == ((255,) * 3, (0, 0, 255))


def of_models(rows: list[dict], role: str) -> list[str]:
    return [row["a_id"].partition("/")[0] for row in rows if row["role"] == role]


def test_a_is_drawn_by_the_seed_and_repeats_keep_it(tmp_path):
    scs = {f"thing {number}": (60.0, 70.0) for number in range(40)}
    source = study_runs.write(tmp_path / "source", scs, seeds=2)
    made = {}
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        run = questions(source, tmp_path / name, "grid", f"seed={seed}", "repeats=5", "checks=20",
                        "size=64")  # fmt: skip
        made[name] = pq.read_table(run / "questions.parquet").to_pylist()
    rows = made["one"]
    firsts = of_models(rows, "question")
    assert 8 < firsts.count(study_runs.MODELS[0]) < 32
    expected = [row["expected"] for row in rows if row["role"] == "check"]
    assert 3 <= expected.count("a") <= 17

    def sides(name: str) -> set[tuple[str, str]]:
        return {(row["a_id"], row["b_id"]) for row in made[name] if row["role"] == "question"}

    assert sides("one") == sides("again") != sides("other")
    assert {frozenset(pair) for pair in sides("one")} == {frozenset(p) for p in sides("other")}
    by_id = {row["question_id"]: row for row in rows}
    for row in rows:
        if row["role"] == "repeat":
            assert row["a_picture"] == by_id[row["repeat_of"]]["a_picture"]
            assert row["a_id"] == by_id[row["repeat_of"]]["a_id"]


def test_orders_are_kept_differ_and_put_repeats_late():
    asked = [(f"q{i}", None) for i in range(200)] + [(f"r{i}", f"q{i}") for i in range(20)]
    blind = Blind(b"secret", 3)
    anna = blind.order(asked, "anna")
    assert anna == blind.order(list(reversed(asked)), "anna")
    for other in (blind.order(asked, "bert"), Blind(b"secret", 4).order(asked, "anna"),
                  Blind(b"other secret", 3).order(asked, "anna")):  # fmt: skip
        assert [one.question_id for one in anna] != [one.question_id for one in other]
        sides = {one.question_id: one.swapped for one in other}
        assert 70 < sum(one.swapped == sides[one.question_id] for one in anna) < 150
        names = {name for one in other for name in (one.shown_id, *one.pictures)}
        assert not names & {name for one in anna for name in (one.shown_id, *one.pictures)}
    place = {item.question_id: at for at, item in enumerate(anna)}
    assert sorted(place) == sorted(name for name, _ in asked)
    assert min(place[f"r{i}"] - place[f"q{i}"] for i in range(20)) > 20
    assert 70 < sum(item.swapped for item in anna) < 150
