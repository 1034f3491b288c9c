"""Runs of jobs/evaluate.py in this process, without Ray, but for their page."""

import json
from pathlib import Path

import pyarrow as pa
import torch

from raypipe.engine.session import Session
from raypipe.miniature import data, reward
from raypipe.models.reward.network import new_network
from raypipe.storage.directory import config_hash
from raypipe.studies.evaluate import results as evaluate_results
from raypipe.studies.evaluate import work as measure_all
from raypipe.studies.evaluate.plan import batches, make_plan
from raypipe.studies.evaluate.run import EvaluateRun
from raypipe.studies.evaluate.settings import Evaluate
from tests.support import finish_run
from tests.support.image_rows import write_run


def begin(config: Evaluate) -> EvaluateRun:
    """As far as the plan, as the job does."""
    run, plan = EvaluateRun(config.output), make_plan(config)
    run.check(config)
    new = run.new_pictures(plan.pictures)
    run.check_note("weights", plan.weights, "metric {name}")
    run.begin(config, weights=plan.weights)
    if len(new):
        part = run.next_part()
        run.add_samples(batches(new, config.pools.read.batch_size, part), part)
    return run


def measure(run: EvaluateRun, config: Evaluate) -> list[str]:
    """Scores what is missing, in this process; returns the names of the files that are new."""
    before = set(run.folder.names("scores"))
    measure_all.measure(run, config, measure_all.missing(run, config), Session(local=True))
    return [f"scores/{name}" for name in run.folder.names("scores") if name not in before]


def finish(config: Evaluate) -> tuple[dict, pa.Table]:
    """A whole run, but for its page; returns (results, scores.parquet)."""
    run = begin(config)
    measure(run, config)
    outcome = evaluate_results.evaluate(run, config, make_plan(config))
    run.write_table("scores.parquet", outcome.table)
    run.write_json("results.json", outcome.results)
    run.finish({"status": "complete", "job": "evaluate", "config_hash": config_hash(config)})
    return outcome.results, outcome.table


def reward_files(folder: Path, kind: str = "image_reward") -> Path:
    """An untrained reward in the shape of the miniature one."""
    torch.manual_seed(0)
    words = reward.tokenizer(data.some_captions(200))
    network = new_network(reward.geometry(len(words)))
    for name, parameter in network.mlp.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.xavier_normal_(parameter)
    reward.save(network, words, folder)
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, "kind": kind}))
    return folder


def consistency_run(folder: Path, pictures: dict[str, dict[str, dict[int, bytes | None]]]) -> Path:
    """The images of a finished consistency run: {model: {prompt: {seed: PNG, or None}}}."""
    write_run(folder, pictures)
    return finish_run(folder, "consistency")
