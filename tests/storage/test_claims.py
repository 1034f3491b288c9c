"""Of several drivers one holds a run directory, on a disk and in a bucket; the others are told."""

import json
import os
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pyarrow as pa
import pytest

from raypipe.errors import UserError
from raypipe.storage import claims, exclusive, local
from raypipe.storage.directory import RunDirectory
from raypipe.storage.files import Folder
from tests.support import ROOT, s3

RACERS = 16


@pytest.fixture(scope="module")
def store():
    with s3.server() as port:
        s3.client(port).create_bucket(Bucket="bucket")
        yield port


@pytest.fixture(params=["disk", "bucket"])
def where(request, tmp_path, monkeypatch):
    """A run directory's URI."""
    if request.param == "disk":
        return str(tmp_path / "run")
    pytest.importorskip("obstore", reason="obstore, which writes to buckets, is not installed")
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    port = request.getfixturevalue("store")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    return f"s3://bucket/a run/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def _nothing_held():
    yield
    for claim in list(claims._held.values()):
        claim.release(keep=False)
    claims._still.clear()


def race(work) -> list:
    """What each of many that start together returns, or the error that it raises."""
    ready = threading.Barrier(RACERS)

    def start(number):
        ready.wait()
        try:
            return work(number)
        except UserError as error:
            return error

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(start, range(RACERS)))


def test_one_of_many_creates_a_file(where):
    for turn in range(5):
        name = f"samples/{turn:04d}.parquet"
        won = race(lambda n, name=name: Folder(where).create(name, f"racer {n}".encode()))
        assert won.count(True) == 1
        assert Folder(where).read(name) == f"racer {won.index(True)}".encode()
        assert Folder(where).names("samples")[turn] == name[8:]
    assert Folder(where).entries() == ["samples"]  # nothing of the trial is left


def test_one_of_many_processes_creates_a_file(tmp_path):
    code = (
        "import sys, time; from raypipe.storage import local; start = float(sys.argv[2])\n"
        "while time.time() < start: pass\n"
        "print([local.create(f'{sys.argv[1]}/{n}', b'x' * 9) for n in range(200)].count(True))"
    )
    start = str(__import__("time").time() + 3)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "a"), start],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    assert sum(int(racer.communicate()[0]) for racer in racers) == 200
    assert len(list((tmp_path / "a").iterdir())) == 200


def test_a_file_system_without_links_is_exclusive_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    won = race(lambda n: local.create(str(tmp_path / "a"), b"%d" % n))
    assert won.count(True) == 1
    assert (tmp_path / "a").read_bytes() == b"%d" % won.index(True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_write_whose_answer_was_lost_is_ones_own(where):
    """A client that tries again after a cut connection finds its own bytes."""
    if where.startswith("s3"):
        assert Folder(where).create("a", b"mine")
        assert Folder(where).create("a", b"mine")
        assert not Folder(where).create("a", b"theirs")


def test_a_store_that_ignores_the_condition_is_found_out_and_told_once(where, monkeypatch, capsys):
    if not where.startswith("s3"):
        return
    import obstore

    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda store, key, data, mode: put(store, key, data))
    monkeypatch.setattr(exclusive, "_known", {})
    assert Folder(where).create("a", b"1")
    assert not Folder(where).create("a", b"2")
    assert Folder(where).read("a") == b"1"
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cannot tell two drivers apart, so never start a second one on bucket/a run/" in told
    claims.take(Folder(where), lambda: 0, "works")
    with pytest.raises(UserError, match="one process works at a time, got another on s3://"):
        claims.take(Folder(where), lambda: 0, "works")


def test_one_of_many_drivers_gets_a_run_and_the_others_learn_who(where):
    got = race(lambda _: claims.take(Folder(where), lambda: 0, "works on a run"))
    (winner,) = [claim for claim in got if isinstance(claim, claims.Claim)]
    for error in got:
        if error is not winner:
            assert str(error).startswith(
                f"one process works on a run at a time, got another on {where}: process "
                f"{os.getpid()} of "
            )
    winner.confirm()
    winner.release(keep=False)
    assert Folder(where).entries() == []


def foreign(where, epoch=1, **changes) -> claims.Holder:
    """A claim of another machine."""
    holder = replace(claims.Holder.here(), host="elsewhere", boot="b", since="noon", **changes)
    Folder(where).create(f"claims/{epoch:06d}.json", json.dumps(asdict(holder)).encode())
    return holder


def test_a_dead_process_of_this_machine_is_followed_at_once(where, capsys):
    code = "import sys; from raypipe.storage import claims, files\n"
    code += "import os; claims.take(files.Folder(sys.argv[1]), lambda: 0, 'x'); os._exit(9)"
    for epoch in (1, 2):
        subprocess.run([sys.executable, "-c", code, where], cwd=ROOT, check=False)
        assert claims.last_epoch(Folder(where)) == epoch
    assert claims.take(Folder(where), lambda: 0, "works").epoch == 3
    assert "waiting" not in capsys.readouterr().err


