"""The running app: blind, and closed to strangers."""

import asyncio
import re

import aiohttp
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
