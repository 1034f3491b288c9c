"""The running app: nothing lost, nothing doubled."""

import asyncio
import contextlib
import re
import sqlite3

import aiohttp
import pytest

from tests.support.annotators import Annotator, Serving, all_work
from tests.support.jobs import run_here

QUESTIONS = 10


@pytest.fixture
def serving(study, tmp_path):
    with Serving(study, tmp_path / "answers", "rate=1000") as process:
        yield process


def stored(serving) -> dict[tuple[str, str], str]:
    """What is on disk now, by annotator and question."""
    with sqlite3.connect(serving.output / "answers.sqlite") as connection:
        rows = connection.execute("SELECT annotator, question_id, choice FROM answers").fetchall()
    assert len({row[:2] for row in rows}) == len(rows)
    return {row[:2]: row[2] for row in rows}


def always(choice: str):
    return lambda row: choice


def with_person(serving, study, body, name="anna"):
    async def go():
        async with Annotator(serving, name, study) as person:
            assert await person.join() == 303
            return await body(person)

    return asyncio.run(go())


def test_every_answer_is_on_disk_before_the_next_question_is_sent(serving, study):
    async def body(person):
        item = await person.item()
        for number in range(1, QUESTIONS + 1):
            status, following = await person.post(item, "1")
            assert status == 200
            assert len(stored(serving)) == number  # read by another process's connection
            assert following["answered"] == number
            item = following
        assert item == {"done": True, "total": QUESTIONS, "answered": QUESTIONS}

    with_person(serving, study, body)


def test_a_kill_in_the_middle_loses_nothing_and_everybody_goes_on(study, tmp_path):
    confirmed: dict[tuple[str, str], str] = {}

    async def work_until_killed(serving):
        async def one(name):
            async with Annotator(serving, name, study) as person:
                await person.join()
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await person.work(always("a"))
                confirmed.update({(name, question): c for question, c in person.given.items()})
                cookies[name] = person.session.cookie_jar

        async def kill():
            while len(stored(serving)) < 25:
                await asyncio.sleep(0.002)
            serving.kill()

        await asyncio.gather(kill(), *(one(f"person-{i}") for i in range(8)))

    cookies: dict = {}
    with Serving(study, tmp_path / "answers", "rate=1000") as serving:
        asyncio.run(work_until_killed(serving))
        assert 10 <= len(confirmed) < 80, "the kill must come in the middle"
        assert confirmed.items() <= stored(serving).items()
    before = stored(serving)
    with Serving(study, tmp_path / "answers", "rate=1000") as again:

        async def go_on():
            for name, jar in cookies.items():
                async with Annotator(again, name, study) as person:
                    person.session._cookie_jar = jar  # the same browser, which has its cookie still
                    item = await person.item()
                    assert item["answered"] == sum(key[0] == name for key in before)
                    await person.work(always("b"))

        asyncio.run(go_on())
        after = stored(again)
        told = again.stop()
    assert len(after) == 80
    assert before.items() <= after.items()
    assert "80 answers of 8 annotators" in told


def test_a_double_click_is_one_answer_and_a_second_window_changes_none(serving, study):
    async def body(person):
        item = await person.item()
        statuses = await asyncio.gather(*(person.post(item, "1") for _ in range(5)))
        assert [status for status, _ in statuses] == [200] * 5
        assert len(stored(serving)) == 1
        status, following = await person.post(item, "2")  # a window that shows the question still
        assert status == 409
        assert following["at"] == 1
        again = await person.item(item["at"])
        assert (again["choice"], again["version"]) == ("1", 1)
        status, _ = await person.post(again, "2")  # this one has gone back, and means it
        assert status == 200
        assert (await person.item(item["at"]))["choice"] == "2"
        assert len(stored(serving)) == 1

    with_person(serving, study, body)


