"""The life of the app: what ends it, and what a start that is refused leaves alone."""

import asyncio
import contextlib
import json
import re
import sqlite3

import aiohttp
import pytest

from raypipe.errors import UserError
from raypipe.studies.annotate import serve
from raypipe.studies.annotate.run import AnswerRun
from raypipe.studies.annotate.settings import Annotate
from raypipe.studies.annotate.store import Store
from raypipe.studies.annotate.study import Study
from tests.support.annotators import Annotator, Serving
from tests.support.jobs import run_here


def test_the_app_says_so_and_ends_when_answers_can_no_longer_be_written(
    study, tmp_path, monkeypatch, capsys
):
    opened = []
    monkeypatch.setattr(serve, "Store", lambda path: opened.append(Store(path)) or opened[0])
    config = Annotate(run=str(study), output=str(tmp_path / "answers"), port=0)
    run = AnswerRun(config.output)

    async def go():
        app = asyncio.create_task(serve._serve(run, config, Study(config), lambda: None))
        told = ""
        while "asking on" not in told:
            await asyncio.sleep(0.01)
            told += capsys.readouterr().err
        async with aiohttp.ClientSession(re.search(r"http://[\d.:]+", told)[0]) as session:
            async with session.get("/health") as response:
                assert response.status == 200
            opened[0]._waiting.put(object())  # what no request can bring about: a bug of our own
            statuses = []
            with contextlib.suppress(aiohttp.ClientError):
                form = {"name": "anna", "consent": "yes"}
                async with session.post("/join", data=form) as response:
                    statuses.append(response.status)
                async with session.get("/health") as response:
                    statuses.append(response.status)
            assert statuses == [503, 503]
        await asyncio.wait_for(app, 60)

    with pytest.raises(UserError, match="answers can no longer be written"):
        asyncio.run(go())


def test_a_refused_start_leaves_a_finished_run_as_it_is(study, tmp_path):
    output = tmp_path / "answers"

    async def three(serving):
        async with Annotator(serving, "anna", study) as person:
            await person.join()
            await person.work(lambda row: "a", most=3)

    with Serving(study, output, "rate=1000") as serving:
        asyncio.run(three(serving))
        serving.stop()
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    with Serving(study, tmp_path / "other") as busy:
        port = busy.address.rpartition(":")[2]
        line = ["annotate", "configs/annotate/local.yaml", f"run={study}", f"output={output}"]
        done = run_here(*line, f"port={port}", "rate=1000")
        assert (done.returncode, "must be able to listen" in done.stderr) == (2, True)
    with sqlite3.connect(output / "answers.sqlite") as connection:
        connection.execute("UPDATE answers SET question_id = 'gone' WHERE position = 0")
    done = run_here(*line, "port=0", "rate=1000")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "1 of its questions are others" in done.stderr
    after = {file.name: file.read_bytes() for file in output.iterdir()}
    del before["answers.sqlite"]
    assert {name: after.get(name) for name in before} == before


def test_a_study_of_the_earlier_version_goes_on(study, tmp_path):
    """Its keys.json had no secret for the sides, and its cookies were not named by study."""
    output = tmp_path / "answers"
    with Serving(study, output, "rate=1000") as serving:

        async def begin():
            async with Annotator(serving, "anna", study) as person:
                await person.join()
                await person.work(lambda row: "a", most=4)
                jar = person.session.cookie_jar
                return next(c.value for c in jar if c.key.startswith("annotator"))

        signed = asyncio.run(begin())
        serving.stop()
    keys = json.loads((output / "keys.json").read_text())
    del keys["sides"]
    (output / "keys.json").write_text(json.dumps(keys))
    with sqlite3.connect(output / "answers.sqlite") as connection:
        before = set(connection.execute("SELECT question_id, choice, swapped FROM answers"))
    with Serving(study, output, "rate=1000") as serving:

        async def go_on():
            async with Annotator(serving, "anna", study) as person:
                person.session.cookie_jar.update_cookies({"annotator": signed})
                assert (await person.item())["answered"] == 4
                await person.work(lambda row: "b")

        asyncio.run(go_on())
        serving.stop()
    with sqlite3.connect(output / "answers.sqlite") as connection:
        after = set(connection.execute("SELECT question_id, choice, swapped FROM answers"))
    assert before < after
    assert len(after) == 10
