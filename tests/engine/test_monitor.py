"""What is heard from workers, and what is kept of it."""

import json
import time

import pytest

from raypipe.engine import log, monitor
from raypipe.engine.monitor import Monitor, Recorder
from raypipe.errors import UserError
from raypipe.storage.files import Folder


def test_a_batch_that_was_made_twice_counts_once():
    heard = Monitor()
    for batch, n, attempt in (("b1", 4, 1), ("b2", 3, 1), ("b1", 4, 2)):
        assert heard.begin("generate", batch) == attempt
        heard.add("generate", batch, n, 1)
    assert heard.counts() == {"generate": 7}
    assert heard.finished("generate") == 2
    assert heard.finished("embed") == 0
    state = heard.state()["generate"]
    assert (state["done"], state["quarantined"], state["retried_batches"]) == (7, 2, 1)


def test_the_first_mistake_is_the_one_that_is_reported():
    heard = Monitor()
    assert heard.mistake() is None
    heard.refuse(UserError("one"))
    heard.refuse(UserError("two"))
    assert str(heard.mistake()) == "one"


def test_a_silent_worker_is_no_longer_counted_but_its_work_is(monkeypatch):
    heard = Monitor()
    heard.beat("w1", "generate", 5.0)
    heard.beat("w2", "generate", 7.0)
    assert heard.state()["generate"]["workers"] == 2
    monkeypatch.setattr(monitor, "BEAT_S", 0.0)
    assert heard.state()["generate"]["workers"] == 0
    assert heard.state()["generate"]["busy_s"] == 12.0


def test_metrics_are_rates_since_the_line_before(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "RECORD_S", 0.05)
    heard = Monitor()
    heard.beat("w1", "generate", 0.0)
    gauges: dict[tuple[str, str], float] = {}  # tests/ray looks at the real ones

    def publish(key, step, value):
        gauges[key, step] = value

    totals = {"generate": 40, "embed": 40}
    with Recorder(Folder(str(tmp_path)), totals, heard.state, lambda: 2.5, publish):
        heard.add("generate", "b1", 10, 2)
        heard.add("embed", "b0", 4, 0)
        while not (tmp_path / "metrics" / "0000.jsonl").exists():
            time.sleep(0.01)
    lines = [json.loads(line) for line in (tmp_path / "metrics" / "0000.jsonl").open()]
    assert len(lines) >= 2
    first, last = lines[0]["steps"], lines[-1]["steps"]
    assert last["generate"]["done"] == 10
    assert last["generate"]["queue"] == 30  # of the 40 that it is to make
    assert last["embed"]["queue"] == 6  # made, and not yet embedded
    assert last["generate"]["quarantined"] == 2
    assert first["generate"]["per_s"] > 0
    assert last["generate"]["per_s"] == 0  # nothing more since
    assert lines[0]["driver_peak_mib"] > 10
    assert lines[0]["object_store_mib"] == 2.5
    assert gauges["done", "generate"] == 10


def test_a_busy_share_is_of_the_workers_that_live(tmp_path):
    states = iter(
        [
            {"generate": {"done": 0, "busy_s": 10.0, "workers": 2}},
            {"generate": {"done": 5, "busy_s": 10.0 + 1e-3, "workers": 2}},
        ]
    )
    recorder = Recorder(Folder(str(tmp_path)), {"generate": 5}, lambda: next(states), lambda: None)
    recorder._record()
    started = time.monotonic()
    time.sleep(0.01)
    recorder._record()
    elapsed = time.monotonic() - started
    share = json.loads((tmp_path / "metrics" / "0000.jsonl").read_text().splitlines()[1])
    assert 0 < share["steps"]["generate"]["busy"] <= 1e-3 / (0.01 * 2) * 1.01
    assert share["steps"]["generate"]["busy"] == pytest.approx(1e-3 / (elapsed * 2), rel=0.5)


def test_each_session_of_a_run_has_its_own_file(tmp_path):
    for name in ("0000.jsonl", "0001.jsonl"):
        with Recorder(Folder(str(tmp_path)), {"generate": 1}, dict, lambda: None):
            pass
        assert (tmp_path / "metrics" / name).exists()


def test_a_full_disk_does_not_stop_the_recorder():
    with Recorder(Folder("/proc/raypipe"), {"generate": 1}, dict, lambda: None):
        pass


def test_a_log_line_is_json_and_names_the_sample(capfd, monkeypatch):
    monkeypatch.setattr(log.logger, "handlers", [])
    log.to_stderr()
    log.to_stderr()  # once is enough
    log.event("quarantined", sample_id="0a1b", reason="blank", prompt='"<\n>')
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    told = json.loads(lines[0])
    assert told["event"] == "quarantined"
    assert told["sample_id"] == "0a1b"
    assert told["prompt"] == '"<\n>'
