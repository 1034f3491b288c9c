"""Addresses that others wrote: nothing is asked of a host that they name, nothing is read or
written where they point, no password is shown."""

import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.config.inputs import Images
from raypipe.config.sections import Pool
from raypipe.config.strict import JobConfig, load
from raypipe.core.address import check_address, check_name
from raypipe.engine.batch import finish_batch
from raypipe.engine.stage import Device, Step
from raypipe.errors import UserError
from raypipe.inputs.datasets import open_dataset
from raypipe.inputs.pictures import PictureReader, list_pictures
from raypipe.inputs.runs import finished
from raypipe.storage.directory import RunDirectory
from raypipe.storage.files import Folder, absolute, open_uri, read_text
from tests.support import ROOT


class Recorder:
    """A server on 127.0.0.1 that writes down what it is asked, with its headers."""

    def __init__(self):
        recorder = self
        self.requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                recorder.requests.append(f"{self.command} {self.path} {dict(self.headers)}")
                self.send_response(404)
                self.end_headers()

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def recorder():
    with Recorder() as server:
        yield server


def evil(recorder: Recorder) -> str:
    """Google's bucket, by way of somebody else's host, without a token to look for."""
    return f"gs://anonymous@x/y.png?endpoint_override={recorder.host}&scheme=http"


