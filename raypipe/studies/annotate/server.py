"""The app: pages, questions and answers over HTTP."""

import asyncio
import math
import signal
import socket
import sqlite3
from typing import Any

from aiohttp import web

from raypipe.console import message
from raypipe.errors import UserError
from raypipe.studies.annotate.access import PSEUDONYM, Keys, guard, set_cookie
from raypipe.studies.annotate.pages import Pages
from raypipe.studies.annotate.run import ANSWERS, AnswerRun
from raypipe.studies.annotate.settings import Annotate
from raypipe.studies.annotate.store import Answer, Store
from raypipe.studies.annotate.study import Study

LARGEST = 4096
"""Bytes of a request's body."""

LONGEST = 86_400.0
"""Seconds that an answer may take; a page left open overnight is no measure of its question."""

FOREVER = "private, max-age=31536000, immutable"


class App:
    """Handlers of one study."""

    def __init__(self, config: Annotate, study: Study, store: Store, keys: Keys):
        self._config, self._study, self._store, self._keys = config, study, store, keys
        self._pages = Pages(study, config.consent)

    def application(self) -> web.Application:
        """The application that aiohttp serves."""
        app = web.Application(
            middlewares=[guard(self._config, self._keys)], client_max_size=LARGEST
        )
        app.add_routes(
            [
                web.get("/", self.start),
                web.post("/join", self.join),
                web.post("/leave", self.leave),
                web.get("/answer", self.page),
                web.get("/api/item", self.item),
                web.post("/api/answer", self.answer),
                web.get("/p/{name}", self.picture),
                web.get("/{name:app\\.(?:js|css)}", self.static),
            ]
        )
        return app

    async def start(self, request: web.Request) -> web.Response:
        """Instructions, consent and pseudonym. A link's token and name become cookies."""
        returning = self._keys.name_of(request.query.get("as", ""))
        if {"token", "as"} & set(request.query):
            response = _to("/answer" if returning else "/")
            if self._config.share_on is not None:
                set_cookie(response, "token", self._keys.token)
            if returning in self._store.annotators:
                set_cookie(response, "annotator", self._keys.sign(str(returning)))
            return response
        name = self._name(request)
        answered = len(self._store.known(name)) if name else 0
        return _html(self._pages.start(name, answered, taken=None))

    async def join(self, request: web.Request) -> web.Response:
        """Take a pseudonym; without a free one the page is shown again."""
        form = await request.post()
        name = str(form.get("name", "")).strip()
        if not PSEUDONYM.fullmatch(name) or form.get("consent") != "yes":
            return web.Response(
                status=400,
                text="Agree, and choose 2 to 24 letters, digits or hyphens as a pseudonym.",
            )
        mine = self._name(request) == name
        if not mine and (
            name in self._store.annotators or not await self._store.join(name, self._config.consent)
        ):
            return _html(self._pages.start(None, 0, taken=name), status=409)
        if not mine:
            message(f"{name} has joined; the link back: {self._link(name)}")
        response = _to("/answer")
        set_cookie(response, "annotator", self._keys.sign(name))
        return response

    async def leave(self, request: web.Request) -> web.Response:
        """Make room for another person at this browser."""
        response = _to("/")
        response.del_cookie("annotator", path="/")
        return response

    async def page(self, request: web.Request) -> web.Response:
        """The page of questions; without a pseudonym, the start."""
        name = self._name(request)
        if name is None:
            return _to("/")
        return _html(self._pages.answer(name, self._link(name)))

    async def item(self, request: web.Request) -> web.Response:
        """The question at `at`, or the first one without an answer."""
        name, at = self._must_name(request), request.query.get("at", "")
        position = int(at) if at.isascii() and at.isdecimal() and len(at) < 10 else None
        return self._item(name, position)

    async def answer(self, request: web.Request) -> web.Response:
        """Keep an answer, then give the next question.

        Status 409 with the next question where a second window has answered differently meanwhile.
        """
        name, given = self._must_name(request), await _json(request)
        key, question_id = given.get("choice"), given.get("id")
        version, seconds = _number(given.get("version")), _number(given.get("seconds"))
        asked = self._study.asked(name, question_id) if isinstance(question_id, str) else None
        if asked is None or not isinstance(key, str):
            raise web.HTTPBadRequest(text="There is no such question.")
        choice = self._study.to_choice(key, asked[1].swapped)
        if choice is None or version is None or seconds is None or not version.is_integer():
            raise web.HTTPBadRequest(text="This is not an answer.")
        row = Answer(
            annotator=name,
            question_id=str(question_id),
            choice=choice,
            swapped=asked[1].swapped,
            position=asked[0],
            seconds=min(seconds, LONGEST),
            version=int(version),
        )
        try:
            kept = await self._store.save(row)
        except sqlite3.Error as error:
            message(f"an answer could not be written: {error}")
            raise web.HTTPServiceUnavailable(text="Not saved. Try again.") from None
        known = self._store.known(name)
        if len(known) == len(self._study.questions) and row.version == 0:
            message(f"{name} has answered all {len(known):,} questions")
        return self._item(name, None, status=200 if kept else 409)

    async def picture(self, request: web.Request) -> web.Response:
        """A picture by its opaque name."""
        self._must_enter(request)
        data = self._study.picture(request.match_info["name"])
        if data is None:
            raise web.HTTPNotFound(text="There is no such picture.")
        headers = {"Cache-Control": FOREVER}
        return web.Response(body=data, content_type="image/webp", headers=headers)

    async def static(self, request: web.Request) -> web.Response:
        """The script or the style of the pages."""
        text, kind = self._pages.files[request.match_info["name"]]
        return web.Response(text=text, content_type=kind, headers={"Cache-Control": "no-cache"})

    def _item(self, name: str, at: int | None, status: int = 200) -> web.Response:
        item = self._study.item(name, self._store.known(name), at)
        return web.json_response(item, status=status, headers={"Cache-Control": "no-store"})

    def _name(self, request: web.Request) -> str | None:
        """The annotator of a request; None for one who has not joined."""
        name: str | None = request["annotator"]
        return name if name in self._store.annotators else None

    def _must_name(self, request: web.Request) -> str:
        name = self._name(request)
        if name is None:
            raise web.HTTPUnauthorized(text="Start at the first page.")
        return name

    def _must_enter(self, request: web.Request) -> None:
        """Pictures are for those who joined, apart from the example's."""
        example = (self._study.example["a_picture"], self._study.example["b_picture"])
        if request.match_info["name"] not in example:
            self._must_name(request)

    def _link(self, name: str) -> str:
        token = f"token={self._keys.token}&" if self._config.share_on is not None else ""
        return f"/?{token}as={self._keys.sign(name)}"


