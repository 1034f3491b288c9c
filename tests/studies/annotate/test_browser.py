"""A real Chromium answers whole studies, by keyboard and by touch.

Screenshots stay in build/screenshots.
"""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.support import browser
from tests.support.annotators import ROOT, Serving, questions
from tests.support.browser import Browser

pytestmark = pytest.mark.skipif(
    browser.find() is None, reason=f"no browser: none of {', '.join(browser.NAMES)} is installed"
)

SHOTS = ROOT / "build" / "screenshots"

DESKTOP, PHONE = (1280, 900), (390, 844)

READY = "document.getElementById('question').getAttribute('aria-busy') === 'false'"


@pytest.fixture(scope="module")
def studies(source, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("more")
    few = ("limit=4", "checks=1", "repeats=1")
    return {kind: questions(source, root / kind, kind, *few) for kind in ("grid", "pair", "rate")}


@pytest.fixture(params=["grid", "pair", "rate"])
def serving(request, studies, tmp_path):
    with Serving(studies[request.param], tmp_path / "answers", "rate=1000") as process:
        yield request.param, process


def stored(output: Path) -> list[tuple]:
    with sqlite3.connect(output / "answers.sqlite") as connection:
        query = "SELECT annotator, position, choice, swapped, seconds FROM answers ORDER BY 1, 2"
        return connection.execute(query).fetchall()


def shown(at: int) -> str:
    return f"{READY} && item && !item.done && item.at === {at} && lookedFor() >= SOONEST"


def by_key(kind: str, key: str, swapped: int) -> str:
    if key == "0":
        return "none" if kind == "rate" else "tie"
    return key if kind == "rate" else "ab"[(key == "2") ^ bool(swapped)]


async def no_overflow(tab: Browser) -> None:
    wide = await tab.run("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{wide} pixels wider than the window"


async def keyboard(
    serving: Serving, kind: str, tmp_path: Path, width: tuple[int, int]
) -> list[str]:
    """Joins and answers without a mouse; returns the keys, by position."""
    keys: list[str] = []
    async with Browser(tmp_path / f"profile-{width[0]}") as tab:
        await tab.size(*width, touch=False)
        await tab.open(serving.address)
        await no_overflow(tab)
        await tab.screenshot(SHOTS / f"{kind}-start-keyboard-{width[0]}.png")
        for _ in range(3):  # nothing but the form's three parts can have the focus
            await tab.press("Tab")
            where = await tab.run("document.activeElement.id || document.activeElement.className")
            if where == "name":
                await tab.write("key-board")
            elif where == "consent":
                await tab.press(" ")
        assert where == "go"
        await tab.press("Enter")
        await tab.until("location.pathname === '/answer' && document.readyState === 'complete'")
        await tab.until(shown(0))
        await tab.screenshot(SHOTS / f"{kind}-keyboard-{width[0]}.png")
        await no_overflow(tab)
        total = await tab.run("item.total")
        for at in range(total):
            await tab.until(shown(at))
            keys.append("120"[at % 3] if kind != "rate" else "150"[at % 3])
            await tab.press(keys[-1])
            if at == 1:  # back to the first, another answer, and on to where it was
                await tab.until(shown(2))
                await tab.press("ArrowLeft")
                await tab.until(shown(1))
                await tab.press("Backspace")
                await tab.until(shown(0))
                assert await tab.run("document.querySelector('[aria-pressed=true]').dataset.choice"
                                     ) == keys[0]  # fmt: skip
                await tab.press("2")
                keys[0] = "2"
            if at == 2:  # a reload comes back to where it was
                await tab.until(shown(3))
                await tab.open(f"{serving.address}/answer")
        await tab.until("!document.getElementById('done').hidden")
        assert (
            await tab.run("document.getElementById('count').textContent") == f"All {total} answered"
        )
        await tab.screenshot(SHOTS / f"{kind}-done-{width[0]}.png")
    return keys


async def touch(serving: Serving, kind: str, tmp_path: Path, width: tuple[int, int]) -> list[str]:
    """The same with a finger."""
    keys: list[str] = []
    async with Browser(tmp_path / f"touch-{width[0]}") as tab:
        await tab.size(*width, touch=True)
        await tab.open(serving.address)
        await no_overflow(tab)
        await tab.tap("#name")
        await tab.write("fin-ger")
        await tab.tap("#consent")
        await tab.screenshot(SHOTS / f"{kind}-start-touch-{width[0]}.png")
        await tab.tap("main .go")
        await tab.until("location.pathname === '/answer' && document.readyState === 'complete'")
        await tab.until(shown(0))
        await no_overflow(tab)
        total = await tab.run("item.total")
        for at in range(total):
            await tab.until(shown(at))
            if at == 0:
                await tab.screenshot(SHOTS / f"{kind}-touch-{width[0]}.png")
            keys.append("120"[at % 3] if kind != "rate" else "350"[at % 3])
            await tab.tap(f"[data-choice='{keys[-1]}']")
            if at == 0:  # nervous fingers: the second one finds the next question, and is ignored
                await tab.run(
                    "(async () => { while (busy || item.at !== 1) await new Promise((r) => "
                    "setTimeout(r, 1)); choices[0].click(); })()"
                )
        await tab.until("!document.getElementById('done').hidden")
    return keys


def test_a_whole_study_by_keyboard_and_by_touch(serving, tmp_path):
    kind, process = serving
    SHOTS.mkdir(parents=True, exist_ok=True)
    keys = asyncio.run(keyboard(process, kind, tmp_path, DESKTOP))
    taps = asyncio.run(touch(process, kind, tmp_path, PHONE))
    found = stored(process.output)
    for name, given in (("key-board", keys), ("fin-ger", taps)):
        mine = [row for row in found if row[0] == name]
        assert [row[1] for row in mine] == list(range(len(given)))
        assert [row[2] for row in mine] == [
            by_key(kind, key, row[3]) for key, row in zip(given, mine, strict=True)
        ]
        assert all(0 < row[4] < 600 for row in mine)
    assert len(found) == 12
    process.stop()


def test_the_other_way_round_keyboard_on_a_narrow_and_touch_on_a_wide_screen(studies, tmp_path):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with Serving(studies["grid"], tmp_path / "answers", "rate=1000") as process:
        keys = asyncio.run(keyboard(process, "grid", tmp_path, PHONE))
        taps = asyncio.run(touch(process, "grid", tmp_path, DESKTOP))
        assert len(stored(process.output)) == len(keys) + len(taps) == 12
