"""Weights in a bucket: identified by their listing, fetched once, and the same pictures."""

from pathlib import Path

import pytest

from raypipe.config.model import Lora, Model
from raypipe.config.networks import Encoder
from raypipe.errors import UserError
from raypipe.studies.consistency.embed import Embed
from raypipe.studies.consistency.generate import Generate
from raypipe.studies.consistency.plan import make_plan, pinned
from raypipe.studies.consistency.work import missing
from raypipe.weights import locate as weights
from raypipe.weights.identity import can_encode_apart, encoder_identity, model_identity
from raypipe.weights.node import encoder_on_node, model_on_node
from tests.support import s3


@pytest.fixture(scope="module")
def store():
    with s3.server() as port:
        client = s3.client(port)
        client.create_bucket(Bucket="weights")
        client.port = port
        yield client


@pytest.fixture
def upload(store, monkeypatch, tmp_path):
    """Copies a directory into the bucket; returns its URI."""
    s3.use(monkeypatch, store.port)
    monkeypatch.setenv("RAYPIPE_CACHE", str(tmp_path / "cache"))

    def copy(directory: Path) -> str:
        for path in directory.rglob("*"):
            if path.is_file():
                key = f"{tmp_path.name}/{directory.name}/{path.relative_to(directory)}"
                store.put_object(Bucket="weights", Key=key, Body=path.read_bytes())
        return f"s3://weights/{tmp_path.name}/{directory.name}"

    return copy


def test_weights_in_a_bucket_make_the_pictures_of_those_on_a_disk(
    upload, study, begun, tiny_models, tmp_path
):
    where = upload(tiny_models.sdxl)
    lora = {"id": upload(tiny_models.lora)}
    encoder = {"id": upload(tiny_models.encoder)}
    local_lora = {"id": str(tiny_models.lora)}
    models = [{"name": "m", "id": where, "vae": f"{where}/vae", "lora": lora}]
    local = [{"name": "m", "id": str(tiny_models.sdxl), "lora": local_lora}]
    made = []
    for number, (chosen, by) in enumerate(
        ((models, encoder), (local, {"id": str(tiny_models.encoder)}))
    ):
        config = study(models=chosen, encoder=by, output=str(tmp_path / f"run{number}"))
        run = begun(config)
        (part,) = missing(run, config)["generate"]
        batch = next(iter(part.read()))
        pictures = Generate(pinned(config), run.uri, frozenset())(batch)
        embed = Embed(config.encoder[0], config.pools.embed, True)
        for name in ("image", "status"):
            batch = batch.append_column(name, pictures[name])
        made.append((pictures["image"].to_pylist(), embed(batch).columns[0].to_pylist()))
    assert made[0] == made[1]


def test_fetched_weights_are_local_and_whole(upload, tiny_models):
    model = Model(name="m", id=upload(tiny_models.pixart))
    assert can_encode_apart(model)
    there = model_on_node(model)
    assert Path(str(there.id)).is_dir()
    names = {p.relative_to(str(there.id)) for p in Path(str(there.id)).rglob("*") if p.is_file()}
    assert names == {
        p.relative_to(tiny_models.pixart) for p in tiny_models.pixart.rglob("*") if p.is_file()
    }
    assert model_on_node(model) == there  # from the cache


def test_replaced_weights_are_other_weights(upload, store, tiny_models):
    where = upload(tiny_models.encoder)
    before = encoder_identity(Encoder(id=where))
    first = encoder_on_node(Encoder(id=where)).id
    key = where.removeprefix("s3://weights/") + "/open_clip_model.safetensors"
    store.put_object(Bucket="weights", Key=key, Body=b"other")
    weights._hash_listing.cache_clear()  # a listing is remembered for one process
    assert encoder_identity(Encoder(id=where)) != before
    second = encoder_on_node(Encoder(id=where)).id
    assert second != first
    assert (Path(second) / "open_clip_model.safetensors").read_bytes() == b"other"


def test_what_is_not_in_the_bucket_is_named(upload, tiny_models):
    where = upload(tiny_models.encoder)
    with pytest.raises(UserError, match="no-such"):
        model_identity(Model(name="m", id=f"{where}/no-such"))
    lora = Lora(id=f"{where}/no-such.safetensors")
    with pytest.raises(UserError, match=r"LoRA of model m has no files: .*no-such"):
        model_identity(Model(name="m", id=str(tiny_models.sdxl), lora=lora))


def test_local_models_are_left_as_they_are(study, tiny_models):
    config = study()
    assert pinned(config) == config
    model = Model(name="m", id=str(tiny_models.sdxl), lora={"id": str(tiny_models.lora)})
    assert model_on_node(model) == model
    assert make_plan(config).identities.keys() == {"sdxl", "pixart"}
