"""The app: pages, questions and answers over HTTP."""

from aiohttp import web

from raypipe.console import message
from raypipe.studies.annotate.access import HEALTH, Cookies, guard
from raypipe.studies.annotate.connections import Told
from raypipe.studies.annotate.keys import Keys
from raypipe.studies.annotate.pages import Pages
from raypipe.studies.annotate.requests import LARGEST, given, joining
from raypipe.studies.annotate.settings import Annotate
from raypipe.studies.annotate.store import Answer, NotSavedError, Store
from raypipe.studies.annotate.study import Study

LONGEST = 86_400.0
"""Seconds that an answer may take; a page left open overnight is no measure of its question."""

FOREVER = "private, max-age=31536000, immutable"


class App:
    """Handlers of one study."""

    def __init__(self, config: Annotate, study: Study, store: Store, keys: Keys, told: Told):
        self._config, self._study, self._store, self._keys = config, study, store, keys
        self._cookies, self._told = Cookies(config, keys), told
        self._pages = Pages(study, config.consent)

    def application(self) -> web.Application:
        """The application that aiohttp serves."""
        app = web.Application(
            middlewares=[guard(self._config, self._cookies, self._told)], client_max_size=LARGEST
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
                web.get(HEALTH, self.health),
            ]
        )
        return app

    async def start(self, request: web.Request) -> web.Response:
        """Instructions, consent and pseudonym. A link's token and name become cookies."""
        returning = self._keys.name_of(request.query.get("as", ""))
        if {"token", "as"} & set(request.query):
            response = _to("/answer" if returning else "/")
            if self._config.is_shared:
                self._cookies.set(response, "token", self._keys.token)
            if returning in self._store.annotators:
                self._cookies.set(response, "annotator", self._keys.sign(str(returning)))
            return response
        name = self._name(request)
        answered = len(self._store.known(name)) if name else 0
        return _html(self._pages.start(name, answered, taken=None))

    async def join(self, request: web.Request) -> web.Response:
        """Take a pseudonym; without a free one the page is shown again."""
        name = (await joining(request)).name
        if self._name(request) != name:
            most = self._config.annotators
            try:
                found = await self._store.join(name, self._config.consent, most)
            except NotSavedError as error:
                raise self._not_saved(error) from None
            if found == "taken":
                return _html(self._pages.start(None, 0, taken=name), status=409)
            if found == "closed":
                self._told("closed", f"nobody can join any more: annotators={most} have")
                raise web.HTTPForbidden(text="Enough people take part already. Thank you.")
            message(f"{name} has joined; the link back: {self._link(name)}")
        response = _to("/answer")
        self._cookies.set(response, "annotator", self._keys.sign(name))
        return response

    async def leave(self, request: web.Request) -> web.Response:
        """Make room for another person at this browser."""
        response = _to("/")
        self._cookies.delete(response, "annotator")
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
        name, told = self._must_name(request), await given(request)
        asked = self._study.asked(name, told.id)
        if asked is None:
            raise web.HTTPBadRequest(text="There is no such question.")
        choice = self._study.to_choice(told.choice, asked[1].swapped)
        if choice is None:
            raise web.HTTPBadRequest(text="This is not an answer.")
        row = Answer(
            annotator=name,
            question_id=asked[1].question_id,
            choice=choice,
            swapped=asked[1].swapped,
            position=asked[0],
            seconds=min(told.seconds, LONGEST),
            version=told.version,
        )
        try:
            kept = await self._store.save(row)
        except NotSavedError as error:
            raise self._not_saved(error) from None
        known = self._store.known(name)
        if len(known) == len(self._study.questions) and row.version == 0:
            message(f"{name} has answered all {len(known):,} questions")
        return self._item(name, None, status=200 if kept else 409)

    async def picture(self, request: web.Request) -> web.Response:
        """A picture by its opaque name. Without a pseudonym there are the example's alone."""
        name, picture = self._name(request), request.match_info["name"]
        data = self._study.picture(name, picture)
        if data is None and name is None:
            self._must_name(request)
        if data is None:
            raise web.HTTPNotFound(text="There is no such picture.")
        headers = {"Cache-Control": FOREVER}
        return web.Response(body=data, content_type="image/webp", headers=headers)

    async def static(self, request: web.Request) -> web.Response:
        """The script or the style of the pages."""
        text, kind = self._pages.files[request.match_info["name"]]
        return web.Response(text=text, content_type=kind, headers={"Cache-Control": "no-cache"})

    async def health(self, request: web.Request) -> web.Response:
        """Whether answers can be kept: status 200 or 503."""
        well = self._store.is_alive and self._store.trouble is None
        text = "ok" if well else "Answers cannot be kept."
        headers = {"Cache-Control": "no-store"}
        return web.Response(status=200 if well else 503, text=text, headers=headers)

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

    def _not_saved(self, error: NotSavedError) -> web.HTTPException:
        self._told("not saved", f"an answer could not be written: {error}")
        return web.HTTPServiceUnavailable(text="Not saved. Try again.")

    def _link(self, name: str) -> str:
        token = f"token={self._keys.token}&" if self._config.is_shared else ""
        return f"/?{token}as={self._keys.sign(name)}"


def _to(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address, "Cache-Control": "no-store"})


def _html(text: str, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)
