"""Weights on a hub are fetched once a node, whole and patiently, or refused in plain words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.weights import retry
from tests.support import ROOT
from tests.support.hub_server import REPOSITORY, SHA, Fault, Hub
from tests.support.weight_files import FILES, PATTERNS, WANTED, content

API, RESOLVE = f"GET /api/models/{REPOSITORY}", f"/{REPOSITORY}/resolve/{SHA}"


class Node:
    """A node with empty caches, where processes fetch from a hub."""

    def __init__(self, home: Path):
        self.home = home

    def start(self, hub: Hub, *requests: dict, **environment: str) -> subprocess.Popen:
        """A process that fetches all that is requested, one after the other."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(self.home / "hub"),
            "RAYPIPE_CACHE": str(self.home / "raypipe"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **environment,
        }
        whole = [{"identifier": REPOSITORY, "revision": None, **request} for request in requests]
        command = [sys.executable, str(ROOT / "tests/support/fetch_once.py"), json.dumps(whole)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    def fetch(self, hub: Hub, *requests: dict, **environment: str) -> list[str]:
        """The path for each request, or what was said instead."""
        return outcomes(self.start(hub, *requests, **environment))


def outcomes(process: subprocess.Popen) -> list[str]:
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(out)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "node")


def test_processes_download_once_and_then_need_no_hub(node):
    with Hub(FILES) as hub:
        processes = [node.start(hub, {"files": PATTERNS}) for _ in range(6)]
        paths = [outcomes(process) for process in processes]
    assert paths == [paths[0]] * 6
    assert content(*paths[0]) == WANTED
    assert hub.requests.count(API) == 1
    assert sorted(hub.downloads()) == sorted(WANTED)
    assert node.fetch(hub, {"files": PATTERNS}) == paths[0]  # the hub is stopped by now


def test_a_commit_that_the_hub_cache_holds_is_not_asked_for(node):
    with Hub(FILES) as hub:
        path = node.fetch(hub, {"revision": "main", "files": PATTERNS})
        asked = len(hub.requests)
        assert node.fetch(hub, {"revision": SHA, "files": PATTERNS}) == path
        assert len(hub.requests) == asked


def test_without_hub_the_hub_cache_will_do(node):
    with Hub(FILES) as hub:
        (path,) = node.fetch(hub, {"files": PATTERNS})
    for marker in (node.home / "raypipe").glob("*.json"):
        marker.unlink()
    assert node.fetch(hub, {"files": PATTERNS}) == [path]
    found = node.fetch(hub, {"files": ["*.json"]}, {"files": None}, HF_HUB_OFFLINE="1")
    assert found == [path, "model m is not in the local cache, and the hub is off: org/name"]


def test_files_that_were_removed_are_downloaded_again(node):
    with Hub(FILES) as hub:
        (path,) = node.fetch(hub, {"files": PATTERNS})
        (Path(path) / "model.safetensors").resolve().unlink()
        assert node.fetch(hub, {"files": PATTERNS}) == [path]
    assert content(path) == WANTED


def test_a_hub_that_is_busy_is_asked_again(node):
    faults = Fault(API, 429, {"Retry-After": "1"}), Fault(API, 503, times=4)
    with Hub(FILES, faults) as hub:
        (path,) = node.fetch(hub, {"files": PATTERNS})
    assert content(path) == WANTED
    assert [fault.times for fault in faults] == [0, 0]


def test_files_that_fail_are_tried_again(node):
    files = {name: name.encode() * 2**18 for name in ("a", "b", "c", "d")}
    faults = (
        Fault(f"{API}/tree", 503),
        Fault(f"HEAD {RESOLVE}/a", 429, {"Retry-After": "0"}),
        Fault(f"GET {RESOLVE}/b", 429, {"Retry-After": "0"}),
        Fault(f"GET {RESOLVE}/c", 500, times=2),
        Fault(f"GET {RESOLVE}/d", times=2),
    )
    with Hub(files, faults) as hub:
        (path,) = node.fetch(hub, {})
    assert content(path) == files
    assert [fault.times for fault in faults] == [0] * 5


