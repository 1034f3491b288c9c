"""Who is admitted: the link's token, signed pseudonyms, a request's origin, and its rate."""

import time
import traceback

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from raypipe.studies.annotate.connections import HEADERS, Connection, Told
from raypipe.studies.annotate.keys import Keys, same
from raypipe.studies.annotate.requests import is_from_here
from raypipe.studies.annotate.settings import Annotate

BURST = 6
"""Seconds' worth of requests that may come at once."""

TRIES = 5.0
"""Sustained requests a second without a pseudonym, from one address."""

TRIES_AT_ONCE = 400
"""Such requests at once: some eighty people behind one address who begin together."""

MOST_KEYS = 10_000
"""Clients whose rate is remembered; older ones start again with a full bucket."""

LOOPBACK = ("127.0.0.1", "localhost")

HEALTH = "/health"
"""Asked by what watches the server, which needs no token."""

COOKIES_FOR_S = 90 * 86400


class Cookies:
    """The two cookies of a study: the link's token, and who somebody is."""

    def __init__(self, config: Annotate, keys: Keys):
        self._secure = (config.origin or "").startswith("https:")
        self._study, self._keys = keys.study, keys

    def get(self, request: web.Request, what: str) -> str:
        """A cookie's value, perhaps by the name that raypipe 0.1 gave it."""
        return request.cookies.get(self._name(what)) or request.cookies.get(what, "")

    def set(self, response: web.StreamResponse, what: str, value: str) -> None:
        """For no script, for no page of another site to send along with a form."""
        response.set_cookie(
            self._name(what),
            value,
            max_age=COOKIES_FOR_S,
            httponly=True,
            secure=self._secure,
            samesite="Lax",  # Strict is not sent after a link in a web page, such as of a mail
            path="/",
        )

    def delete(self, response: web.StreamResponse, what: str) -> None:
        """Under both names."""
        for name in (self._name(what), what):
            response.del_cookie(name, path="/", secure=self._secure, httponly=True, samesite="Lax")

    def annotator(self, request: web.Request) -> str | None:
        """The pseudonym that a request proves."""
        return self._keys.name_of(self.get(request, "annotator"))

    def has_token(self, request: web.Request) -> bool:
        """Whether it comes by the link that annotators were sent."""
        given = (self.get(request, "token"), request.query.get("token", ""))
        return any(same(one, self._keys.token) for one in given)

    def _name(self, what: str) -> str:
        return f"{'__Host-' if self._secure else ''}{what}-{self._study}"


class Rate:
    """A bucket of requests for each client that fills at a steady rate."""

    def __init__(self, per_second: float, at_once: float):
        self._per_second, self._at_once = per_second, at_once
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, key: str) -> float:
        """Count one request. Seconds to wait before the next one is taken; 0: it is taken."""
        now = time.monotonic()
        left, then = self._left.pop(key, (self._at_once, now))
        left = min(self._at_once, left + (now - then) * self._per_second)
        taken = left >= 1
        self._left[key] = (left - taken, now)
        if len(self._left) > MOST_KEYS:
            del self._left[next(iter(self._left))]
        return 0.0 if taken else (1 - left) / self._per_second


def guard(config: Annotate, cookies: Cookies, told: Told) -> Middleware:
    """The middleware that admits a request, or answers with the reason why not."""
    known = Rate(config.rate, BURST * config.rate)
    unknown = Rate(TRIES, TRIES_AT_ONCE)

    def refused(request: web.Request, connection: Connection) -> web.Response | None:
        """Why a request is not admitted. A stranger's takes nothing from others at its address."""
        host = request.headers.get("Host", "")
        if not config.is_shared and host.partition(":")[0] not in LOOPBACK:
            return web.Response(status=403, text="Open this page by its own address.")
        if config.is_shared and not cookies.has_token(request):
            return web.Response(status=403, text="Open the link that you were sent.")
        name = request["annotator"] = cookies.annotator(request)
        wait = unknown.wait(connection.address) if name is None else known.wait(name)
        if wait:
            after = {"Retry-After": str(int(wait) + 1)}
            return web.Response(status=429, text="Too many requests.", headers=after)
        if request.method == "POST" and not is_from_here(request, config.origin):
            return web.Response(
                status=403,
                text="Only this study's own pages may send this. Behind a proxy, the study must "
                "be started with its public_url.",
            )
        return None

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.begin(whole=not request.body_exists)
        try:
            response: web.StreamResponse | None = None
            if request.path != HEALTH:
                response = refused(request, connection)
            if response is None:
                response = await handler(request)
        except web.HTTPException as error:  # its status and nothing else
            response = web.Response(status=error.status, text=error.text or error.reason)
        except ConnectionError:
            raise  # nobody is there any more
        except Exception as error:  # a bug: the traceback goes to the terminal, not to a stranger
            told(f"bug {type(error).__name__}", traceback.format_exc().rstrip())
            response = web.Response(status=500, text="Something went wrong. Try again.")
        finally:
            connection.end()
        response.headers.update(HEADERS)
        return response

    return middleware
