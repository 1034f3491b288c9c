"""A small hub on 127.0.0.1: as much of Hugging Face's interface as its client uses to download.

One repository, with its files in memory. It writes down every request that concerns it, and fails
as it is told.
"""

import hashlib
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "org/name"
SHA = hashlib.sha1(b"the first commit").hexdigest()


@dataclass
class Fault:
    """What happens, for some `times`, to requests that start with `request` ("GET /api/models").

    Either an answer of this `status`, or, where it is 0, the connection ends after half the file:
    it is reset, or closed without `reset`; with `hold`, only when the server closes.
    """

    request: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    reset: bool = True
    hold: bool = False


class Hub:
    """Serves from a thread while it is used as a context manager; `url` is for HF_ENDPOINT."""

    def __init__(self, files: dict[str, bytes], faults: tuple[Fault, ...] = ()):
        self.files, self.faults = files, list(faults)
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.holding, self._closed = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def downloads(self) -> list[str]:
        """Names of the files that were sent, in order, one for every GET."""
        start = f"GET /{REPOSITORY}/resolve/{SHA}/"
        return [line.removeprefix(start) for line in self.requests if line.startswith(start)]

    def note(self, request: str) -> Fault | None:
        """Write a request down; the fault that is due for it, if one is."""
        if REPOSITORY not in request:  # the client also asks for news of its own
            return None
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if request.startswith(fault.request) and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def hold(self) -> None:
        """Keep a transfer waiting until the server closes."""
        self.holding.set()
        self._closed.wait()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answer()

        do_HEAD = do_GET

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            fault = hub.note(f"{self.command} {path}")
            if fault is not None and fault.status:
                return self._send(fault.status, b"{}", fault.headers)
            api = f"/api/models/{REPOSITORY}"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{SHA}"):
                siblings = [{"rfilename": name} for name in hub.files]
                return self._json({"id": REPOSITORY, "sha": SHA, "siblings": siblings})
            if path.startswith(f"{api}/revision/"):
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            if path == f"{api}/tree/{SHA}":
                return self._json([_entry(name, data) for name, data in hub.files.items()])
            name = path.removeprefix(f"/{REPOSITORY}/resolve/{SHA}/")
            if name in hub.files:
                return self._file(hub.files[name], fault)
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _json(self, value) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _file(self, data: bytes, fault: Fault | None) -> None:
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": SHA}
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked is None:
                return self._send(200, data, headers, fault)
            start = int(asked[1])
            hub.ranges.append(asked[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self._send(206, data[start:], headers, fault)

        def _send(self, status, body: bytes, headers, fault: Fault | None = None) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(body if fault is None else body[: len(body) // 2])
            if fault is not None:
                if fault.hold:
                    hub.hold()
                if fault.reset:  # which is what a close without lingering is
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                self.close_connection = True

        def log_message(self, *args) -> None:
            pass

    return Handler


def _entry(name: str, data: bytes) -> dict:
    """A file as the hub's listing has it."""
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
