"""results.json, decisions.parquet and the manifest of jobs/agreement.py."""

import statistics
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.core import agreement as core
from raypipe.inputs.answers import VOTES
from raypipe.storage import schema
from raypipe.storage.provenance import provenance
from raypipe.studies.agreement.answers import Answered, checks_of
from raypipe.studies.agreement.judge import judge, rank
from raypipe.studies.agreement.run import answers_hash
from raypipe.studies.agreement.scores import Score
from raypipe.studies.agreement.settings import Agreement

PACKAGES = ("numpy", "scipy", "statsmodels", "pyarrow")

RATINGS = (1.0, 2.0, 3.0, 4.0, 5.0)

SIDES = {side: VOTES[side] for side in ("a", "tie", "b")}
"""Choices as votes, in the order of the categories."""


def describe(config: Agreement, answered: Answered, scores: list[Score]) -> str:
    """What a run would do, for --dry-run."""
    names = ", ".join(score.name for score in scores) or "no score"
    return (
        f"{len(answered.table):,} answers of {len(answered.annotators):,} annotators to "
        f"{len(answered.items):,} questions ({answered.kind}) would be compared with {names}"
    )


def results(config: Agreement, answered: Answered, scores: list[Score]) -> dict[str, Any]:
    """results.json (docs/study.md)."""
    rated = answered.kind == "rate"
    votes_AM = answered.votes_AM
    majority_M = core.majority(votes_AM) if not rated else None
    judged = [
        rank(score, answered) if rated else judge(score, answered, config) for score in scores
    ]
    found = {
        "schema_version": schema.SCHEMA_VERSION,
        "alpha": config.statistics.alpha,
        "kind": answered.kind,
        "questions": len(answered.items),
        "annotators": _annotators(config, answered),
        "excluded": answered.excluded,
        "answers": len(answered.table),
        "majority": _majority(majority_M),
        "reliability": _reliability(config, answered),
        "self_consistency": asdict(_again(config, answered, answered.annotators)),
        "scores": judged,
    }
    return {**found, "notes": _notes(answered, found)}


def decisions(answered: Answered, scores: list[Score]) -> pa.Table:
    """One row per question: people's votes, and each score of either side."""
    rows = []
    rated = answered.kind == "rate"
    votes = answered.votes_AM
    majority = None if rated else core.majority(votes)
    for at, item in enumerate(answered.items):
        row = {name: item[name] for name in ("question_id", "prompt", "a_id", "b_id", "subset")}
        given = votes[:, at][~np.isnan(votes[:, at])]
        row["answers"] = len(given)
        if majority is None:
            row["mean_rating"] = float(given.mean()) if len(given) else None
        else:
            row |= {f"votes_{k}": int((given == v).sum()) for k, v in SIDES.items()}
            word = next((k for k, v in SIDES.items() if majority[at] == v), None)
            row["choice"] = word
        for score in scores:
            row[f"{score.name}.a"] = score.of.get(item["a_id"])
            row[f"{score.name}.b"] = score.of.get(item["b_id"] or "")
        rows.append(row)
    return pa.Table.from_pylist(rows)


def manifest(config: Agreement, results: dict[str, Any]) -> dict[str, Any]:
    return {
        **provenance("agreement", PACKAGES),
        "answers_hash": answers_hash(config),
        "inputs": [uri for uri in (config.run, config.scores) if uri is not None],
        "counts": {
            "annotators": len(results["annotators"]),
            "excluded": len(results["excluded"]),
            "questions": results["questions"],
            "answers": results["answers"],
        },
    }


def _majority(majority_M: np.ndarray | None) -> dict[str, int] | None:
    if majority_M is None:
        return None
    return {
        "decided": int((np.abs(majority_M) == 1).sum()),
        "tied": int((majority_M == 0).sum()),
        "unanswered": int(np.isnan(majority_M).sum()),
    }


def _reliability(config: Agreement, answered: Answered) -> dict[str, Any]:
    """Fleiss' kappa and Krippendorff's alpha of the first answers."""
    rated = answered.kind == "rate"
    level: core.Level = "ordinal" if rated else "nominal"
    counts = core.counts_of(answered.votes_AM, RATINGS if rated else tuple(SIDES.values()))
    kappa, items, reason = core.fleiss_kappa(counts)
    alpha = core.krippendorff_alpha(counts, level, **config.statistics.bootstrap)
    return {
        "fleiss_kappa": {"value": kappa, "items": items, "reason": reason},
        "krippendorff_alpha": {**asdict(alpha), "level": level},
    }


def _annotators(config: Agreement, answered: Answered) -> list[dict[str, Any]]:
    """One record per annotator who counts."""
    confidence = 1 - config.statistics.alpha
    compared = answered.kind != "rate"
    others = core.with_others(answered.votes_AM, confidence) if compared else []
    by_person: dict[str, list[dict[str, Any]]] = {name: [] for name in answered.annotators}
    for row in answered.table.to_pylist():
        by_person[row["annotator"]].append(row)
    records = []
    for index, (name, rows) in enumerate(by_person.items()):
        right, checks = checks_of(rows)
        unsure = sum(row["choice"] in ("tie", "none") for row in rows)
        sides = Counter(
            (row["choice"] == "b") == row["swapped"]
            for row in rows
            if compared and (row["choice"] in ("a", "b"))
        )
        records.append(
            {
                "name": name,
                "answers": len(rows),
                "cannot_tell": unsure,
                "first_side": asdict(core.share(sides[True], sides.total(), confidence)),
                "with_others": asdict(others[index]) if compared else None,
                "self_consistency": asdict(_again(config, answered, [name])),
                "checks": {"right": right, "n": checks},
                "median_seconds": statistics.median(row["seconds"] for row in rows),
            }
        )
    return records


def _again(config: Agreement, answered: Answered, names: list[str]) -> core.Share:
    """How often these annotators answer a repeated question as they did the first time."""
    first = {
        (row["annotator"], row["question_id"]): row["choice"]
        for row in answered.table.to_pylist()
        if row["annotator"] in names
    }
    pairs = [
        (row["choice"], first.get((row["annotator"], row["repeat_of"])))
        for row in answered.table.to_pylist()
        if row["role"] == "repeat" and row["annotator"] in names
    ]
    known = [(again, before) for again, before in pairs if before is not None]
    same = sum(again == before for again, before in known)
    return core.share(same, len(known), 1 - config.statistics.alpha)


def _notes(answered: Answered, found: dict[str, Any]) -> list[str]:
    notes = [f"{name} is left out: {why}" for name, why in answered.excluded.items()]
    asked = len(answered.items)
    for person, votes_M in zip(found["annotators"], answered.votes_AM, strict=True):
        side = person["first_side"]
        if side["low"] is not None and not side["low"] <= 0.5 <= side["high"]:
            notes.append(
                f"{person['name']} prefers a side: the first one in {100 * side['value']:.0f} % of "
                "decided answers"
            )
        missing = int(np.isnan(votes_M).sum())
        if answered.kind != "rate" and missing:
            notes.append(f"{person['name']} left {missing:,} of {asked:,} questions unanswered")
    if len(found["annotators"]) < 3:
        notes.append("fewer than three annotators: the majority is little more than one opinion")
    if not found["scores"]:
        notes.append("no automatic score was given to compare with (the key scores names a run)")
    return notes