def test_two_people_at_once_have_orders_and_sides_of_their_own(serving, study):
    people = {name: always("a") for name in ("anna", "bert")}
    first, second = asyncio.run(all_work(serving, study, people, pictures=True))
    assert list(first.given) != list(second.given)
    assert set(first.given) == set(second.given)
    with sqlite3.connect(serving.output / "answers.sqlite") as connection:
        sides = dict(connection.execute("SELECT annotator, SUM(swapped) FROM answers GROUP BY 1"))
    assert 0 < sum(sides.values()) < 2 * QUESTIONS
    repeats = {q: row["repeat_of"] for q, row in first.questions.items() if row["repeat_of"]}
    order = list(first.given)
    assert all(order.index(original) < order.index(q) for q, original in repeats.items())


def test_thirty_people_at_once_lose_nothing(serving, study):
    people = {f"person-{n}": always(("a", "b", "tie")[n % 3]) for n in range(30)}
    workers = asyncio.run(all_work(serving, study, people))
    given = {(w.name, question): c for w in workers for question, c in w.given.items()}
    assert len(given) == 30 * QUESTIONS
    serving.kill()
    assert stored(serving) == given


def test_a_pseudonym_belongs_to_who_took_it_and_the_link_back_returns(serving, study):
    async def go():
        async with Annotator(serving, "anna", study) as person:
            await person.join()
            await person.work(always("a"), most=3)
            async with person.session.get("/answer") as response:
                link = re.search(r'href="(/\?as=[^"]+)"', await response.text())[1]
        async with Annotator(serving, "anna", study) as stranger:
            assert await stranger.join() == 409
            async with stranger.session.get("/api/item") as response:
                assert response.status == 401
            async with stranger.session.get("/?as=anna.0123456789abcdef") as response:
                assert "Continue" not in await response.text()
        async with Annotator(serving, "anna", study) as returned:
            async with returned.session.get(link) as response:
                assert response.url.path == "/answer"
            assert (await returned.item())["answered"] == 3
        async with Annotator(serving, "anna smith@example.org", study) as named:
            assert await named.join() == 400

    asyncio.run(go())


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "nothing"}, {"id": None}, {"choice": "3"}, {"choice": 1}, {"choice": "a"},
        {"seconds": -1}, {"seconds": "1"}, {"seconds": True}, {"version": 0.5}, {"version": None},
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused_and_not_stored(shared_serving, study, changes):
    async def body(person):
        status, told = await person.post(await person.item(), "1", **changes)
        assert status == 400, told

    name = f"person-{abs(hash(str(changes))) % 10**9}"
    with_person(shared_serving, study, body, name)
    assert stored(shared_serving) == {}


@pytest.fixture(scope="module")
def shared_serving(study, tmp_path_factory):
    with Serving(study, tmp_path_factory.mktemp("a") / "answers") as process:
        yield process


def test_mistakes_are_one_line(study, source, serving, tmp_path):
    def told(*line):
        done = run_here(*line)
        assert done.returncode == 2, done.stderr
        assert done.stderr.strip().count("\n") == 0
        return done.stderr

    local = "configs/annotate/local.yaml"
    out = f"output={tmp_path}/x"
    assert "run must be a finished run of jobs/questions.py" in told(
        "annotate", local, f"run={source}", out
    )
    assert "collected on a local disk, got output s3://b/c" in told(
        "annotate", local, f"run={study}", "output=s3://b/c"
    )
    assert "one process collects answers at a time" in told(
        "annotate", local, f"run={study}", f"output={serving.output}", "port=0", "rate=1000"
    )
    port = serving.address.rpartition(":")[2]
    assert f"must be able to listen on 127.0.0.1, port {port}" in told(
        "annotate", local, f"run={study}", out, f"port={port}"
    )
    assert "run must be a finished run of jobs/annotate.py" in told(
        "agreement",
        "configs/agreement/default.yaml",
        f"run={serving.output}",
        f"output={tmp_path}/y",
    )
