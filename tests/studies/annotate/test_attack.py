"""An attack on a running study: nothing that a browser is sent tells the sides."""

import asyncio
import hashlib
import io
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import binomtest

from tests.support import pair_runs
from tests.support.annotators import Serving, questions

ANNOTATORS = [f"spy-{number}" for number in range(10)]

CHANCE = 1e-6
"""A predictor whose p-value is below is better, or worse, than guessing."""


@dataclass(frozen=True)
class Picture:
    """What a browser knows of a picture."""

    address: str
    data: bytes
    headers: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class Seen:
    """One question as an annotator's browser is shown it, and nothing that it is not."""

    annotator: str
    item: dict
    first: Picture
    second: Picture


@dataclass(frozen=True)
class Truth:
    """Whether the side that stands first is a, and whether it is the better one."""

    is_a: bool
    is_good: bool


async def look(session: aiohttp.ClientSession, address: str) -> Picture:
    begun = time.perf_counter()
    async with session.get(address) as response:
        assert response.status == 200
        data = await response.read()
        kept = {key: value for key, value in response.headers.items() if key != "Date"}
    return Picture(address, data, kept, time.perf_counter() - begun)


async def spy(address: str, name: str) -> list[Seen]:
    """Join, answer everything, and keep all that arrives."""
    seen = []
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.post("/join", data={"name": name, "consent": "yes"}) as response:
            assert response.status == 200
        async with session.get("/api/item") as response:
            item = await response.json()
        while not item["done"]:
            first, second = [await look(session, one) for one in item["pictures"]]
            seen.append(Seen(name, item, first, second))
            answer = {key: item[key] for key in ("id", "version")} | {"choice": "1", "seconds": 1}
            async with session.post("/api/answer", json=answer) as response:
                assert response.status == 200
                item = await response.json()
    return seen


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Thirty-six pairs of faces, four of them asked twice, and three checks: 43 questions."""
    root = tmp_path_factory.mktemp("attacked")
    source = pair_runs.write(root / "pairs", count=60)
    return questions(source, root / "q", "pair", "splits=[train,validation,test]", "limit=36",
                     "repeats=4", "checks=3")  # fmt: skip


@pytest.fixture(scope="module")
def spied(study, tmp_path_factory) -> tuple[list[Seen], list[Truth]]:
    """Everything that ten browsers saw, and the truth from the server's own files."""
    with Serving(study, tmp_path_factory.mktemp("out") / "answers", "rate=100000") as serving:

        async def all_spies() -> list[list[Seen]]:
            return [await spy(serving.address, name) for name in ANNOTATORS]

        seen = [one for many in asyncio.run(all_spies()) for one in many]
        with sqlite3.connect(serving.output / "answers.sqlite") as connection:
            rows = connection.execute(
                "SELECT annotator, position, question_id, swapped FROM answers"
            )
            stored = {(row[0], row[1]): row[2:] for row in rows}
    asked = {
        row["question_id"]: row for row in pq.read_table(study / "questions.parquet").to_pylist()
    }
    truths = []
    for one in seen:
        question, swapped = stored[one.annotator, one.item["at"]]
        row = asked[question]
        good = row["expected"] or next(s for s in "ab" if row[f"{s}_id"].endswith("/good"))
        truths.append(Truth(not swapped, good == ("b" if swapped else "a")))
    assert len(seen) == 43 * len(ANNOTATORS)
    return seen, truths


def published_rule(one: Seen) -> float:
    """Sides as sha256 of the config's seed, the pseudonym and the question."""
    text = "\0".join(["0", one.annotator, one.item["id"], "side"])
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56
    return 1.0 if value >= 0.5 else -1.0


def by_text(first: str, second: str) -> float:
    return float(first < second) - float(second < first)


def pixels(picture: Picture) -> int:
    size = Image.open(io.BytesIO(picture.data)).size
    return size[0] * size[1]


def parity(text: str) -> float:
    return 1.0 if hashlib.sha256(text.encode()).digest()[0] % 2 else -1.0


PREDICTORS: dict[str, Callable[[Seen], float]] = {
    "the published rule": published_rule,
    "length of the body": lambda one: len(one.first.data) - len(one.second.data),
    "Content-Length": lambda one: (
        int(one.first.headers["Content-Length"]) - int(one.second.headers["Content-Length"])
    ),
    "other headers": lambda one: by_text(
        *(str(sorted((k, v) for k, v in p.headers.items() if k != "Content-Length"))
          for p in (one.first, one.second))
    ),
    "pixels": lambda one: pixels(one.first) - pixels(one.second),
    "names in order": lambda one: by_text(one.first.address, one.second.address),
    "length of names": lambda one: len(one.first.address) - len(one.second.address),
    "last digit of names": lambda one: by_text(one.first.address[-1], one.second.address[-1]),
    "parity of the question": lambda one: parity(one.item["id"]),
    "name against question": lambda one: by_text(one.first.address, f"/p/{one.item['id']}"),
    "place in the order": lambda one: 1.0 if one.item["at"] % 2 else -1.0,
    "time to arrive": lambda one: one.first.seconds - one.second.seconds,
}  # fmt: skip
"""From what is seen to a number: above 0 for "the first is a", below 0 for "the second is"."""


def learned(seen: list[Seen], truths: list[Truth], of: Callable[[Truth], bool]) -> dict[str, list]:
    """What one annotator who knows all sides tells the others: (prediction, truth) by method."""
    names: dict[str, bool] = {}
    sides: dict[str, bool] = {}
    orders: dict[int, bool] = {}
    found: dict[str, list] = {"names": [], "questions": [], "places": []}
    for one, truth in zip(seen, truths, strict=True):
        if one.annotator == ANNOTATORS[0]:
            names |= {one.first.address: of(truth), one.second.address: not of(truth)}
            sides[one.item["id"]] = of(truth)
            orders[one.item["at"]] = of(truth)
            continue
        for method, table, key in (("names", names, one.first.address),
                                   ("questions", sides, one.item["id"]),
                                   ("places", orders, one.item["at"])):  # fmt: skip
            if key in table:
                found[method].append((table[key], of(truth)))
    return found


def outcomes(seen: list[Seen], truths: list[Truth]) -> Iterator[tuple[str, int, int]]:
    """(predictor, sides that it told right, sides on which it said anything)."""
    for what, of in (("a", lambda t: t.is_a), ("the better side", lambda t: t.is_good)):
        for name, predict in PREDICTORS.items():
            told = [(predict(one), of(t)) for one, t in zip(seen, truths, strict=True)]
            said = [(value > 0, truth) for value, truth in told if value != 0]
            yield f"{what} by {name}", sum(x == y for x, y in said), len(said)
        for name, pairs in learned(seen, truths, of).items():
            yield f"{what} by {name} that another told", sum(x == y for x, y in pairs), len(pairs)


def test_no_side_is_told_better_than_by_chance(spied):
    found = list(outcomes(*spied))
    told = {name: f"{right} of {n}" for name, right, n in found
            if n and binomtest(right, n).pvalue < CHANCE}  # fmt: skip
    assert told == {}
    assert len(found) == 30
    assert sum(n >= 400 for _, _, n in found) >= 8, "most predictors must say something"