def told(action, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


WAYS = {
    "file": read_text,
    "folder": lambda uri, _: Folder(uri).read("manifest.json"),
    "run": lambda uri, _: finished(uri, "consistency"),
    "folder of pictures": lambda uri, _: PictureReader(Images(folder="/nowhere"))([uri]),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_request_goes_to_a_host_that_a_uri_names(way, recorder):
    with_user = evil(recorder)
    without_user = with_user.replace("anonymous@", "")
    for uri in (with_user, without_user):
        message = told(WAYS[way], uri, "prompt file")
        assert recorder.host not in message
    assert recorder.requests == []


def test_no_request_for_a_picture_that_a_row_of_a_data_set_names(recorder, tmp_path):
    write_rows(tmp_path / "data", [{"bytes": None, "path": evil(recorder)}])
    images = Images(huggingface=str(tmp_path / "data"))
    with pytest.raises(UserError, match="path of a picture in a data set"):
        list_pictures(images)
    with pytest.raises(UserError, match="path of a picture in a data set"):
        PictureReader(images)(["0"])
    assert recorder.requests == []


def test_a_job_refuses_such_an_output_before_anything_is_asked(recorder, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("run: RUN\nmetrics: []\noutput: OUT\n")
    command = [sys.executable, "-m", "raypipe", "evaluate", str(config)]
    for key in ("run", "output"):
        done = subprocess.run(
            [*command, f"{key}={json.dumps(evil(recorder))}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "a gs:// URI must be" in done.stderr
        assert key in done.stderr
    assert recorder.requests == []


REFUSED = {
    "gs://bucket/key?scheme=http": "URI must be gs://BUCKET/KEY",
    "gs://anonymous@bucket/key": "URI must be gs://BUCKET/KEY",
    "gs://bucket/key#part": "URI must be gs://BUCKET/KEY",
    "gs://bucket:80/key": "URI must be gs://BUCKET/KEY",
    "gs:///key": "URI must be gs://BUCKET/KEY",
    "gs://": "URI must be gs://BUCKET/KEY",
    "s3://bucket/key?endpoint_override=host": "URI must be s3://BUCKET/KEY",
    "s3://user:word@bucket/key": "URI must be s3://BUCKET/KEY",
    "s3://user:wo/rd@bucket/key": "URI must be s3://BUCKET/KEY",
    "s3://bucket/../other/key": "parts of a key",
    "s3://bucket/%2e%2e/other/key": "parts of a key",
    "s3://bucket/a//b": "parts of a key",
    "s3://bucket/a%00b": "control characters",
    "s3:/bucket/key": "did you mean s3://bucket/key?",
    "S3://bucket/key": "did you mean s3://bucket/key?",
    "gcs://bucket/key": "did you mean gs://bucket/key?",
    "s3a://bucket/key": "did you mean s3://bucket/key?",
    "abfs://container@account/key": "an s3:// or gs:// URI was expected",
    "abfss://container/key": "an s3:// or gs:// URI was expected",
    "hdfs://host/key": "an s3:// or gs:// URI was expected",
    "viewfs:///key": "an s3:// or gs:// URI was expected",
    "mock:///key": "an s3:// or gs:// URI was expected",
    "https://host/key": "an s3:// or gs:// URI was expected",
    "file://host/path": "file:///PATH",
    "file:// x": "file:///PATH",
    "file://": "file:///PATH",
    "file:///path?a=b": "file:///PATH",
    "file:///a%0ab": "control characters",
    "a\nb": "control characters",
    "a\0b": "control characters",
    "/a\x1b[31mb": "control characters",
    "/a\x9bb": "control characters",
    "/a\u2028b": "control characters",
    "/a\ud800b": "control characters",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_an_address_that_is_not_taken_is_one_line(uri):
    assert REFUSED[uri] in told(open_uri, uri)
    assert REFUSED[uri] in told(Folder, uri)


@pytest.mark.parametrize("uri", [uri for uri in REFUSED if uri.isascii() or uri.isprintable()])
def test_a_config_with_such_an_output_names_the_key(uri, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"output": uri}, ensure_ascii=True))
    message = told(load, config, [], JobConfig)
    assert "output" in message
    assert REFUSED[uri] in message
    assert "word@" not in message
    assert "rd@" not in message


def test_a_scheme_that_aborts_the_process_in_pyarrow_is_refused_before():
    script = "from raypipe.storage.files import open_uri; open_uri('abfs://container/key')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "UserError" in done.stderr.splitlines()[-1]


TAKEN = [
    *("runs/a", "/", "~/x", "a:b/c", "hf-hub:org/name", "C:/x", "a cat:/5.png", "file:///a%20b"),
    *("s3://bucket", "s3://bucket/", "gs://bucket/a b/%23%3f", "s3://b.c-d_e/f@g"),
]


@pytest.mark.parametrize("uri", TAKEN)
def test_what_is_taken(uri):
    check_address(uri)


def test_a_file_uri_is_the_path(tmp_path):
    path = tmp_path / "a b#c%"
    path.write_bytes(b"x")
    filesystem, found = open_uri(path.as_uri())
    assert found == str(path)
    assert filesystem.open_input_file(found).read() == b"x"


def test_the_root_of_the_disk_is_not_an_empty_folder():
    for root in ("/", "file:///"):
        assert set(Folder(root).entries()) >= {"usr", "etc"}
    assert absolute("/") == "/"


SECRETS = [
    "s3://KEY:SECRET@bucket/key",
    "s3://KEY:SEC/RET@bucket/key",
    "gs://SECRET@bucket/key",
    "gs://bucket/key?access_token=SECRET&x=RET",
    "https://me:SECRET@host/key?sig=SECRET",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_password_is_not_shown(uri, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"output": uri}))
    messages = [
        told(open_uri, uri),
        told(load, config, [], JobConfig),
        str(UserError(f"nothing is at {uri}: 2 of 3")),
    ]
    for message in messages:
        assert "SEC" not in message
        assert "RET" not in message
    assert messages[-1].endswith(": 2 of 3") or "?" in uri


NAMES = ["../x", "a/../../x", "/x", "", ".", "a//b", "a/", "..", "a\\..\\x", "a\0b", "a\nb"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_no_name_leads_out_of_a_folder(name, scheme, tmp_path):
    (tmp_path / "x").write_bytes(b"private")
    run = tmp_path / "run"
    run.mkdir()
    folder = Folder(f"{scheme}{run}")
    for action in (folder.read, folder.open, folder.delete, folder.delete_folder):
        assert "relative name" in told(action, name)
    for write in (folder.write, folder.create):
        assert "relative name" in told(write, name, b"theirs")
    for names in ((name, "b"), ("b", name)):
        assert "relative name" in told(folder.move, *names)
    if name:
        assert "relative name" in told(folder.delete_empty, name)
    if name:
        assert "relative name" in told(folder.names, name)
        assert "relative name" in told(folder.clean, name)
    with pytest.raises(ValueError, match="relative name"):
        check_name(name)
    assert (tmp_path / "x").read_bytes() == b"private"
    assert list(run.iterdir()) == []


class Plan(RunDirectory):
    plan = pa.schema([pa.field("sample_id", pa.string()), pa.field("batch_id", pa.string())])


@pytest.mark.parametrize("name", [*NAMES, ".x", "a/b", "é", "x" * 201, None])
def test_a_plans_batch_id_writes_nothing_outside_of_the_run(name, tmp_path):
    run = Plan(str(tmp_path / "run"))
    good = pa.table([["1"], ["0000-00000000"]], schema=run.plan)
    bad = pa.table([["1"], [name]], schema=run.plan)
    run.add_samples(good, 0)
    assert run.samples() == good
    run.add_samples(bad, 1)
    message = told(run.samples)
    assert "batch_id" in message
    assert "samples/0001.parquet" in message
    assert "batch_id" in told(lambda: list(run.plan_groups(["batch_id"])))


@pytest.mark.parametrize("name", ["../x", "../../x", "/x", "a\\x"])
def test_a_batch_of_such_a_name_is_not_written(name, tmp_path):
    class Nothing:
        reads, drops, device = (), (), Device()

    run = tmp_path / "run"
    step = Step("read", partial(Nothing), Pool(), str(run), "{batch_id}.parquet")
    rows = pa.table({"sample_id": ["1"]})
    new = pa.table({"image": pa.array([b"x"], pa.binary())})
    message = told(finish_batch, step, Nothing(), name, rows, new, 0.0)
    assert "relative name" in message
    assert not list(tmp_path.rglob("*.parquet"))


def write_rows(folder, images) -> None:
    """A data set in a folder, with rows of model, prompt, seed and these images."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    n = len(images)
    table = pa.table({
        "model": ["one"] * n, "prompt": [f"prompt {i}" for i in range(n)],
        "seed": pa.array(range(n), pa.int64()), "image": pa.array(images, kind),
    })  # fmt: skip
    features = {name: {"dtype": kind, "_type": "Value"} for name, kind in
                (("model", "string"), ("prompt", "string"), ("seed", "int64"))}  # fmt: skip
    info = {"info": {"features": {**features, "image": {"_type": "Image"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, folder / "train.parquet")


@pytest.mark.parametrize("way", ["absolute", "dots", "link", "file://"])
def test_a_data_set_brings_no_private_file_into_a_run(way, tmp_path, monkeypatch):
    private = tmp_path / "private.png"
    private.write_bytes(b"private")
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (data / "link.png").symlink_to(private)
    path = {
        "absolute": str(private), "dots": "../private.png", "link": "link.png",
        "file://": private.as_uri(),
    }[way]  # fmt: skip
    write_rows(data, [{"bytes": b"x", "path": path}, {"bytes": None, "path": path}])
    images = Images(huggingface=str(data))
    message = told(list_pictures, images)
    assert "path of a picture in a data set" in message
    assert "row 1" in message
    read = PictureReader(images)
    assert read(["0"]) == [b"x"]
    assert "path of a picture in a data set" in told(read, ["1"])


def test_a_row_knows_no_home(tmp_path, monkeypatch):
    (tmp_path / "private.png").write_bytes(b"private")
    monkeypatch.setenv("HOME", str(tmp_path))
    write_rows(tmp_path / "data", [{"bytes": None, "path": "~/private.png"}])
    assert PictureReader(Images(huggingface=str(tmp_path / "data")))(["0"]) == [None]


def test_a_picture_below_the_data_sets_folder_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    (data / "pictures").mkdir(parents=True)
    (data / "pictures" / "a.png").write_bytes(b"A")
    paths = ["pictures/a.png", str(data / "pictures" / "a.png")]
    write_rows(data, [{"bytes": None, "path": path} for path in paths])
    images = Images(huggingface=str(data))
    assert len(list_pictures(images)) == 2
    assert PictureReader(images)(["0", "1"]) == [b"A", b"A"]


def test_a_data_set_that_lists_files_elsewhere_is_refused(tmp_path):
    write_rows(tmp_path / "private", [{"bytes": b"x", "path": None}])
    data = tmp_path / "data"
    data.mkdir()
    for pattern in (str(tmp_path / "private" / "*.parquet"), "../private/*.parquet"):
        (data / "README.md").write_text(
            f"---\nconfigs:\n- config_name: default\n  data_files: {pattern}\n---\n"
        )
        assert "files of a data set" in told(open_dataset, str(data), None, "train")


@pytest.mark.parametrize("name", ["https://host/x", "s3://bucket/x", "hf://datasets/a/b"])
def test_a_data_set_is_an_id_or_a_folder(name):
    assert "on the hub or a folder" in told(open_dataset, name, None, "train")


def test_a_plans_sources_stay_below_the_configs_folder(tmp_path):
    private = tmp_path / "private.png"
    private.write_bytes(b"private")
    root = tmp_path / "pictures"
    (root / "one" / "a cat").mkdir(parents=True)
    mine = root / "one" / "a cat" / "5.png"
    mine.write_bytes(b"mine")
    for folder in (str(root), root.as_uri(), os.path.relpath(root)):
        read = PictureReader(Images(folder=folder))
        for source in (str(private), f"{root}/../private.png", private.as_uri()):
            assert "source" in told(read, [source])
    assert PictureReader(Images(folder=str(root)))([str(mine)]) == [b"mine"]
