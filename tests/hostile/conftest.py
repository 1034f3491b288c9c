"""Small finished runs of every job, valid configs over them, and how a case is tried."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from raypipe.job import Job
from raypipe.storage import schema
from tests.support import finish_run, pair_runs, study_runs
from tests.support.annotators import questions
from tests.support.jobs import Done, run_here

PLAN = {"steps": 1, "batch": 2, "lr": 0.001, "seed": 0}
TRAINING = {"steps": 2, "batch": 2, "micro_batch": 1, "precision": "float32"}
LORA = {
    "model": {"name": "sd15", "id": "miniature/sd15"},
    "sampler": {"steps": 4, "guidance": 2.0, "width": 64, "height": 64},
    "pairs": "pairs",
    "adapter": {"rank": 4},
    "training": TRAINING,
    "samples": {"prompts": ["a portrait"], "seeds": 1},
    "output": "out",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "consistency": {
        "models": [
            {"name": "a", "id": "miniature/sdxl"},
            {"name": "b", "id": "miniature/pixart"},
            {"name": "c", "id": "miniature/sd15", "lora": None},
        ],
        "prompts": ["a red ball", "a blue box"],
        "seeds": 2,
        "sampler": {"steps": 4, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "output": "out",
    },
    "evaluate": {
        "pairs": "pairs",
        "metrics": [
            {"metric": "sharpness", "size": 64},
            {"metric": "clip_score", "encoder": {"id": "miniature/clip"}},
            {"metric": "image_reward", "id": "miniature/reward"},
        ],
        "baseline": "good",
        "output": "out",
    },
    "align": {"choices": "choices.csv", "run": "evaluated", "output": "out"},
    "face_pairs": {
        "photos": "photos",
        "model": {"name": "sd15", "id": "miniature/sd15"},
        "sampler": {"steps": 4, "width": 64, "height": 64},
        "longest": 64,
        "min_face": 16,
        "output": "out",
    },
    "face_score": {
        "pairs": ["pairs"],
        "start": {"id": "miniature/reward"},
        "training": TRAINING,
        "output": "out",
    },
    "face_lora": LORA,
    "face_ablation": {
        "train": "lora.yaml",
        "variants": {"sft": ["loss.kind=sft"], "dpo": ["loss.kind=dpo"]},
        "training_seeds": 1,
        "faces": {"prompts": ["a face"], "seeds": 2, "metrics": [{"metric": "face_judge"}]},
        "general": {"prompts": ["a ball"], "seeds": 2, "metrics": [{"metric": "sharpness"}]},
        "sampler": {"steps": 4, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "output": "out",
    },
    "questions": {"run": "consistency", "kind": "grid", "images": 4, "output": "out"},
    "annotate": {"run": "questions", "port": 0, "output": "out"},
    "agreement": {"run": "answers", "output": "out"},
    "train_miniature": {
        **dict.fromkeys(("vae", "clip", "sdxl", "pixart", "lora", "sd15", "reward"), PLAN),
        "work": "work",
        "output": "out",
    },
}
"""A valid config of every job, over what `world` has made."""


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with the inputs of every job, which all are finished runs or small files."""
    root = tmp_path_factory.mktemp("world")
    study_runs.write(root / "consistency", {"a red ball": (60.0, 70.0), "a box": (50.0, 40.0)})
    pair_runs.write(root / "pairs", count=24)
    (root / "photos").mkdir()
    for row in pq.read_table(root / "pairs" / "photos").to_pylist()[:3]:
        (root / "photos" / f"{row['photo_id']}.png").write_bytes(row["image"])
        (root / "photos" / f"{row['photo_id']}.txt").write_text("a person")
    shown = root / "pictures" / "model" / "a person"
    shown.mkdir(parents=True)
    shutil.copy(root / "photos" / "photo00000.png", shown / "0.png")
    _evaluated(root / "evaluated")
    (root / "choices.csv").write_text(
        "left_id,right_id,choice,annotator\none,two,left,x\ntwo,one,right,x\n"
    )
    questions(root / "consistency", root / "questions", "grid", "images=4")
    _answers(root / "questions", root / "answers")
    (root / "lora.yaml").write_text(yaml.safe_dump(LORA))
    return root