def _to(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address, "Cache-Control": "no-store"})


def _html(text: str, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)


async def _json(request: web.Request) -> dict[str, Any]:
    """A JSON object; a form of another site cannot send one."""
    try:
        given = await request.json() if request.content_type == "application/json" else None
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise web.HTTPBadRequest(text="This is not an answer.")
    return given


def _number(value: Any) -> float | None:
    """A finite number that is not negative, None for anything else."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if numeric and math.isfinite(value) and value >= 0 else None


def describe(config: Annotate, study: Study) -> str:
    """What would be served, for --dry-run."""
    where = f"port {config.port} of {config.share_on or '127.0.0.1'}"
    return f"{len(study.questions):,} questions ({study.kind}) would be asked on {where}"


def check_address(config: Annotate) -> None:
    """UserError for an address that cannot be listened on."""
    host = config.share_on or "127.0.0.1"
    try:
        family, *_, address = socket.getaddrinfo(host, config.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise UserError(
            f"the app must be able to listen on {host}, port {config.port}: {error.strerror}"
        ) from None


def serve(run: AnswerRun, config: Annotate, study: Study) -> None:
    """Ask until SIGINT or SIGTERM. UserError for an address that cannot be listened on."""
    store = Store(run.path / ANSWERS)
    run.forget_previous()
    try:
        asyncio.run(_serve(config, App(config, study, store, Keys(run.path / "keys.json")), run))
    finally:
        store.close()


async def _serve(config: Annotate, app: App, run: AnswerRun) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(app.application(), access_log=None, handle_signals=False)
    await runner.setup()
    host = config.share_on or "127.0.0.1"
    site = web.TCPSite(runner, host, config.port, shutdown_timeout=5)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise UserError(
            f"the app must be able to listen on {host}, port {config.port}: {error.strerror}"
        ) from None
    port = runner.addresses[0][1]
    message(f"asking on {_link(config, host, port, run)} until Ctrl-C")
    await stopped.wait()
    await runner.cleanup()


def _link(config: Annotate, host: str, port: int, run: AnswerRun) -> str:
    """The address to open or to send."""
    shown = f"[{host}]" if ":" in host else host
    token = f"?token={Keys(run.path / 'keys.json').token}" if config.share_on is not None else ""
    return f"http://{shown}:{port}/{token}"
