"""Steps in this process: the same files as on Ray, and nothing of Ray."""

from functools import partial

import pyarrow as pa
import pytest

from raypipe.config.sections import Pool
from raypipe.engine.session import Session
from raypipe.engine.stage import SECONDS, Device, Part, Step
from raypipe.engine.work import work_through
from raypipe.errors import UserError
from raypipe.storage.files import Folder

HERE = Session(local=True)


class Double:
    """Twice the number; `fails` names a batch that is a user's mistake."""

    reads = ("number",)
    drops = ("number",)

    def __init__(self, loaded, fails=None):
        loaded.append(self)
        self.device = Device()
        self._fails = fails

    def __call__(self, batch):
        with self.device:
            numbers = batch["number"].to_pylist()
        if self._fails in numbers:
            raise UserError(f"number must not be {self._fails}")
        return pa.table({"twice": [2 * number for number in numbers]})


class Count(Double):
    reads = ("twice",)
    drops = ()

    def __call__(self, batch):
        assert batch.column_names == ["twice"]
        return pa.table({"n": [len(batch)] * len(batch)})


def batches(first, n):
    for number in range(first, first + n):
        yield pa.table({"batch_id": [f"b{number}"] * 2, "number": [number, -number]})


def parts():
    return [Part(n, 2 * n, partial(batches, first, n)) for first, n in ((0, 2), (2, 3))]


def chain(uri, loaded, fails=None):
    def keep(names):
        return lambda samples: samples.select(names)

    pool = Pool()
    return [
        Step("double", partial(Double, loaded, fails), pool, uri, "d/{batch_id}.parquet",
             keep(["number", "twice"])),
        Step("count", partial(Count, loaded), pool, uri, "c/{batch_id}.parquet", keep(["n"])),
    ]  # fmt: skip


def test_every_batch_goes_through_every_step_and_each_stage_is_loaded_once(tmp_path):
    loaded, folder = [], Folder(str(tmp_path))
    work_through(folder, [(parts(), chain(folder.uri, loaded))], HERE)
    assert len(loaded) == 2
    for number in range(5):
        table = pa.parquet.read_table(tmp_path / "d" / f"b{number}.parquet")
        assert table.select(["number", "twice"]).to_pylist() == [
            {"number": number, "twice": 2 * number},
            {"number": -number, "twice": -2 * number},
        ]
        assert float(table.schema.metadata[SECONDS]) >= 0
        assert (tmp_path / "c" / f"b{number}.parquet").exists()
    (line,) = (tmp_path / "metrics" / "0000.jsonl").read_text().splitlines()
    assert '"done": 10' in line


def test_a_mistake_keeps_what_was_made_before_it(tmp_path):
    folder = Folder(str(tmp_path))
    with pytest.raises(UserError, match="must not be 3"):
        work_through(folder, [(parts(), chain(folder.uri, [], fails=3))], HERE)
    assert folder.names("c") == ["b0.parquet", "b1.parquet", "b2.parquet"]


def test_a_stage_that_breaks_its_promise_is_stopped(tmp_path):
    class Short(Double):
        def __call__(self, batch):
            return super().__call__(batch).slice(1)

    folder = Folder(str(tmp_path))
    step = Step("short", partial(Short, []), Pool(), folder.uri)
    with pytest.raises(ValueError, match="must keep its 2 rows, made 1"):
        work_through(folder, [(parts(), [step])], HERE)


def test_nothing_to_do_loads_nothing(tmp_path):
    loaded: list[Double] = []
    work_through(Folder(str(tmp_path)), [([], chain(str(tmp_path), loaded))], HERE)
    assert loaded == []
    assert list(tmp_path.iterdir()) == []
