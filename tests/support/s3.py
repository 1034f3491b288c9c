"""A real S3 server (moto's) in a process of its own, and a proxy that breaks connections to it."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import boto3
import pytest

from tests.support import ROOT, free_port, listens
from tests.support.jobs import wait_for

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def server(log: str = os.devnull, **environment: str) -> Iterator[int]:
    """The port of a server that holds its objects while the block runs."""
    port = free_port()
    with open(log, "w") as output:  # noqa: PTH123
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.s3_server", str(port)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: listens(port), process)
        yield port
    finally:
        process.kill()
        process.wait()


def use(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Lead this process, and those that it starts, to a server or a proxy."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)


def client(port: int):
    """A boto3 client: another implementation than the one that is tested."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


class Proxy:
    """Passes bytes on to a server, and cuts connections in the middle when told to."""

    def __init__(self, port: int):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.up_after: int | None = None
        """Cut the next connection that has sent more bytes than this."""
        self.down_after: int | None = None
        """Cut the next connection that has received more bytes than this."""
        self.every: int | None = None
        """Cut every so-many-th connection in its first answer."""
        self.connections = self.cuts = 0
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # a thread waits in accept
        self._listener.close()

    def down(self, seconds: float) -> None:
        """Be gone for a while, as a server that is killed and started again."""
        self.close()
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        time.sleep(seconds)
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                doomed = bool(self.every) and self.connections % self.every == 0
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open |= {near, far}
                for pair in ((near, far, "up_after", False), (far, near, "down_after", doomed)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, limit: str, doomed: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                after = getattr(self, limit)
                if doomed or (after is not None and passed > after):
                    if not doomed:
                        setattr(self, limit, None)
                    self.cuts += 1
                    sink.sendall(data[: len(data) // 2])
                    break
                sink.sendall(data)
        self._open -= {source, sink}
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
