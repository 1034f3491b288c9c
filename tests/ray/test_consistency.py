"""The main job as a user runs it, on real (tiny) models and a real Ray."""

import json

import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from raypipe.core.consistency import semantic_consistency_score
from raypipe.storage import schema
from tests.support import jobs, tiny
from tests.support.stand_in_runs import assert_same, tables

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HOSTILE = ["<script>alert(1)</script>", "../../etc, 'quoted' / 😀", "red ball " * 200]


def config(tiny_models, output, **more):
    """Two families, one of them with a LoRA, five prompts, three seeds: 30 pictures."""
    return {
        "models": [
            {"name": "pixart", "id": str(tiny_models.pixart)},
            {
                "name": "sdxl+lora",
                "id": str(tiny_models.sdxl),
                "lora": {"id": str(tiny_models.lora)},
                "prompt_suffix": " in the style of tok",
            },
        ],
        "prompts": ["a red ball", "a blue box", *HOSTILE],
        "seeds": 3,
        "sampler": {"scheduler": "euler", "steps": 1, "width": 32, "height": 32},
        "encoder": {"id": str(tiny_models.encoder)},
        "pools": {
            "generate": {"min": 1, "max": 1, "batch_size": 3},
            "encode": {"batch_size": 2},
            "read": {"cpus_per_actor": 0.5, "batch_size": 7},
            "embed": {"cpus_per_actor": 0.5},
        },
        "statistics": {"resamples": 199},
        "output": str(output),
        **more,
    }


def run_on(address, tree, folder, status=0):
    """Runs the job on the cluster: (stdout, stderr)."""
    job = jobs.start("jobs/consistency.py", tree, folder, "--address", address)
    return jobs.finish(job, status)


def run_locally(tree, folder):
    """Runs it in this process, without Ray: stdout."""
    done = jobs.run_here("consistency", jobs.save(tree, folder / "config.yaml"), *jobs.LOCAL)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed(tiny_models, ray_address, tmp_path_factory):
    """A finished run, with what it printed."""
    tmp_path = tmp_path_factory.mktemp("undisturbed")
    tree = config(tiny_models, tmp_path / "run")
    return tmp_path / "run", *run_on(ray_address, tree, tmp_path)


def test_a_run_keeps_its_contract(undisturbed):
    directory, out, err = undisturbed
    assert out.splitlines()[-1] == str(directory)
    assert "INFO" not in err  # of Ray, which keeps its own messages unless --verbose asks for them
    samples = tables(directory)["samples"]
    images, embeddings = tables(directory)["images"], tables(directory)["embeddings"]
    assert len(samples) == 30
    assert images.schema.remove_metadata() == schema.IMAGES
    assert images["sample_id"].to_pylist() == samples["sample_id"].to_pylist()
    assert embeddings["sample_id"].to_pylist() == samples["sample_id"].to_pylist()
    vectors = np.stack(embeddings["embedding"].to_numpy(zero_copy_only=False))
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["counts"] == {"requested": 30, "made": 30, "quarantined": 0}
    assert manifest["device_seconds"] > 0
    assert not (directory / "texts").exists()


def test_scores_are_those_of_the_stored_embeddings(undisturbed):
    directory, *_ = undisturbed
    joined, embeddings = tables(directory)["images"], tables(directory)["embeddings"]
    for name in ("embedding", "clip_score"):  # both are sorted by sample
        joined = joined.append_column(name, embeddings[name])
    scores = pq.read_table(directory / "scores.parquet").to_pylist()
    assert len(scores) == 10
    for row in scores:
        mine = joined.filter(
            (pads.field("model") == row["model"]) & (pads.field("prompt_id") == row["prompt_id"])
        ).sort_by("seed")
        vectors = np.stack(mine["embedding"].to_numpy(zero_copy_only=False))
        assert row["scs"] == pytest.approx(semantic_consistency_score(vectors), abs=1e-9)
        assert row["medoid_sample_id"] in mine["sample_id"].to_pylist()
        assert row["clip_score"] == pytest.approx(np.mean(mine["clip_score"].to_numpy()), abs=1e-4)


