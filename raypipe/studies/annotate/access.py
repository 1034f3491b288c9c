"""Access to the app: the link's token, signed pseudonyms, rate limits, and headers."""

import hmac
import json
import re
import secrets
import time
import traceback
from hashlib import sha256
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from raypipe.studies.annotate.settings import Annotate

PSEUDONYM = re.compile(r"[A-Za-z0-9-]{2,24}")

BURST = 6
"""Seconds' worth of requests that may come at once."""

TRIES = 5.0
"""Sustained requests a second without a pseudonym, from one address."""

TRIES_AT_ONCE = 400
"""Such requests at once: some eighty people behind one address who begin together."""

MOST_KEYS = 10_000
"""Clients whose rate is remembered; older ones start again with a full bucket."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "annotate",
}

LOOPBACK = ("127.0.0.1", "localhost")


class Keys:
    """Signs pseudonyms, and knows the link's token; both outlive a restart."""

    def __init__(self, path: Path):
        if not path.exists():
            made = {"secret": secrets.token_hex(32), "token": secrets.token_urlsafe(16)}
            path.touch(mode=0o600)
            path.write_text(json.dumps(made))
        stored = json.loads(path.read_text())
        self._secret = bytes.fromhex(stored["secret"])
        self.token: str = stored["token"]

    def sign(self, name: str) -> str:
        """`NAME.SIGNATURE`, which proves the pseudonym."""
        digest = hmac.new(self._secret, name.encode(), sha256).hexdigest()[:32]
        return f"{name}.{digest}"

    def name_of(self, signed: str) -> str | None:
        """The pseudonym of a signed name, None for anything else."""
        name = signed.partition(".")[0]
        if PSEUDONYM.fullmatch(name) and same(signed, self.sign(name)):
            return name
        return None


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


def guard(config: Annotate, keys: Keys) -> Middleware:
    """The middleware that admits a request, or answers with the reason why not."""
    known = Rate(config.rate, BURST * config.rate)
    unknown = Rate(TRIES, TRIES_AT_ONCE)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = keys.name_of(request.cookies.get("annotator", ""))
        request["annotator"] = name
        wait = unknown.wait(request.remote or "") if name is None else known.wait(name)
        if wait:
            response: web.StreamResponse = web.Response(status=429, text="Too many requests.")
            response.headers["Retry-After"] = str(int(wait) + 1)
        elif config.share_on is None and request.host.partition(":")[0] not in LOOPBACK:
            response = web.Response(status=403, text="Open this page by its own address.")
        elif config.share_on is not None and not _has_token(request, keys.token):
            response = web.Response(status=403, text="Open the link that you were sent.")
        else:
            response = await _answer(request, handler)
        response.headers.update(HEADERS)
        return response

    return middleware


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers errors with their status and nothing else."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.Response(status=error.status, text=error.text or error.reason)
    except Exception:  # a bug: the traceback goes to the terminal, not to the annotator
        traceback.print_exc()
        return web.Response(status=500, text="Something went wrong. Try again.")


def _has_token(request: web.Request, token: str) -> bool:
    given = (request.cookies.get("token", ""), request.query.get("token", ""))
    return any(same(one, token) for one in given)


def same(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def set_cookie(response: web.StreamResponse, name: str, value: str) -> None:
    """A cookie that scripts cannot read and other sites cannot send."""
    response.set_cookie(name, value, max_age=90 * 86400, httponly=True, samesite="Strict", path="/")
