"""A running study under attack: no answer is lost, nobody is shut out, nothing ends it."""

import asyncio
import contextlib
import json
import resource
import sqlite3

import aiohttp
import pytest

from tests.support.annotators import Annotator, Serving, all_work

QUESTIONS = 10

SOME_TIME = 90
"""Seconds after which a test has failed, not a bound that is measured."""


@pytest.fixture
def serving(study, tmp_path):
    with Serving(study, tmp_path / "answers", "rate=100000") as process:
        yield process


def stored(serving) -> dict[tuple[str, str], str]:
    with sqlite3.connect(serving.output / "answers.sqlite") as connection:
        rows = connection.execute("SELECT annotator, question_id, choice FROM answers")
        return {row[:2]: row[2] for row in rows}


def place(serving) -> tuple[str, int]:
    host, _, port = serving.address.removeprefix("http://").rpartition(":")
    return host, int(port)


async def raw(serving, data: bytes) -> bytes:
    """What comes back for bytes that need be no request."""
    reader, writer = await asyncio.open_connection(*place(serving))
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), SOME_TIME)
    except ConnectionError:
        return b""
    finally:
        writer.close()


BODIES = [
    b'{"version": 1e300}', b'{"version": 1e300, "id": "ID", "choice": "1", "seconds": 1}',
    b'{"version": -1, "id": "ID", "choice": "1", "seconds": 1}',
    b'{"version": 99999999999999999999, "id": "ID", "choice": "1", "seconds": 1}',
    b'{"version": 0, "id": "ID", "choice": "1", "seconds": 1' + b"0" * 400 + b"}",
    b'{"version": 0, "id": "ID", "choice": "1", "seconds": NaN}',
    b'{"version": 0, "id": "ID", "choice": "1", "seconds": Infinity}',
    b'{"version": 0, "id": ["ID"], "choice": "1", "seconds": 1}',
    b'{"version": 0, "id": "ID", "choice": {"a": 1}, "seconds": 1}',
    b'{"version": 0, "id": "\\ud800", "choice": "1", "seconds": 1}',
    b'{"version": 0, "id": "ID", "choice": "\\u0000", "seconds": 1}',
    b'{"version": 0, "id": "ID", "choice": "1", "seconds": 1, "swapped": true}',
    b"[" * 4000, b'{"a":' * 700, b"", b"\xff\xfe\x00", b"null", b"[]", b'"text"', b"9" * 4000,
]  # fmt: skip


def test_whatever_is_posted_is_refused_and_the_next_answer_is_kept(serving, study):
    async def go():
        async with Annotator(serving, "anna", study) as person:
            await person.join()
            item = await person.item()
            for body in BODIES:
                data = body.replace(b"ID", item["id"].encode())
                headers = {"Content-Type": "application/json"}
                async with person.session.post("/api/answer", data=data, headers=headers) as r:
                    assert r.status == 400, (body, await r.text())
            for kind in ("text/plain", "application/x-www-form-urlencoded", "", "é; charset=x"):
                async with person.session.post(
                    "/api/answer", data=b"{}", headers={"Content-Type": kind}
                ) as response:
                    assert response.status == 400, kind
            async with person.session.post("/api/answer", json={"id": "x" * 10_000}) as response:
                assert response.status == 413
            zipped = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            async with person.session.post("/api/answer", data=b"no", headers=zipped) as response:
                assert response.status == 400
            for path in ("/p/..%2f..%2fkeys.json", "/p/%00", "/p/" + "a" * 5000, "/p/%ff",
                         "/api/item?at=" + "9" * 4000, "/api/item?at=-1", "/?as=%00", "/?token=%ff",
                         "/?as=" + "a" * 5000):  # fmt: skip
                async with person.session.get(path) as response:
                    assert response.status in (200, 404), path
            forms = [b"", b"name=anna2", b"name=anna2&consent=no", b"name=a%00b&consent=yes",
                     b"name=eve&name=eva&consent=yes", b"&" * 500, b"name=%ff&consent=yes",
                     b"name=" + b"a" * 3000 + b"&consent=yes"]  # fmt: skip
            urlencoded = {"Content-Type": "application/x-www-form-urlencoded; charset=nothing"}
            for form in forms:
                async with person.session.post("/join", data=form, headers=urlencoded) as response:
                    assert response.status == 400, form
            with aiohttp.MultipartWriter("form-data") as parts:
                parts.append("x", {"Content-Type": "text/plain; charset=nothing"})
            async with person.session.post("/join", data=parts) as response:
                assert response.status == 400
            await person.work(lambda row: "a")
            assert len(person.given) == QUESTIONS

    asyncio.run(go())
    assert len(stored(serving)) == QUESTIONS
    assert "Traceback" not in serving.stop()


