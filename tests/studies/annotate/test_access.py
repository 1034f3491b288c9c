"""The running app: blind, and closed to strangers."""

import asyncio
import re

import aiohttp
import psutil
import pytest

from tests.support import study_runs
from tests.support.annotators import Annotator, Serving


@pytest.fixture
def serving(study, tmp_path):
    with Serving(study, tmp_path / "answers", "rate=1000") as process:
        yield process


async def everything(address: str, token: str = "") -> list[tuple[str, str]]:
    """Each response, headers and body, that an annotator's browser may see; (address, text)."""
    seen = []
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(address, cookie_jar=jar) as session:

        async def look(method, path, **more):
            async with session.request(method, path, **more) as response:
                body = await response.read()
                seen.append((f"{response.url}", f"{response.headers}\n{body.decode('latin-1')}"))
                return await response.json() if response.content_type.endswith("json") else None

        await look("GET", "/" + token)
        await look("POST", "/join", data={"name": "leak", "consent": "yes"})
        for path in ("/answer", "/app.js", "/app.css", "/nothing", "/p/nothing", "/api/answer"):
            await look("GET", path)
        await look("POST", "/api/answer", data="no JSON")
        await look("POST", "/join", data={"name": "leak"})
        item = await look("GET", "/api/item")
        while not item["done"]:
            for picture in item["pictures"] + item["ahead"]:
                await look("GET", picture)
            answer = {key: item[key] for key in ("id", "version")} | {"choice": "0", "seconds": 1}
            item = await look("POST", "/api/answer", json=answer)
        for path in ("/p/../keys.json", "/p/%2e%2e%2fsecret.json", "/../answers.sqlite",
                     "/answers.sqlite", "/keys.json", "/p/..%5c..%5ckeys.json"):  # fmt: skip
            async with session.get(path) as response:
                assert response.status in (404, 405), path
    return seen


def test_nothing_that_is_sent_names_a_model_a_run_or_a_place(serving, study, source):
    seen = asyncio.run(everything(serving.address))
    assert len(seen) > 50
    hidden = [*study_runs.MODELS, "zebrafish", "quokka", str(source), str(study), "/tmp/",
              str(serving.output), "sample", "manifest", "Traceback", "aiohttp", "Python",
              '"role"', "repeat_of", "expected"]  # fmt: skip
    for address, text in seen:
        for word in hidden:
            assert word.lower() not in (address + text).lower(), (word, address)
    pages = [text for _, text in seen if "<html" in text]
    assert all("Content-Security-Policy" in text for _, text in seen)
    assert pages
    assert not any("<script>alert" in page for page in pages)


def test_only_this_machine_unless_told_otherwise(serving):
    async def go():
        port = int(serving.address.rpartition(":")[2])
        async with aiohttp.ClientSession() as session:
            own = {"Host": f"evil.example:{port}"}  # a page elsewhere whose name leads here
            async with session.get(serving.address, headers=own) as response:
                assert response.status == 403

    asyncio.run(go())
    assert serving.link.startswith("http://127.0.0.1:")


def test_shared_needs_the_links_token(study, tmp_path):
    with Serving(study, tmp_path / "answers", "--share-on", "127.0.0.1", "rate=1000") as serving:
        assert re.fullmatch(r"http://127.0.0.1:\d+/\?token=[\w-]{16,}", serving.link)

        async def go():
            async with aiohttp.ClientSession(serving.address) as session:
                for path in ("/", "/answer", "/app.js", "/api/item", "/?token=", "/?token=wrong"):
                    async with session.get(path) as response:
                        assert (response.status, await response.text()) == (
                            403, "Open the link that you were sent.",
                        )  # fmt: skip
            seen = await everything(serving.address, serving.link[len(serving.address) + 1 :])
            assert not any("token=" in address for address, _ in seen)

        asyncio.run(go())
        assert oct((serving.output / "keys.json").stat().st_mode & 0o777) == "0o600"


def test_too_many_requests_are_slowed_down_and_nobody_else_is(study, tmp_path):
    with Serving(study, tmp_path / "answers", "rate=2") as serving:

        async def go():
            async with (
                Annotator(serving, "hasty", study) as hasty,
                Annotator(serving, "calm", study) as calm,
            ):
                await hasty.join()
                await calm.join()
                statuses = []
                for _ in range(20):
                    async with hasty.session.get("/api/item") as response:
                        statuses.append(response.status)
                        waits = response.headers.get("Retry-After")
                assert statuses[0] == 200
                assert statuses[-1] == 429
                assert int(waits) >= 1
                assert (await calm.item())["answered"] == 0

        asyncio.run(go())


def test_only_own_pages_may_post(serving, study):
    port = serving.address.rpartition(":")[2]
    bad = [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
           {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]  # fmt: skip
    good = [{}, {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}]

    async def go():
        async with Annotator(serving, "anna", study) as person:
            await person.join()
            tries = [(headers, 403) for headers in bad] + [(headers, 303) for headers in good]
            for number, (headers, status) in enumerate(tries):
                form = {"name": f"anna-{number}", "consent": "yes"}
                for path in ("/join", "/leave"):
                    async with person.session.post(
                        path, data=form, headers=headers, allow_redirects=False
                    ) as response:
                        assert response.status == status, (path, headers)
                        assert status == 303 or "Set-Cookie" not in response.headers
                if status == 403:
                    item = await person.item()
                    answer = {"id": item["id"], "version": 0, "choice": "1", "seconds": 1}
                    async with person.session.post(
                        "/api/answer", json=answer, headers=headers
                    ) as response:
                        assert response.status == 403
                    assert (await person.item())["answered"] == 0

    asyncio.run(go())


def test_joining_closes_and_health_needs_no_token(study, tmp_path):
    public = "public_url=https://study.example.org"
    with Serving(study, tmp_path / "answers", public, "annotators=3", "rate=1000") as serving:
        token = serving.link.partition("token=")[2]
        assert serving.link == f"https://study.example.org/?token={token}"
        line = f"http://127.0.0.1:{listening(serving)}"

        async def go():
            async with aiohttp.ClientSession(line, cookie_jar=aiohttp.DummyCookieJar()) as session:
                async with session.get("/health") as response:
                    assert (response.status, await response.text()) == (200, "ok")
                for _ in range(600):  # strangers spend nothing of what others at the address have
                    async with session.get("/") as response:
                        assert response.status == 403
                statuses = []
                for number in range(5):
                    form = {"name": f"person-{number}", "consent": "yes"}
                    async with session.post(
                        f"/join?token={token}", data=form, allow_redirects=False
                    ) as response:
                        statuses.append(response.status)
                        for cookie in response.headers.getall("Set-Cookie", []):
                            assert cookie.startswith("__Host-annotator-")
                            for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
                                assert part in cookie
                            assert "Domain" not in cookie
                assert statuses == [303, 303, 303, 403, 403]
                for origin, status in (("https://study.example.org", 303), (line, 403)):
                    async with session.post(
                        f"/leave?token={token}", headers={"Origin": origin}, allow_redirects=False
                    ) as response:
                        assert response.status == status

        asyncio.run(go())


def listening(serving) -> int:
    """The port on which a process listens, whatever address it prints."""
    return next(c.laddr.port for c in psutil.Process(serving.process.pid).net_connections("inet")
                if c.status == psutil.CONN_LISTEN)  # fmt: skip
