"""Answers on disk: what cannot be written is told, and nothing waits for ever."""

import asyncio
import json
import sqlite3

import pytest

from raypipe.errors import UserError
from raypipe.studies.annotate.keys import Keys
from raypipe.studies.annotate.store import Answer, NotSavedError, Store


def answer(question: str, version: object = 0) -> Answer:
    return Answer("anna", question, "a", False, 0, 1.0, version)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


def test_one_that_cannot_be_stored_fails_alone_and_the_writer_goes_on(path):
    async def go():
        rows = [answer("q0"), answer("q1", 10**300), answer("q2"), answer("q3", object())]
        saved = await asyncio.gather(*(store.save(row) for row in rows), return_exceptions=True)
        assert [type(one) for one in saved] == [bool, NotSavedError, bool, NotSavedError]
        assert store.trouble is not None
        assert await store.save(answer("q4"))
        assert (store.trouble, store.is_alive) == (None, True)

    store = Store(path)
    asyncio.run(go())
    store.close()
    rows = sqlite3.connect(path).execute("SELECT question_id FROM answers ORDER BY 1").fetchall()
    assert rows == [("q0",), ("q2",), ("q4",)]


def test_a_writer_that_has_died_refuses_at_once(path):
    async def go():
        waiting = asyncio.gather(*(store.save(answer(f"q{n}")) for n in range(3)),
                                 return_exceptions=True)  # fmt: skip
        store._waiting.put(object())  # what no request can bring about: a bug of our own
        found = await asyncio.wait_for(waiting, 20)
        assert all(one is True or isinstance(one, NotSavedError) for one in found)
        with pytest.raises(NotSavedError):
            await asyncio.wait_for(store.save(answer("q9")), 20)
        assert not store.is_alive
        return sum(one is True for one in found)

    store = Store(path)
    confirmed = asyncio.run(go())
    store.close()
    kept = sqlite3.connect(path).execute("SELECT COUNT(*) FROM answers").fetchone()[0]
    assert kept == confirmed


def test_a_request_that_gives_up_does_not_stop_the_writer(path):
    async def go():
        tasks = [asyncio.create_task(store.save(answer(f"q{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await store.save(answer("last"))
        assert store.is_alive

    store = Store(path)
    asyncio.run(go())
    store.close()


def test_files_are_the_owners_alone_and_those_of_an_earlier_version_become_so(path, tmp_path):
    sqlite3.connect(path).close()
    path.touch(mode=0o644)
    path.chmod(0o644)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"secret": "ab" * 32, "token": "t" * 22}))
    store = Store(path)
    first = Keys(keys)
    assert first.are_new
    assert first.name_of(first.sign("anna")) == "anna"
    again = Keys(keys)
    assert (again.are_new, again.sides, again.token) == (False, first.sides, "t" * 22)
    for file in tmp_path.iterdir():
        if file.suffix != ".lock":
            assert file.stat().st_mode & 0o077 == 0, file
    store.close()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"secret": "xy", "token": "short"}', "\0"])
def test_damaged_keys_are_named(tmp_path, content):
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(UserError, match=r"keys\.json must hold the keys"):
        Keys(tmp_path / "keys.json")


def test_a_file_that_is_no_database_is_named(path):
    path.write_bytes(b"something else" * 100)
    with pytest.raises(UserError, match=r"answers cannot be kept in .*answers\.sqlite"):
        Store(path)