def test_without_ray_it_is_the_same_run(undisturbed, tiny_models, tmp_path):
    """So what is shown for one executor holds for the other, and most tests need no Ray."""
    directory, *_ = undisturbed
    out = run_locally(config(tiny_models, tmp_path / "run"), tmp_path)
    assert out.splitlines()[-1] == str(tmp_path / "run")
    assert_same(tmp_path / "run", directory)


def test_results_and_report_are_written(undisturbed):
    directory, *_ = undisturbed
    results = json.loads((directory / "results.json").read_text())
    assert [model["name"] for model in results["models"]] == ["pixart", "sdxl+lora"]
    assert [item["n"] for item in results["comparisons"]] == [5]
    page = (directory / "report.html").read_text()
    assert "<script>alert(1)" not in page
    truncated = tables(directory)["images"].filter(pads.field("truncated"))
    assert set(truncated["prompt"].to_pylist()) == {HOSTILE[2]}


@pytest.mark.long
def test_a_run_is_extended_without_touching_what_is_there(
    undisturbed, tiny_models, ray_address, tmp_path
):
    """By models, prompts, seeds, and an encoder."""
    directory, *_ = undisturbed
    other = tiny.encoder(tmp_path / "other")
    tree = config(tiny_models, tmp_path / "run", prompts=["a red ball", "a blue box"], seeds=2)
    tree["models"] = tree["models"][:1]
    run_on(ray_address, tree, tmp_path)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "images").iterdir()}
    tree = config(tiny_models, tmp_path / "run")
    tree |= {"encoder": [tree["encoder"], {"id": str(other)}]}
    run_on(ray_address, tree, tmp_path)
    assert all(path.stat().st_mtime_ns == changed for path, changed in made.items())
    ours, theirs = (tables(d)["images"] for d in (tmp_path / "run", directory))
    assert ours["sample_id"].equals(theirs["sample_id"])
    scores = pq.read_table(tmp_path / "run" / "scores.parquet")
    first = scores.filter(pads.field("encoder") == str(tiny_models.encoder))["scs"]
    assert np.allclose(first, pq.read_table(directory / "scores.parquet")["scs"], atol=0.01)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    agreement = [(row["model"], row["encoder"], row["n"]) for row in results["encoder_agreement"]]
    assert agreement == [(name, str(other), 5) for name in ("pixart", "sdxl+lora")]


def test_pictures_in_folders_score_as_where_they_were_made(undisturbed, tiny_models, tmp_path):
    directory, *_ = undisturbed
    for row in tables(directory)["images"].to_pylist():
        if row["prompt"] in HOSTILE:
            continue
        folder = tmp_path / "images" / row["model"] / row["prompt"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row['seed']}.png").write_bytes(row["image"])
    (tmp_path / "images" / "pixart" / "a red ball" / "1.png").write_bytes(b"no picture")
    tree = config(tiny_models, tmp_path / "run", images=str(tmp_path / "images"))
    tree = {key: tree[key] for key in ("images", "encoder", "pools", "statistics", "output")}
    out = run_locally(tree, tmp_path)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["quarantined"] == {"unreadable": 1}
    assert "unreadable" in out
    rows = pq.read_table(directory / "scores.parquet").to_pylist()
    made = {(row["model"], row["prompt"]): row["scs"] for row in rows}
    for row in pq.read_table(tmp_path / "run" / "scores.parquet").to_pylist():
        if row["prompt"] == "a red ball":
            assert row["n_images"] == 2  # one side's failed seed is left out of all
        else:
            assert row["scs"] == pytest.approx(made[row["model"], row["prompt"]], abs=1e-4)


@pytest.mark.long
def test_a_mistake_that_only_a_worker_can_see_is_one_line(tiny_models, ray_address, tmp_path):
    """As a full disk is, which is a worker's to see too: test_storage.py."""
    nothing = tiny.lora(tmp_path / "nothing", tiny_models.sdxl, scale=0.0)
    tree = config(tiny_models, tmp_path / "run")
    tree["models"] = [tree["models"][1] | {"lora": {"id": str(nothing)}}]
    _, err = run_on(ray_address, tree, tmp_path, status=2)
    assert "must change the picture" in err.splitlines()[-1]
    assert "Traceback" not in err
