"""results.json and the manifest of jobs/align.py: the accuracy of each metric, and comparisons."""

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.core.ranking import (
    accuracy,
    accuracy_by_tag,
    adjust_metrics,
    agreement,
    compare_metrics,
)
from raypipe.inputs.answers import SIGNS
from raypipe.inputs.scores import Scored
from raypipe.storage import schema
from raypipe.storage.provenance import provenance
from raypipe.studies.align.choices import PROBLEMS, Decided, decide, read_choices
from raypipe.studies.align.settings import Align

PACKAGES = ("numpy", "scipy", "pyarrow")


@dataclass(frozen=True)
class Judged:
    """One metric on the pairs that it has both scores for."""

    name: str
    rows: np.ndarray
    """Which pairs (of those that people decided)."""
    correct: np.ndarray
    """Of those: 1, 0, or 1/2 for a tie of the metric."""


def read_pairs(config: Align, scored: Scored) -> Decided:
    """The majority's choice on each pair. Where the file of choices names no cluster and both
    pictures of a pair have the same one, the pair gets it."""
    answers = read_choices(config.choices, config.layout)
    clusters = []
    for left, right, cluster in zip(
        *(answers[name].to_pylist() for name in ("left_id", "right_id", "photo_id")), strict=True
    ):
        of_left, of_right = scored.cluster_of.get(left), scored.cluster_of.get(right)
        clusters.append(of_left if cluster is None and of_left == of_right else cluster)
    index = answers.schema.get_field_index("photo_id")
    field = schema.CHOICES.field("photo_id")
    return decide(
        answers.set_column(index, field, pa.array(clusters, pa.string())), scored.cluster_of.keys()
    )


def describe(config: Align, scored: Scored, decided: Decided) -> str:
    """What a run would do, for --dry-run."""
    names = ", ".join(record["name"] for record in scored.records)
    return (
        f"{decided.answers:,} answers about {len(decided.pairs):,} pairs, {decided.ties:,} of them "
        f"undecided, would judge {names} of {config.run}"
    )


def results(config: Align, scored: Scored, decided: Decided) -> dict[str, Any]:
    """results.json: accuracies, by falling accuracy, and comparisons of all pairs of metrics."""
    pairs = [row for row in decided.pairs.to_pylist() if row["choice"] != "tie"]
    clusters_M = np.array([row["photo_id"] for row in pairs], dtype=object)
    judged = [_judge(record, scored, pairs) for record in scored.records]
    common = set.intersection(*(set(j.rows.tolist()) for j in judged))
    metrics = []
    for record, mine in zip(scored.records, judged, strict=True):
        tags = [row["subset"] for row in pairs]
        metrics.append(
            {
                "name": mine.name,
                "title": record["title"],
                "higher_is_better": record["higher_is_better"],
                **_accuracies(config, mine, clusters_M, tags, common),
                "without_score": _without_score(mine, scored, pairs),
            }
        )
    metrics.sort(key=lambda m: (-(m["accuracy"]["value"] or 0), m["name"]))
    by_name = {mine.name: mine for mine in judged}
    ordered = [by_name[metric["name"]] for metric in metrics]
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "alpha": config.statistics.alpha,
        "answers": decided.answers,
        "pairs": len(decided.pairs),
        "undecided": decided.ties,
        "photos": len(set(clusters_M.tolist())),
        "left_out": decided.left_out,
        "examples": decided.examples,
        "metrics": metrics,
        "comparisons": _comparisons(config, ordered, clusters_M),
        "not_judged": scored.not_judged,
        "notes": _notes(decided, metrics, scored),
    }


def manifest(config: Align, results: dict[str, Any]) -> dict[str, Any]:
    return {
        **provenance("align", PACKAGES),
        "inputs": [config.choices, config.run],
        "counts": {key: results[key] for key in ("answers", "pairs", "undecided")}
        | {"left_out": sum(results["left_out"].values())},
    }