def test_a_process_id_that_is_used_again_is_not_the_holder(tmp_path):
    folder = Folder(str(tmp_path))
    holder = replace(claims.Holder.here(), started="1")  # this process's id, another's beginning
    folder.create("claims/000001.json", json.dumps(asdict(holder)).encode())
    assert claims.take(folder, lambda: 0, "works").epoch == 2


def test_another_machine_is_refused_while_it_gives_signs_of_life(where, monkeypatch, capsys):
    foreign(where, pid=7)
    done = threading.Event()

    def live():
        beats = 0
        while not done.wait(0.2):
            beats += 1
            Folder(where).write("claims/000001.beat", str(beats).encode())

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(UserError) as caught:
            claims.take(Folder(where), lambda: 0, "works on a run")
    finally:
        done.set()
        thread.join()
    assert str(caught.value) == (
        f"one process works on a run at a time, got another on {where}: process 7 of elsewhere, "
        "since noon"
    )
    told = capsys.readouterr().err
    assert told == (
        f"elsewhere has worked on {where} since noon; waiting up to 60 s to see whether it still "
        "does\n"
    )


def test_another_machine_that_stands_still_is_followed_by_one_of_many(where, monkeypatch):
    monkeypatch.setattr(claims, "STILL_S", 1.5)
    foreign(where)
    got = race(lambda _: claims.take(Folder(where), lambda: 0, "works"))
    assert [claim.epoch for claim in got if isinstance(claim, claims.Claim)] == [2]


def test_a_released_claim_is_followed_at_once_by_a_higher_epoch(where):
    claims.take(Folder(where), lambda: 0, "works").release(keep=True)
    claim = claims.take(Folder(where), lambda: 0, "works")
    assert claim.epoch == 2
    claim.release(keep=False)  # as after a manifest that names it
    assert claims.take(Folder(where), lambda: 2, "works").epoch == 3


def test_who_has_lost_its_claim_commits_nothing(where):
    run = RunDirectory(where)
    run.plan = pa.schema([("batch_id", pa.string())])
    run.claim()
    run.add_samples(pa.table({"batch_id": ["b"]}), 0)
    foreign(where, epoch=2, pid=7)
    told = f"process 7 of elsewhere has taken over {where} from this one"
    for commit in (
        lambda: run.add_samples(pa.table({"batch_id": ["c"]}), 1),
        run.forget_previous,
        lambda: run.finish({"config_hash": "x"}),
    ):
        with pytest.raises(UserError, match=told):
            commit()
    assert run.folder.names("samples") == ["0000.parquet"]
    assert run.manifest() is None


def test_a_manifest_of_one_that_had_lost_its_claim_does_not_count(where, monkeypatch):
    """It was away between asking and writing."""
    run = RunDirectory(where)
    run.claim()
    foreign(where, epoch=2)
    monkeypatch.setattr(claims.Claim, "confirm", lambda self: None)
    run.finish({"config_hash": "x"})
    assert run.epoch() == 1 < claims.last_epoch(run.folder)
    claims.held(run.folder).epoch = 2  # the one that took over finishes as well
    run.finish({"config_hash": "y"})
    assert run.manifest().items() >= {"config_hash": "y", "epoch": 2}.items()
    claims.held(run.folder).epoch = 1
    with pytest.raises(UserError, match=r"another process has taken over .*, and finished it"):
        run.finish({"config_hash": "x"})
    assert run.manifest().items() >= {"config_hash": "y", "epoch": 2}.items()


def test_a_part_of_the_plan_is_created_once(where):
    schema = pa.schema([("batch_id", pa.string())])

    def plan(number):
        run = RunDirectory(where)
        run.plan = schema
        return run.add_samples(pa.table({"batch_id": ["the-same-for-all"]}), 0)

    got = race(plan)
    assert got.count(None) == 1
    assert all("has planned" in str(error) for error in got if error is not None)
    run = RunDirectory(where)
    run.plan = schema
    assert run.samples().to_pylist() == [{"batch_id": "the-same-for-all"}]


def test_a_row_that_is_planned_twice_is_refused(tmp_path):
    run = RunDirectory(str(tmp_path / "run"))
    run.plan = pa.schema([("model", pa.string()), ("batch_id", pa.string())])
    run.keys = ("model", "batch_id")
    run.add_samples(pa.table({"model": ["a", "b"], "batch_id": ["x", "x"]}), 0)
    assert len(run.samples()) == 2
    run.add_samples(pa.table({"model": ["a", "b"], "batch_id": ["y", "x"]}), 1)
    with pytest.raises(UserError, match=r"hold each row once, but .* holds model b, batch_id x tw"):
        run.samples()
