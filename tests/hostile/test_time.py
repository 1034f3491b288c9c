"""What never answers is told as soon as it is known, or after some seconds, and no later."""

import os
import socket
import subprocess
import sys

import pytest

from raypipe.engine import cluster
from raypipe.errors import UserError
from raypipe.storage.reach import ANSWER_S, check_answers
from tests.hostile.conftest import CONFIGS, Told
from tests.hostile.test_configs import check
from tests.support import ROOT
from tests.support.jobs import run_here

LIMIT_S = 15
"""Of a process: it is killed then, and the test fails."""


@pytest.fixture
def silent():
    """The port of a server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """A port where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1]


def test_a_store_that_is_not_there_is_told_at_once(closed, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed}")
    with pytest.raises(UserError, match=r"no answer from s3://bucket: .*NETWORK_CONNECTION"):
        check_answers({"output": "s3://bucket/run"})


def test_a_store_that_says_nothing_is_given_up(silent, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent}")
    with pytest.raises(UserError, match=f"no answer from s3://bucket within {ANSWER_S:g} seconds"):
        check_answers({"models": [{"id": "s3://bucket/model"}, {"id": "s3://bucket/other"}]})


def test_google_that_says_nothing_is_given_up_too(silent, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent}")
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", f"http://127.0.0.1:{silent}")
    with pytest.raises(UserError, match=r"no answer from gs://bucket"):
        check_answers(["gs://bucket/run"])


def test_what_is_no_bucket_is_not_asked():
    check_answers({"output": "/runs/x", "id": "org/name", "n": 3, "s": "s3://user:word@bucket/x"})


def test_every_refusal_of_a_store_is_an_answer(monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    check_answers(["s3://bucket/run"])
    server.shutdown()


@pytest.mark.parametrize("job", ["consistency", "annotate", "train_miniature"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
def test_a_config_that_is_no_file(tmp_path, job, kind):
    path = tmp_path / "config.yaml" if not kind.startswith("/") else kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    done = run_here(job, path)
    check(Told(done.returncode, done.stdout, done.stderr), ("must be a file", str(path)))


def test_a_note_of_a_ray_that_is_gone_is_not_waited_for(tmp_path, monkeypatch, closed):
    note = tmp_path / "ray" / "ray_current_cluster"
    note.parent.mkdir()
    note.write_text(f"127.0.0.1:{closed}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray._common.utils.get_default_ray_temp_dir", lambda: str(note.parent))
    with pytest.raises(UserError, match=f"no Ray cluster answers at 127.0.0.1:{closed}"):
        cluster._check_answers("auto")


def test_as_a_user_meets_it(tmp_path, silent):
    """In a process of its own: it ends by itself, with the status and the line."""
    (tmp_path / "config.yaml").write_text("run: a\nchoices: b\noutput: s3://bucket/run\n")
    assert "align" in CONFIGS
    done = subprocess.run(
        [sys.executable, "jobs/align.py", str(tmp_path / "config.yaml")],
        cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S * 4, check=False,
        env={**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent}"},
    )  # fmt: skip
    check(Told(done.returncode, done.stdout, done.stderr), ("no answer", "s3://bucket"))