def _judge(record: dict[str, Any], scored: Scored, pairs: list[dict[str, Any]]) -> Judged:
    """How one metric chooses on the pairs of which both pictures have a score."""
    scores = scored.scores[record["name"]]
    rows = [
        i for i, row in enumerate(pairs) if row["left_id"] in scores and row["right_id"] in scores
    ]
    correct = agreement(
        [scores[pairs[i]["left_id"]] for i in rows],
        [scores[pairs[i]["right_id"]] for i in rows],
        [SIGNS[pairs[i]["choice"]] for i in rows],
        higher_is_better=record["higher_is_better"],
    )
    return Judged(record["name"], np.array(rows, dtype=int), correct)


def _accuracies(
    config: Align, mine: Judged, clusters_M: np.ndarray, tags: list[str | None], common: set[int]
) -> dict[str, Any]:
    """Of all pairs with both scores, of those that every metric has, and by subset."""
    settings = config.statistics.bootstrap
    clusters = clusters_M[mine.rows]
    shared = np.array([row in common for row in mine.rows.tolist()], dtype=bool)
    tagged = np.array([tags[row] is not None for row in mine.rows.tolist()], dtype=bool)
    names = [str(tags[row]) for row in mine.rows[tagged].tolist()]
    whole = accuracy(mine.correct, clusters, **settings)
    by_subset = accuracy_by_tag(mine.correct[tagged], names, clusters[tagged], **settings)
    return {
        "accuracy": asdict(whole),
        "ties": whole.ties,
        "accuracy_common": asdict(accuracy(mine.correct[shared], clusters[shared], **settings)),
        "by_subset": {name: asdict(found) for name, found in by_subset.items()},
    }


def _without_score(mine: Judged, scored: Scored, pairs: list[dict[str, Any]]) -> dict[str, int]:
    """Pairs that a metric cannot judge, by the reason of the first picture without a score."""
    reasons, judged = scored.reasons[mine.name], set(mine.rows.tolist())
    counts: dict[str, int] = {}
    for i, row in enumerate(pairs):
        if i not in judged:
            missing = [row[side] for side in ("left_id", "right_id") if row[side] in reasons]
            reason = reasons[missing[0]] if missing else "no score"
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items()))


def _comparisons(
    config: Align, judged: list[Judged], clusters_M: np.ndarray
) -> list[dict[str, Any]]:
    """Every metric with every less accurate one, on the pairs that both have, Holm-corrected."""
    made, empty = [], []
    for a, b in combinations(judged, 2):
        rows, of_a, of_b = np.intersect1d(a.rows, b.rows, return_indices=True)
        if not len(rows):
            empty.append((a.name, b.name))
            continue
        made.append(
            compare_metrics(
                a.correct[of_a],
                b.correct[of_b],
                clusters_M[rows],
                a=a.name,
                b=b.name,
                **config.statistics.bootstrap,
            )
        )
    records = [
        {
            "a": c.a,
            "b": c.b,
            "difference": c.difference.value,
            "low": c.difference.low,
            "high": c.difference.high,
            "p_value": c.test.p_value,
            "p_adjusted": c.test.p_adjusted,
            "method": c.test.method,
            "reason": c.difference.reason or c.test.reason,
            "n": c.n,
            "a_better": c.a_better,
            "b_better": c.b_better,
            "mcnemar": asdict(c.mcnemar),
        }
        for c in adjust_metrics(made)
    ]
    nothing = dict.fromkeys(("difference", "low", "high", "p_value", "p_adjusted", "method"))
    reason = "no pair has scores of both"
    return records + [{"a": a, "b": b, **nothing, "reason": reason, "n": 0} for a, b in empty]


def _notes(decided: Decided, metrics: list[dict[str, Any]], scored: Scored) -> list[str]:
    notes = [
        f"{n:,} {PROBLEMS[problem]} left out, such as {', '.join(decided.examples[problem])}"
        for problem, n in decided.left_out.items()
        if n
    ]
    for metric in metrics:
        missing = sum(metric["without_score"].values())
        if missing:
            counts = ", ".join(f"{n} {reason}" for reason, n in metric["without_score"].items())
            notes.append(f"{metric['name']} cannot judge {missing:,} pairs: {counts}")
    notes += [f"{name} is not judged: {why}" for name, why in scored.not_judged.items()]
    return notes
