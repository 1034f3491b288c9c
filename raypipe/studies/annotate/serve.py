"""The life of the app: listen, open what is stored, ask until it is stopped."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable

from aiohttp import web

from raypipe.console import message
from raypipe.errors import UserError
from raypipe.studies.annotate.connections import Connection, Door, Told
from raypipe.studies.annotate.keys import Keys
from raypipe.studies.annotate.run import ANSWERS, KEYS, AnswerRun
from raypipe.studies.annotate.server import App
from raypipe.studies.annotate.settings import Annotate
from raypipe.studies.annotate.store import Store
from raypipe.studies.annotate.study import Study

AT_ONCE = 16
"""Connections taken in one turn of the loop: each holds a file before it can be refused."""

QUEUED = 128
"""Connections that the system holds until they are taken."""

LEAVE_S = 5
"""Seconds for requests to end in when the app is stopped."""


def describe(config: Annotate, study: Study) -> str:
    """What would be served, for --dry-run."""
    where = f"port {config.port} of {config.share_on or '127.0.0.1'}"
    return f"{len(study.questions):,} questions ({study.kind}) would be asked on {where}"


def serve(run: AnswerRun, config: Annotate, study: Study, begin: Callable[[], None]) -> None:
    """Ask until SIGINT or SIGTERM.

    begin: called when nothing can be refused any more. UserError for an address that cannot be
    listened on, a directory that cannot be used, and where answers can no longer be written.
    """
    asyncio.run(_serve(run, config, study, begin))


async def _serve(run: AnswerRun, config: Annotate, study: Study, begin: Callable[[], None]) -> None:
    told, door = Told(), Door()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told("loop", context["message"]))
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    runner: web.AppRunner | None = None

    def connection() -> Connection:
        assert runner is not None
        assert runner.server is not None
        return Connection(runner.server, door, told)

    async with contextlib.AsyncExitStack() as stack:
        listening = await _listen(config, connection)
        stack.callback(listening.close)
        store = Store(run.path / ANSWERS)
        stack.callback(store.close)
        if foreign := store.questions - study.questions.keys():
            raise UserError(
                f"{run.path / ANSWERS} must hold answers to the questions of {config.run}, but "
                f"{len(foreign):,} of its questions are others"
            )
        begin()
        keys = Keys(run.path / KEYS)
        run.forget_previous()
        study.blind(keys.sides)
        app = App(config, study, store, keys, told).application()
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=LEAVE_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(listening.close)
        await _start(listening)
        port = listening.sockets[0].getsockname()[1]
        message(f"asking on {_link(config, port, keys)} until Ctrl-C")
        if keys.are_new and store.questions:
            message(
                f"{run.path / KEYS} held no secret for orders and sides: questions without an "
                "answer are asked in a new order, and answers stay as they are"
            )
        await _until_stopped(stopped, store)
        writes = store.is_alive
    if not writes:
        raise UserError(
            f"answers can no longer be written to {run.path / ANSWERS}: {store.trouble}; those "
            "that were confirmed are there, and the same command goes on from them"
        )


async def _listen(config: Annotate, connection: Callable[[], Connection]) -> asyncio.Server:
    """Hold the address, without taking connections yet."""
    host = config.share_on or "127.0.0.1"
    try:
        return await asyncio.get_running_loop().create_server(
            connection, host, config.port, backlog=AT_ONCE, start_serving=False
        )
    except OSError as error:
        raise UserError(
            f"the app must be able to listen on {host}, port {config.port}: "
            f"{os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror}"
        ) from None


async def _start(listening: asyncio.Server) -> None:
    """Take connections. asyncio has one number for the two lengths that are told apart here."""
    await listening.start_serving()
    for one in listening.sockets:
        with socket.socket(fileno=os.dup(one.fileno())) as same:
            same.listen(QUEUED)


async def _until_stopped(stopped: asyncio.Event, store: Store) -> None:
    """Wait for a signal, or for the end of what writes the answers."""
    while store.is_alive and not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await stopped.wait()


def _link(config: Annotate, port: int, keys: Keys) -> str:
    """The address to open or to send."""
    host = config.share_on or "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    origin = config.origin or f"http://{shown}:{port}"
    return f"{origin}/{f'?token={keys.token}' if config.is_shared else ''}"