def test_what_is_no_http_is_answered_with_4xx_and_without_a_traceback(serving, study):
    requests = [
        b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,
        b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: 1\r\n" % n for n in range(500)) + b"\r\n",
        b"POST /join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /join HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n", b"\0" * 1000, b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: [::1\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"POST /join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname=x",
    ]  # fmt: skip

    async def go():
        for data in requests:
            answer = await raw(serving, data)
            assert answer == b"" or answer.split(b" ")[1][:1] == b"4", (data[:60], answer)
            assert b"Python" not in answer
            assert b"aiohttp" not in answer
        await all_work(serving, study, {"anna": lambda row: "a"})

    asyncio.run(go())
    assert len(stored(serving)) == QUESTIONS
    told = serving.stop()
    assert "Traceback" not in told
    assert len(told.splitlines()) < 12


def test_half_sent_connections_shut_nobody_out_and_are_closed(study, tmp_path):
    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    halves = [
        b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"POST /join HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\nname=",
    ]  # fmt: skip

    async def ends(reader) -> bool:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        return True

    async def go(serving):
        opened = []
        for number in range(400):
            reader, writer = await asyncio.open_connection(*place(serving))
            writer.write(halves[number % len(halves)])
            opened.append((reader, writer))
        people = {f"person-{number}": lambda row: "b" for number in range(3)}
        workers = await asyncio.wait_for(all_work(serving, study, people, pictures=True), SOME_TIME)
        assert [len(worker.given) for worker in workers] == [QUESTIONS] * 3
        closed = asyncio.gather(*(ends(reader) for reader, _ in opened))
        assert all(await asyncio.wait_for(closed, SOME_TIME))
        for _, writer in opened:
            writer.close()

    with Serving(study, tmp_path / "answers", "rate=100000", before=few_files) as serving:
        asyncio.run(go(serving))
        assert len(stored(serving)) == 3 * QUESTIONS
        assert len(serving.stop().splitlines()) < 12


def test_no_answer_is_lost_while_others_flood(serving, study):
    stop = asyncio.Event()

    async def flood(number: int):
        junk = json.dumps({"version": 10**30, "id": [], "choice": None}).encode()
        async with Annotator(serving, f"flood-{number}", study) as bad:
            await bad.join()
            jar = bad.session.cookie_jar
            cookie = "; ".join(f"{c.key}={c.value}" for c in jar)
            head = (
                f"POST /api/answer HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(junk)}\r\n\r\n"
            )
            while not stop.is_set():
                await raw(serving, head.encode() + junk)
                await raw(serving, b"\0\r\n\r\n")
                with contextlib.suppress(aiohttp.ClientError):
                    async with bad.session.post("/api/answer", data=b"x" * 100_000) as response:
                        assert response.status in (400, 413)

    async def go():
        bad = [asyncio.create_task(flood(number)) for number in range(4)]
        people = {f"person-{n}": (lambda row, n=n: ("a", "b", "tie")[n % 3]) for n in range(10)}
        workers = await asyncio.wait_for(all_work(serving, study, people), SOME_TIME)
        stop.set()
        await asyncio.gather(*bad)
        return workers

    workers = asyncio.run(go())
    given = {(w.name, question): c for w in workers for question, c in w.given.items()}
    assert len(given) == 10 * QUESTIONS
    assert stored(serving) == given
    assert "Traceback" not in serving.stop()
