"""Simulated annotators, who answer through the real HTTP interface, and the app's process."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq

from raypipe.studies.annotate.keys import Keys
from raypipe.studies.annotate.order import Asked, Blind
from tests.support import ROOT
from tests.support.jobs import run_here

Decide = Callable[[dict[str, Any]], str]
"""A row of schema.QUESTIONS to `a`, `b` or `tie`, or a rating."""


def questions(run: Path, output: Path, kind: str = "grid", *overrides: str) -> Path:
    """A finished run of jobs/questions.py."""
    config = output.with_suffix(".yaml")
    config.write_text(f"run: {run}\nkind: {kind}\noutput: {output}\n")
    done = run_here("questions", config, *overrides)
    assert done.returncode == 0, done.stderr
    return output


class Serving:
    """A process of jobs/annotate.py, as a user starts it.

    before: called in it before anything else, to limit what it may use.
    """

    def __init__(
        self,
        study: Path,
        output: Path,
        *overrides: str,
        before: Callable[[], None] | None = None,
    ):
        command = [sys.executable, "jobs/annotate.py", "configs/annotate/local.yaml"]
        command += [f"run={study}", f"output={output}", "port=0", *overrides]
        self.output = output
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"https?://\S+", line)
        assert found, line + self.process.stderr.read()
        self.link = found[0]
        self.address = self.link.partition("?")[0].rstrip("/")

    def stop(self) -> str:
        """As Ctrl-C does; returns what it said."""
        self.process.send_signal(signal.SIGINT)
        out, told = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, told
        assert out.splitlines()[-1] == str(self.output)
        return told

    def kill(self) -> None:
        """As a crash does."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=60)

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.kill()


def order_of(serving: Serving, rows: list[dict[str, Any]], name: str) -> list[Asked]:
    """One annotator's order, from the secret in the server's own directory."""
    blind = Blind(Keys(serving.output / "keys.json").sides, seed=0)
    asked = [row for row in rows if row["role"] != "example"]
    return blind.order([(row["question_id"], row["repeat_of"]) for row in asked], name)


class Annotator:
    """One person with a browser of his own."""

    def __init__(self, serving: Serving, name: str, study: Path):
        self.address, self.name = serving.address, name
        rows = pq.read_table(study / "questions.parquet").to_pylist()
        self.questions = {row["question_id"]: row for row in rows}
        self.asked = {one.shown_id: one for one in order_of(serving, rows, name)}
        """What the names in this browser mean, which the server alone knows."""
        self.given: dict[str, str] = {}
        """Every answer that the app has confirmed, in terms of a and b."""
        self.waits: list[float] = []
        """Seconds from sending an answer to holding the next question."""

    async def __aenter__(self) -> "Annotator":
        jar = aiohttp.CookieJar(unsafe=True)  # addresses without a name have cookies too
        self.session = aiohttp.ClientSession(self.address, cookie_jar=jar)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()

    async def join(self) -> int:
        form = {"name": self.name, "consent": "yes"}
        async with self.session.post("/join", data=form, allow_redirects=False) as response:
            return response.status

    async def item(self, at: int | None = None) -> dict[str, Any]:
        async with self.session.get("/api/item" + (f"?at={at}" if at is not None else "")) as r:
            assert r.status == 200, await r.text()
            return await r.json()

    async def post(self, item: dict[str, Any], key: str, **changes: Any) -> tuple[int, Any]:
        given = {"id": item["id"], "version": item["version"], "choice": key, "seconds": 1.5}
        async with self.session.post("/api/answer", json={**given, **changes}) as response:
            json = response.content_type == "application/json"
            return response.status, await response.json() if json else await response.text()

    def row(self, item: dict[str, Any]) -> dict[str, Any]:
        """The row of schema.QUESTIONS behind what is shown."""
        return self.questions[self.asked[item["id"]].question_id]

    def key(self, item: dict[str, Any], choice: str) -> str:
        """The key for a choice, by which of the two pictures stands first."""
        if self.row(item)["kind"] == "rate":
            return "0" if choice == "none" else choice
        first = "b" if self.asked[item["id"]].swapped else "a"
        return "0" if choice == "tie" else "1" if choice == first else "2"

    async def work(self, decide: Decide, most: int | None = None, pictures: bool = False) -> None:
        """Answer what is open, `most` questions of it, looking at the pictures or not."""
        item = await self.item()
        while not item["done"] and most != 0:
            if pictures:
                await asyncio.gather(*map(self._look, item["pictures"]))
            choice = decide(self.row(item))
            begun = time.perf_counter()
            status, following = await self.post(item, self.key(item, choice))
            self.waits.append(time.perf_counter() - begun)
            assert status == 200, following
            self.given[self.row(item)["question_id"]] = choice
            item, most = following, None if most is None else most - 1

    async def _look(self, address: str) -> None:
        async with self.session.get(address) as response:
            assert response.status == 200, await response.text()
            assert (await response.read()).startswith(b"RIFF")


async def all_work(
    serving: Serving, study: Path, people: dict[str, Decide], **how: Any
) -> list[Annotator]:
    """Let people join and answer, all at the same time."""

    async def one(name: str, decide: Decide) -> Annotator:
        async with Annotator(serving, name, study) as person:
            assert await person.join() == 303
            await person.work(decide, **how)
            return person

    return await asyncio.gather(*(one(name, decide) for name, decide in people.items()))
