"""The stage's vectors are the encoder's, however many pictures and calls are under way."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raypipe.config.networks import Encoder
from raypipe.config.sections import Pool
from raypipe.models.encoder import LoadedEncoder
from raypipe.storage import schema
from raypipe.studies.consistency.embed import Embed, columns
from tests.support.pictures import encoded, noise

DAMAGED = b"no picture"


def _png(seed: int) -> bytes:
    return encoded(noise(seed, 40, 56))


def _batch(pictures: list[bytes]) -> pa.Table:
    status = [schema.QUARANTINED if data == DAMAGED else schema.OK for data in pictures]
    return pa.table({"image": pictures, "prompt": ["a ball"] * len(pictures), "status": status})


@pytest.fixture(scope="module")
def config(tiny_models):
    return Encoder(id=str(tiny_models.encoder))


def test_vectors_are_the_encoders_own_in_order(config):
    pictures = [_png(0), DAMAGED, *(_png(seed) for seed in range(1, 6))]
    alone = LoadedEncoder(config, "cpu")
    made = Embed(config, Pool(cpus_per_actor=3), is_last=True)(_batch(pictures))
    vectors, scores = (made[name].to_pylist() for name in columns(config))
    assert vectors[1] is None
    assert scores[1] is None
    for data, vector, score in zip(pictures, vectors, scores, strict=True):
        if data != DAMAGED:
            image = Image.open(io.BytesIO(data))
            (expected,) = alone.images([alone.preprocess(image)])
            assert np.allclose(vector, expected, atol=1e-6)
            assert score == pytest.approx(max(100 * expected @ alone.text("a ball"), 0), abs=1e-3)


def test_calls_that_overlap_change_nothing(config):
    stage = Embed(config, Pool(), is_last=False)
    batches = [
        _batch([_png(seed) for seed in range(first, first + 4)]) for first in range(0, 24, 4)
    ]
    one_by_one = [stage(batch) for batch in batches]
    with ThreadPoolExecutor(2) as calls:
        assert list(calls.map(stage, batches)) == one_by_one


def test_pictures_are_read_together_while_another_batch_holds_the_device(config, monkeypatch):
    stage = Embed(config, Pool(cpus_per_actor=3), is_last=True)
    meeting = threading.Barrier(4, timeout=60)  # three pictures, and this test
    read = LoadedEncoder.preprocess

    def meet_and_read(self: LoadedEncoder, image: Image.Image):
        meeting.wait()
        return read(self, image)

    monkeypatch.setattr(LoadedEncoder, "preprocess", meet_and_read)
    with ThreadPoolExecutor(1) as calls:
        with stage.device:
            call = calls.submit(stage, _batch([_png(seed) for seed in range(3)]))
            meeting.wait()
        assert len(call.result()) == 3
