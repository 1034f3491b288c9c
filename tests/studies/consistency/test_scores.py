"""Scores that are streamed from a run's many files are those of the core on whole arrays."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raypipe.config.networks import Encoder
from raypipe.core.consistency import score_prompts, semantic_consistency_score
from raypipe.core.ids import prompt_id
from raypipe.core.pairs import pair_scores
from raypipe.inputs.codec import inspect
from raypipe.storage import parquet, schema
from raypipe.storage.damage import DamagedError
from raypipe.storage.directory import split_batches
from raypipe.storage.names import batch_file
from raypipe.studies.consistency import scores as score
from raypipe.studies.consistency.embed import columns, stored_embeddings
from raypipe.studies.consistency.images import image_columns, stored_images
from raypipe.studies.consistency.plan import batches
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from tests.support.pictures import encoded, noise

DIM = 12


class World:
    """A run with files written as the stages write them, with failures (model, prompt, seed)."""

    def __init__(self, where, n_prompts=7, n_seeds=5, batch_size=4, failed=(), draw=0, **more):
        self.config = Consistency.model_validate(
            {
                "models": [{"name": "a", "id": "x"}, {"name": "b", "id": "y"}],
                "prompts": [f"prompt {i}" for i in range(n_prompts)],
                "seeds": [int(s) for s in np.random.default_rng(5).permutation(n_seeds) * 3],
                "pools": {"generate": {"batch_size": batch_size}},
                "output": str(where),
                **more,
            }
        )
        self.encoder = self.config.encoder[0]
        self.run, self.failed = Run(str(where)), set(failed)
        self.vectors: dict[tuple[str, str, int], np.ndarray] = {}
        rng = np.random.default_rng(draw)
        rows = []
        for model in self.config.models:
            for prompt in self.config.prompts:
                for seed in self.config.seeds:
                    key = (model.name, prompt, seed)
                    vector = rng.normal(size=DIM) + 1
                    self.vectors[key] = (vector / np.linalg.norm(vector)).astype(np.float32)
                    rows.append(
                        {
                            "sample_id": "/".join(map(str, key)),
                            "model": model.name,
                            "prompt_id": prompt_id(prompt),
                            "prompt": prompt,
                            "seed": seed,
                            "prompt_sent": prompt,
                            "source": None,
                        }
                    )
        planned = pa.Table.from_pylist(rows, schema=schema.PLANNED)
        self.samples = batches(planned, self.config, 0)
        for batch_id in self.samples["batch_id"].unique().to_pylist():
            self._write(batch_id)

    def _write(self, batch_id):
        mine = self.samples.filter(pc.equal(self.samples["batch_id"], batch_id))
        keys = [(row["model"], row["prompt"], row["seed"]) for row in mine.to_pylist()]
        found = [
            inspect(None if key in self.failed else encoded(noise(key[2], 2, 2))) for key in keys
        ]
        added = image_columns(found, [key[1] == "prompt 1" for key in keys], "cpu")
        for name in added.column_names:
            mine = mine.append_column(added.schema.field(name), added[name])
        self.run.write_table(f"images/{batch_id}.parquet", stored_images(mine))
        vectors = [None if key in self.failed else self.vectors[key] for key in keys]
        scores = [None if key in self.failed else 10.0 + key[2] for key in keys]
        embedding, clip_score = columns(self.encoder)
        mine = mine.append_column(embedding, pa.array(vectors, pa.list_(pa.float32())))
        mine = mine.append_column(clip_score, pa.array(scores, pa.float32()))
        kept = stored_embeddings(self.encoder, mine)
        self.run.write_table(batch_file("embeddings", self.encoder.name, batch_id), kept)

    def score(self, model):
        known = score.survey(self.run, self.samples)
        return score.score_model(self.run, self.samples, model, self.encoder, known)

    def array(self, model, prompt, without=()):
        """(N, D), by seed: what the core is given."""
        seeds = [seed for seed in sorted(self.config.seeds) if seed not in without]
        return np.stack([self.vectors[model, prompt, seed] for seed in seeds])


@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_scores_are_the_cores_on_the_same_arrays(tmp_path, batch_size):
    world = World(tmp_path, batch_size=batch_size)
    prompts = sorted(world.config.prompts, key=prompt_id)
    for model in "ab":
        e_PND = np.stack([world.array(model, prompt) for prompt in prompts])
        scored = world.score(model)
        assert [row["prompt"] for row in scored.rows] == prompts
        assert [row["scs"] for row in scored.rows] == semantic_consistency_score(e_PND).tolist()
        assert scored.complete == [prompt_id(prompt) for prompt in prompts]
        assert (scored.pairs_PM == pair_scores(e_PND).astype(np.float32)).all()
        for row, e_ND in zip(scored.rows, e_PND, strict=True):
            whole, seeds = score_prompts([e_ND])[0], sorted(world.config.seeds)
            assert row["scs_se"] == whole.scs_se
            assert row["n_images"] == 5
            assert row["medoid_sample_id"] == f"{model}/{row['prompt']}/{seeds[whole.medoid]}"
            assert row["outlier_sample_id"] == f"{model}/{row['prompt']}/{seeds[whole.outlier]}"
            assert row["clip_score"] == pytest.approx(10 + np.mean(seeds))
            assert row["reason"] is None
        assert pa.Table.from_pylist(scored.rows, schema=schema.SCORES).num_rows == 7


def test_memory_bounds_change_no_score(tmp_path, monkeypatch):
    world = World(tmp_path)
    whole = world.score("a")
    monkeypatch.setattr(score, "VALUES_AT_A_TIME", 1)  # one prompt at a time
    one_by_one = world.score("a")
    assert one_by_one.rows == whole.rows
    assert (one_by_one.pairs_PM == whole.pairs_PM).all()
    monkeypatch.setattr(score, "MAX_PAIR_SCORES", 7 * 10 - 1)
    bounded = world.score("a")
    assert bounded.rows == whole.rows
    assert (bounded.pairs_PM, bounded.complete, bounded.too_many) == (None, [], True)


def test_a_seed_that_failed_in_one_model_is_left_out_in_every_model(tmp_path):
    world = World(tmp_path, failed=[("a", "prompt 2", 3), ("b", "prompt 2", 9)])
    for model in "ab":
        scored = world.score(model)
        by_prompt = {row["prompt"]: row for row in scored.rows}
        for prompt, row in by_prompt.items():
            without = {3, 9} if prompt == "prompt 2" else ()
            e_ND = world.array(model, prompt, without)
            assert row["scs"] == semantic_consistency_score(e_ND)
            assert row["n_images"] == 5 - len(without)
        assert prompt_id("prompt 2") not in scored.complete
        assert len(scored.pairs_PM) == len(scored.complete) == 6


def test_a_prompt_under_two_images_has_a_reason_for_a_score(tmp_path):
    none = [("a", "prompt 0", seed) for seed in (0, 3, 6, 9, 12)]
    one = [("b", "prompt 1", seed) for seed in (0, 3, 6, 9)]
    two = [("a", "prompt 2", seed) for seed in (0, 3, 6)]
    world = World(tmp_path, failed=none + one + two)
    for model in "ab":
        rows = {row["prompt"]: row for row in world.score(model).rows}
        assert len(rows) == 7
        for prompt, n in (("prompt 0", 0), ("prompt 1", 1)):
            row = rows[prompt]
            assert row["reason"] == f"a score needs 2 usable images, got {n}"
            assert row["n_images"] == n
            assert row["scs"] is row["scs_se"] is row["medoid_sample_id"] is None
        row = rows["prompt 2"]
        assert row["scs"] == semantic_consistency_score(world.array(model, "prompt 2", {0, 3, 6}))
        assert row["scs_se"] is None
        assert row["reason"] == "a standard error needs 3 usable images, got 2"
        assert pa.Table.from_pylist(list(rows.values()), schema=schema.SCORES).num_rows == 7


def test_no_picture_at_all_is_still_an_answer(tmp_path):
    failed = [("a", f"prompt {p}", s) for p in range(2) for s in (0, 3, 6)]
    scored = World(tmp_path, n_prompts=2, n_seeds=3, failed=failed).score("b")
    assert [row["scs"] for row in scored.rows] == [None, None]
    assert (scored.pairs_PM, scored.complete, scored.too_many) == (None, [], False)


def test_the_survey_counts_what_became_of_every_sample(tmp_path):
    failed = {("a", "prompt 2", 3), ("b", "prompt 0", 9)}
    world = World(tmp_path, failed=failed)
    known = score.survey(world.run, world.samples)
    assert known.quarantined == {"missing": 2}
    assert known.left_out == {(prompt_id(prompt), seed) for _, prompt, seed in failed}
    rows = known.failed.select(["model", "prompt", "seed"]).to_pylist()
    assert {(row["model"], row["prompt"], row["seed"]) for row in rows} == failed
    assert "image" not in known.failed.column_names
    assert known.truncated == {"a": 5, "b": 5}
    assert known.devices == {"a": ["cpu"], "b": ["cpu"]}


@pytest.mark.parametrize(
    ("harm", "rule"),
    [("lost", "is missing"), ("another", "must be the pictures of its batch: it holds other")],
)
def test_stored_images_that_are_not_the_plan_stop_the_run(tmp_path, harm, rule):
    world = World(tmp_path)
    first, second = (f"images/{name}" for name in world.run.folder.names("images")[:2])
    if harm == "lost":
        world.run.folder.delete(second)
    else:
        world.run.folder.write(second, world.run.folder.read(first))
    with pytest.raises(DamagedError, match=f"{second} {rule}"):
        score.survey(world.run, world.samples)


def test_files_that_are_not_planned_are_ignored(tmp_path):
    world = World(tmp_path)
    before = world.score("a")
    folder = world.run.folder
    for name in ("0009-0.parquet", ".DS_Store", "._0000-00000000.parquet", "Thumbs.db"):
        folder.write(f"images/{name}", folder.read(f"images/{folder.names('images')[1]}"))
        folder.write(f"embeddings/{name}", b"")
    assert world.score("a").rows == before.rows


def test_many_small_files_are_read_in_order(tmp_path):
    world = World(tmp_path, n_prompts=60, n_seeds=3, batch_size=1)
    assert len(world.run.folder.names("images")) == 360
    scores = {row["prompt"]: row["scs"] for row in world.score("b").rows}
    for prompt in world.config.prompts:
        assert scores[prompt] == semantic_consistency_score(world.array("b", prompt))


def test_scores_do_not_depend_on_the_order_of_the_plan(tmp_path):
    world = World(tmp_path)
    before = world.score("a")
    blocks = [rows for _, rows in split_batches(world.samples)]
    order = np.random.default_rng(1).permutation(len(blocks))
    world.samples = pa.concat_tables([blocks[i] for i in order]).combine_chunks()
    after = world.score("a")
    assert after.rows == before.rows
    assert (after.pairs_PM == before.pairs_PM).all()


@pytest.mark.parametrize("ids", [("clip_v1", "clip-v1"), ("модель", "モデル"), ("Clip", "clip")])
def test_encoders_whose_names_differ_in_punctuation_have_scores_of_their_own(tmp_path, ids):
    first, second = (Encoder(library="timm", id=name) for name in ids)
    world = World(tmp_path, encoder=(first,))
    before = world.score("a").rows
    other = World(tmp_path, encoder=(second,), draw=1)
    assert other.score("a").rows != before
    assert world.score("a").rows == before


def test_vectors_of_another_encoder_are_refused(tmp_path):
    world = World(tmp_path)
    other = World(tmp_path, encoder=(Encoder(library="timm", id="other"),), draw=1)
    batch_id = world.samples["batch_id"][0].as_py()
    ours, theirs = (batch_file("embeddings", w.encoder.name, batch_id) for w in (world, other))
    world.run.folder.write(ours, world.run.folder.read(theirs))
    with pytest.raises(DamagedError, match=f"{ours} must be of encoder .*, got other"):
        world.score("a")


@pytest.mark.parametrize(
    ("harm", "rule"),
    [
        (lambda v: v * 1.01, "must hold unit vectors, got length 1.0"),
        (lambda v: np.where(np.arange(len(v)) == 0, np.nan, v), "must hold unit vectors, got"),
        (lambda v: np.where(np.arange(len(v)) == 0, np.inf, v), "must hold unit vectors, got"),
        (lambda v: v * 0, "must hold unit vectors, got length 0.0"),
    ],
)
def test_vectors_that_are_no_unit_vectors_are_refused(tmp_path, harm, rule):
    world = World(tmp_path)
    key = next(iter(world.vectors))
    world.vectors[key] = harm(world.vectors[key]).astype(np.float32)
    world._write(world.samples["batch_id"][0].as_py())
    with pytest.raises(DamagedError, match=rule):
        world.score("a")


def test_a_vector_that_is_missing_is_named(tmp_path):
    world = World(tmp_path)
    name = batch_file("embeddings", world.encoder.name, world.samples["batch_id"][0].as_py())
    table = parquet.read(world.run.folder, name)
    world.run.write_table(name, table.slice(1))
    with pytest.raises(DamagedError, match=f"{name} must have a vector of sample a/prompt 0/12"):
        world.score("a")