def test_a_broken_transfer_goes_on_where_it_broke(node):
    files = {"large": bytes(range(256)) * 2**17}  # of several parts, as the client reads
    with Hub(files, (Fault(f"GET {RESOLVE}/large", reset=False),)) as hub:
        (path,) = node.fetch(hub, {})
    assert content(path) == files
    assert len(hub.ranges) == 1


def test_a_refusal_is_one_line_after_one_request(node):
    no_token = "model m needs a token: set HF_TOKEN to one that may read org/name"
    gated = "model m is gated: accept its terms at {hub}/org/name and set HF_TOKEN"
    said = {
        (401, ""): no_token,
        (403, ""): no_token,
        (403, "GatedRepo"): gated,
        (401, "GatedRepo"): gated,
        (404, "RepoNotFound"): "model m is not on the hub: org/name",
        (401, "RepoNotFound"): "model m is not on the hub, or needs a token (set HF_TOKEN): "
        "org/name",
    }
    faults = [Fault(API, status, {"X-Error-Code": code}) for status, code in said]
    files_only = Fault(f"HEAD {RESOLVE}", 403, {"X-Error-Code": "GatedRepo"}, times=99)
    with Hub(FILES, (*faults, files_only)) as hub:
        *lines, last = node.fetch(hub, *[{}] * 7)
        assert lines == [line.format(hub=hub.url) for line in said.values()]
        assert last == gated.format(hub=hub.url)
    assert hub.requests[:6] == [API] * 6


def test_what_is_not_there_is_named(node):
    with Hub(FILES) as hub:
        lines = node.fetch(
            hub,
            {"revision": "v9"},
            {"files": ["*.gguf"]},
            {"identifier": "a/b/c"},
            {"variant": None},
        )
    assert lines == [
        "model m has no revision v9 on the hub: org/name",
        "model m has no file like *.gguf on the hub: org/name",
        "model m is neither a path, a URI nor a hub id: a/b/c",
        "model m has no file like model_index.json on the hub: org/name",
    ]


def test_after_the_last_try_the_reason_is_reported(node):
    with Hub(FILES, (Fault(API, 503, times=99),)) as hub:
        (line,) = node.fetch(hub, {})
    assert line.startswith("model m cannot be fetched from the hub: org/name: ")
    assert "503" in line
    assert len(hub.requests) == retry.TRIES


def test_a_killed_download_is_made_whole_by_the_next(node):
    held = Fault(f"GET {RESOLVE}/model.safetensors", hold=True)
    with Hub(FILES, (held,)) as hub:
        process = node.start(hub, {"files": PATTERNS})
        assert hub.holding.wait(60)
        waiting = node.start(hub, {"files": PATTERNS})
        process.kill()
        process.communicate()
        (path,) = outcomes(waiting)
    assert content(path) == WANTED


def test_a_pipeline_is_fetched_without_what_is_not_loaded(node):
    index = {"_class_name": "X", "unet": ["diffusers", "U"], "tokenizer": ["transformers", "T"]}
    files = {
        "model_index.json": json.dumps(index).encode(),
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.fp16.safetensors": b"half",
        "unet/diffusion_pytorch_model.safetensors": b"whole",
        "unet/diffusion_pytorch_model.bin": b"pickle",
        "tokenizer/vocab.json": b"[]",
        "all.safetensors": b"one file",
    }
    with Hub(files) as hub:
        path, line = node.fetch(hub, {"variant": "fp16"}, {"variant": "int8"})
    assert sorted(content(path)) == [
        "model_index.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert sorted(hub.downloads()) == sorted(content(path))
    words = "model m cannot be loaded: no component has weights of variant int8: org/name"
    assert line == words
    for marker in (node.home / "raypipe").glob("*.json"):
        marker.unlink()
    assert node.fetch(hub, *[{"variant": "fp16"}] * 2, HF_HUB_OFFLINE="1") == [path] * 2
