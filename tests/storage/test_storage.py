"""Object stores: a real S3 server, broken connections, refused access; and a disk that is full."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest

from raypipe.config.inputs import Images
from raypipe.inputs.pictures import list_pictures
from raypipe.inputs.prompts import read_prompts
from raypipe.storage import files, parquet
from raypipe.storage.directory import config_hash
from raypipe.storage.files import Folder, open_uri, read_text
from raypipe.studies.consistency.plan import batches, make_plan
from raypipe.studies.consistency.read import ReadImages
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.work import missing
from tests.support import s3
from tests.support.mistakes import mistake
from tests.support.pictures import encoded, noise

LARGE = os.urandom(12_000_000)
"""Bytes of a file that is uploaded in parts."""


@pytest.fixture(scope="module")
def proxy():
    """Between the tests and the server, which has a bucket called `bucket`."""
    with s3.server() as port:
        s3.client(port).create_bucket(Bucket="bucket")
        proxy = s3.Proxy(port)
        proxy.store = s3.client(port)
        yield proxy
        proxy.close()


@pytest.fixture
def bucket(proxy, monkeypatch, request):
    """URI of an empty folder of the bucket, reached through the proxy."""
    s3.use(monkeypatch, proxy.port)
    return f"s3://bucket/{request.node.name}"


def test_a_folder_of_a_bucket_is_like_one_of_a_disk(bucket, tmp_path):
    listings = []
    for folder in (Folder(bucket), Folder(str(tmp_path))):
        assert folder.names() == []
        assert folder.read("a") is None
        folder.write("a", b"1")
        folder.write("sub/b c%20", b"2")
        folder.write("a", b"3")
        folder.write("sub/deep/d", b"4")
        assert folder.read("a") == b"3"
        assert folder.open("sub/b c%20").read() == b"2"
        listings.append((folder.names(), folder.names("sub"), folder.entries()))
        folder.delete("a")
        folder.delete("a")
        assert folder.read("a") is None
        folder.delete_folder("sub")
        folder.delete_folder("sub")
        assert folder.names("sub") == []
    assert listings[0] == listings[1] == (["a"], ["b c%20"], ["a", "sub"])


def test_more_files_than_one_answer_lists(bucket, proxy):
    key = bucket.removeprefix("s3://bucket/")
    for index in range(1_050):  # S3 answers with a thousand at a time
        proxy.store.put_object(Bucket="bucket", Key=f"{key}/many/{index:05d}", Body=b"")
    for after in (None, 50, 5_000, 100_000):  # cut in the header, and in the list
        proxy.down_after = after
        assert Folder(bucket).names("many") == [f"{index:05d}" for index in range(1_050)]
        assert proxy.down_after is None


@pytest.mark.parametrize(
    ("cut", "data"), [("up_after", b"small"), ("up_after", LARGE), ("down_after", b"small")]
)
def test_a_connection_that_breaks_in_the_middle(bucket, proxy, data, cut):
    folder = Folder(bucket)
    cuts = proxy.cuts
    setattr(proxy, cut, len(data) // 3 if cut == "up_after" else 50)
    folder.write("file", data)
    assert proxy.cuts == cuts + 1
    key = bucket.removeprefix("s3://bucket/") + "/file"
    assert proxy.store.get_object(Bucket="bucket", Key=key)["Body"].read() == data
    for read in (lambda: folder.read("file"), lambda: folder.open("file").read()):
        for after in (len(data) // 2, 50):  # in the content, where it is long; in the header
            cuts = proxy.cuts
            proxy.down_after = after
            assert read() == data
            assert proxy.cuts == cuts + 1


def test_a_file_that_is_really_empty_is_empty(bucket):
    folder = Folder(bucket)
    folder.write("file", b"")
    assert folder.read("file") == b""


def test_an_upload_that_is_never_finished_is_never_seen(bucket, proxy, monkeypatch):
    monkeypatch.setattr("raypipe.storage.files.S3_ATTEMPTS", 1)
    monkeypatch.setattr(files, "_s3", files._s3.__wrapped__)  # a client of these settings
    folder = Folder(bucket)
    proxy.up_after = 6_000_000
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        folder.write("file", LARGE)
    assert folder.names() == []
    assert folder.read("file") is None


def test_a_writer_that_is_killed_leaves_nothing_to_see(bucket):
    code = (
        "import os, sys; from raypipe.storage.files import open_uri\n"
        "fs, path = open_uri(sys.argv[1])\n"
        "stream = fs.open_output_stream(path + '/file')\n"
        "stream.write(bytes(12_000_000)); stream.flush(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, bucket], check=False)
    assert killed.returncode == -9
    assert Folder(bucket).names() == []


def test_a_bucket_that_is_not_there(bucket):
    assert mistake(Folder("s3://no-such-bucket/run").write, "a", b"1").startswith(
        "there is no such bucket: s3://no-such-bucket/run"
    )


def test_credentials_that_the_store_does_not_accept(monkeypatch):
    with s3.server(INITIAL_NO_AUTH_ACTION_COUNT="0") as port:  # moto then checks who asks
        s3.use(monkeypatch, port)
        folder = Folder("s3://bucket/run")
        assert "does not accept these credentials" in mistake(folder.write, "a", b"1")
        assert "does not accept these credentials" in mistake(folder.names)


@pytest.mark.parametrize(
    "uri", ["s3://key:secret@bucket/run", "s3://bucket/run?region=x", "s3://", "s3://bucket/a#b"]
)
def test_options_and_secrets_do_not_stand_in_a_uri(uri):
    assert mistake(open_uri, uri).startswith("an s3:// URI must be s3://BUCKET/KEY")


def test_prompts_are_read_from_a_bucket(bucket):
    Folder(bucket).write("prompts.txt", b"a cat\na dog\n")
    assert read_prompts(f"{bucket}/prompts.txt", "prompt") == (["a cat", "a dog"], [])
    assert mistake(read_text, f"{bucket}/none.txt", "prompts file") == (
        f"prompts file not found: {bucket}/none.txt"
    )


def test_pictures_are_read_from_a_bucket(bucket):
    png = encoded(noise())
    Folder(bucket).write("one/a cat, 50% off/3.png", png)
    folder = Images(folder=bucket)
    (picture,) = list_pictures(folder)
    assert (picture.model, picture.prompt, picture.seed) == ("one", "a cat, 50% off", 3)
    row = {"model": ["one"], "prompt": ["a cat"], "seed": [3], "image": [png]}
    Run(bucket).write_table("table/x.parquet", pa.table(row))
    table = Images(parquet=f"{bucket}/table")
    for images, source in ((folder, picture.source), (table, list_pictures(table)[0].source)):
        read = ReadImages(images)(pa.table({"source": [source]}))
        assert read["image"].to_pylist() == [png]


def test_a_run_lives_in_a_bucket(bucket, study, proxy):
    proxy.every = 7
    config = study(output=bucket)
    run = Run(bucket)
    run.check(config)
    plan = make_plan(config)
    run.begin(config, encoders=plan.encoders)
    run.add_samples(batches(run.new_samples(plan.samples()), config, 0), 0)
    assert len(run.samples()) == plan.n_samples
    assert sum(part.n_samples for part in missing(run, config)["generate"]) == plan.n_samples
    assert len(run.new_samples(plan.samples())) == 0
    run.finish({"status": "complete", "config_hash": config_hash(config)})
    assert Run(bucket).is_finished(config)
    assert Run(bucket).folder.entries() == [
        "config.yaml",
        "encoders.json",
        "manifest.json",
        "samples",
    ]
    proxy.every = None


def test_a_full_disk_is_reported_and_loses_nothing(small_disk):
    folder = Folder(str(small_disk / "run"))
    folder.write("images/1.parquet", b"x" * 300_000)
    assert mistake(folder.write, "images/2.parquet", b"y" * 300_000) == (
        f"the disk of {small_disk / 'run'} is full: free some space, and the same command goes on"
    )
    assert folder.names("images") == ["1.parquet"]
    assert folder.read("images/1.parquet") == b"x" * 300_000
    assert [path.name for path in (small_disk / "run" / "images").iterdir()] == ["1.parquet"]
    folder.write("images/3.parquet", b"z" * 150_000)  # the half-written one is gone


def test_a_table_in_a_bucket_is_checked_and_only_its_wanted_columns_fetched(bucket, proxy):
    folder = Folder(bucket)
    table = pa.table({"a": range(40), "image": [os.urandom(20_000) for _ in range(40)]})
    parquet.write(folder, "x.parquet", [table], table.schema)
    assert parquet.read(folder, "x.parquet").equals(table)
    assert parquet.read(folder, "x.parquet", ["a"]).equals(table.select(["a"]))
    data = bytearray(folder.read("x.parquet"))
    data[len(data) // 2] ^= 4  # of a picture
    folder.write("x.parquet", bytes(data))
    assert parquet.read(folder, "x.parquet", ["a"]).equals(table.select(["a"]))
    told = mistake(parquet.read, folder, "x.parquet")
    assert told == f"{bucket}/x.parquet has changed since it was written: column image"
    assert folder.move("x.parquet", "damaged/x.parquet")
    assert folder.names() == []
    assert folder.names("damaged") == ["x.parquet"]
    assert not folder.move("x.parquet", "damaged/x.parquet")