def _evaluated(folder: Path) -> None:
    ids = ["one", "two"]
    nothing = {n: pa.nulls(2, schema.TABLE.field(n).type) for n in schema.TABLE.names}
    texts = dict.fromkeys(("image_id", "model", "prompt_id", "photo_id"), ids)
    table = pa.table({**nothing, **texts, "status": ["ok"] * 2}).select(schema.TABLE.names)
    table = table.append_column("quality", pa.array([1.0, 2.0]))
    table = table.append_column("quality.reason", pa.nulls(2, pa.string()))
    folder.mkdir()
    pq.write_table(table, folder / "scores.parquet")
    record = {"name": "quality", "title": "Q", "higher_is_better": True, "reads": "picture"}
    (folder / "results.json").write_text(json.dumps({"metrics": [record]}))
    finish_run(folder, "evaluate")


def _answers(asked: Path, folder: Path) -> None:
    given = {"swapped": False, "position": 0, "changes": 0, "seconds": 1.0, "answered_at": "now"}
    rows = [
        {**question, **given, "annotator": name, "choice": "a"}
        for question in pq.read_table(asked / "questions.parquet").to_pylist()
        if question["role"] != "example"
        for name in ("ann", "bob")
    ]
    folder.mkdir()
    table = pa.Table.from_pylist(rows, schema=schema.ANSWERS)
    pq.write_table(table, folder / "answers.parquet")
    finish_run(folder, "annotate", run=str(asked))


@dataclass(frozen=True)
class Told:
    """What a job said of a mistake: both when it was to work and when it was to plan."""

    status: int
    out: str
    err: str


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    return {
        str(path.relative_to(root)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
    }


Attempt = Callable[..., Told]


@pytest.fixture
def plan(world, tmp_path) -> Callable[..., Done]:
    """Runs a job's --dry-run on its valid config, with arguments."""

    def plan(job: str, *arguments: str) -> Done:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(placed(CONFIGS[job], world, tmp_path)))
        return run_here(job, path, *arguments, "--dry-run", "--local")

    return plan


@pytest.fixture
def attempt(world, tmp_path, monkeypatch) -> Attempt:
    """Runs a job on its valid config with changes, to work and to plan: both must say the same.

    AssertionError if the work begins, or if anything is different on disk afterwards.
    """

    def begin(*_: Any, **__: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(Job, "begin", begin)
    monkeypatch.setattr("os.execve", begin)

    def attempt(job: str, *arguments: str, text: str | bytes | None = None, more: str = "") -> Told:
        path = tmp_path / "config.yaml"
        if text is None:
            text = yaml.safe_dump(placed(CONFIGS[job], world, tmp_path)) + more
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        fill = {"{world}": str(world), "{tmp}": str(tmp_path)}
        given = []
        for argument in arguments:
            for name, value in fill.items():
                argument = argument.replace(name, value)
            given.append(argument)
        before = snapshot(tmp_path), snapshot(world)
        work = run_here(job, path, *given, "--local")
        plan = run_here(job, path, *given, "--local", "--dry-run")
        assert (snapshot(tmp_path), snapshot(world)) == before, "something has changed on disk"
        assert plan.returncode == 2, f"--dry-run finds no mistake: {plan}"
        assert plan == work
        return Told(work.returncode, work.stdout, work.stderr)

    return attempt


def placed(tree: dict[str, Any], world: Path, folder: Path) -> dict[str, Any]:
    """A config with its inputs in the world and its output in a folder."""
    found = dict(tree)
    for key in ("pairs", "photos", "choices", "run", "train"):
        if isinstance(found.get(key), str):
            found[key] = str(world / found[key])
        elif isinstance(found.get(key), list):
            found[key] = [str(world / name) for name in found[key]]
    return {
        **found,
        **{key: str(folder / found[key]) for key in ("output", "work") if key in found},
    }
