"""Connections: how many there may be, how long each may wait, and what is said about them."""

import asyncio
import ipaddress
import resource
import time
from collections import Counter
from typing import Any

from aiohttp import web

from raypipe.console import message

HEADERS_S = 10.0
"""Seconds from the connection to a whole first request."""

REQUEST_S = 60.0
"""Seconds that a request may take, and from its answer to the end of the next request's headers."""

IDLE_S = 30.0
"""Seconds for which a connection is kept between requests."""

LINGER_S = 2.0
"""Seconds for which the rest of a refused body is read, so that the answer arrives."""

MOST = 1000
"""Connections in all, where the system allows so many open files."""

KEPT_FILES = 128
"""Open files that are left for everything else, a burst of new connections among it."""

EVERY_S = 60.0
"""Seconds between two messages of one kind."""


HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # not no-referrer, under which a browser hides the origin of our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "annotate",
}
"""Of every answer."""


class Told:
    """Messages that strangers can cause: of each kind one a minute, with how many were left out."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def __call__(self, kind: str, text: str) -> None:
        now = time.monotonic()
        if now - self._last.get(kind, -EVERY_S) < EVERY_S:
            self._left_out[kind] += 1
            return
        self._last[kind] = now
        more = self._left_out.pop(kind, 0)
        message(text + (f" ({more:,} more since the last such line)" if more else ""))


class Door:
    """Knows all connections. Where there are too many, the one that has waited longest goes.

    The one is sought at the address that has most connections, so that nobody shuts others out. At
    one address there are at most half of all. A connection whose whole request is being answered
    stays.
    """

    def __init__(self, most: int | None = None):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = most or max(16, min(MOST, files - KEPT_FILES))
        self._open: Counter[str] = Counter()
        self._waiting: dict[Connection, None] = {}  # in the order in which they began to wait

    def enter(self, connection: "Connection") -> bool:
        """Whether there is room for it, perhaps in place of another."""
        mine = self._open[connection.address]
        if mine >= self.most // 2:
            at_mine = (one for one in self._waiting if one.address == connection.address)
            longest = next(at_mine, None)
        elif self._open.total() >= self.most:
            longest = min(self._waiting, key=lambda one: -self._open[one.address], default=None)
        else:
            self._open[connection.address] += 1
            return True
        if longest is None:
            return False
        longest.drop()
        self._open[connection.address] += 1
        return True

    def wait(self, connection: "Connection") -> None:
        """Something of it is waited for, from now on."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def work(self, connection: "Connection") -> None:
        """Its request is being answered."""
        self._waiting.pop(connection, None)

    def leave(self, connection: "Connection") -> None:
        """It has ended."""
        self._waiting.pop(connection, None)
        self._open[connection.address] -= 1
        if self._open[connection.address] <= 0:
            del self._open[connection.address]


class Connection(web.RequestHandler):
    """One connection of aiohttp's server, with deadlines for headers and for each request."""

    __slots__ = ("_deadline", "_door", "_inside", "_told", "address")

    def __init__(self, server: web.Server, door: Door, told: Told):
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            auto_decompress=False,  # so that a body has the size that it is sent in
            access_log=None,
        )
        self._door, self._told = door, told
        self._inside, self.address = False, ""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit it, or end it at once."""
        self.address = _network(transport.get_extra_info("peername"))
        super().connection_made(transport)
        self._inside = self._door.enter(self)
        if not self._inside:
            self._told("full", "a connection was refused: there are too many")
            self.drop()
            return
        self._door.wait(self)
        self._until(HEADERS_S)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room."""
        self._leave()
        super().connection_lost(exc)

    def begin(self, whole: bool) -> None:
        """A request's headers are here, and its body too where it is `whole`."""
        self._until(REQUEST_S)
        if whole:
            self._door.work(self)
        elif self._inside:
            self._door.wait(self)

    def arrived(self) -> None:
        """The request's body is here."""
        self._door.work(self)

    def end(self) -> None:
        """Its answer is ready to be sent."""
        if self._inside:
            self._door.wait(self)
            self._until(REQUEST_S)

    def drop(self) -> None:
        """End it now, whatever is on its way."""
        self._leave()
        if self.transport is not None:
            self.transport.abort()

    def log_exception(self, *args: Any, **more: Any) -> None:
        """A line in place of the traceback of what a stranger has sent."""
        error = more.get("exc_info")
        self._told("aiohttp", f"a request was not understood: {type(error).__name__}")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request; what was sent is not repeated in it."""
        self.log_exception(exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is on its way already")
        response = web.Response(
            status=status, text="This request was not understood.", headers=HEADERS
        )
        response.force_close()
        return response

    def _leave(self) -> None:
        if self._inside:
            self._inside = False
            self._door.leave(self)
        if self._deadline is not None:
            self._deadline.cancel()

    def _until(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(seconds, self.drop)


def _network(peer: Any) -> str:
    """Whom a connection is counted for: an address; of version 6, the network that it is in."""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (TypeError, ValueError, IndexError):
        return ""
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)
    return str(address)
