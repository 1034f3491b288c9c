"""The rows of the table of tests: name, result, and one line of explanation."""

from collections.abc import Mapping
from typing import Any

from raypipe.report import words


def rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows in the order of the page; `paper` marks what only the paper's protocol asks for.

    `cells` are (label, value, text): the page carries the exact value beside its rounded text.
    """
    a, b, normality = comparison["a"], comparison["b"], comparison["normality"]
    effect = comparison["rank_biserial"]
    return [
        _verdict(comparison),
        _estimate(
            "Mean over these prompts",
            comparison["mean_over_prompts"],
            "The mean with its interval for other prompts under the same seeds (BCa bootstrap). "
            "It describes; it does not know what other seeds would change.",
        ),
        _test(
            "Wilcoxon signed-rank",
            comparison["wilcoxon"],
            "Do these prompts' differences lie on one side of zero, under these seeds? Not the "
            "verdict's test: what a seed does to all prompts alike passes for a difference.",
        ),
        _estimate(
            "Hodges–Lehmann shift",
            comparison["hodges_lehmann"],
            "The typical difference, robust against a few extreme prompts.",
        ),
        {
            "name": "Rank-biserial correlation",
            "cells": [("r", effect, words.signed(effect))],
            "reason": comparison["reasons"].get("rank_biserial"),
            "meaning": "Effect size from −1 (b always higher) to +1 (a always higher).",
            "paper": False,
        },
        _test(
            "Normality of the differences",
            normality["differences"],
            "Background only: the verdict needs a normal mean, not normal differences.",
        ),
        _test(
            "Two-sample Kolmogorov–Smirnov",
            comparison["ks_2samp"],
            "As the paper reports it. It ignores that both models saw the same prompts.",
            paper=True,
        ),
        *(
            _test(
                f"Normality of {name}",
                normality[key],
                "As in the paper's code: raw scores against N(0, 1), which rejects every model.",
                paper=True,
            )
            for name, key in ((a, "paper_a"), (b, "paper_b"))
        ),
    ]


def _verdict(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """What the verdict rests on: its interval, its p, and what they know of."""
    seeds = {
        "crossed": "other prompts and other seeds: prompts and shared seeds are both samples",
        "nested": "other prompts, each with seeds of its own",
    }[comparison["design"]]
    row = _estimate(
        "Mean difference",
        comparison["mean_difference"],
        f"What the verdict is about: the mean of a − b with its interval for {seeds}. "
        "p adjusted by Holm over all comparisons of this run.",
    )
    if comparison["p_value"] is not None:
        for label, key in (("p", "p_value"), ("p adjusted", "p_adjusted")):
            row["cells"].append((label, comparison[key], words.p_value(comparison[key])))
    return row


def _estimate(name: str, estimate: Mapping[str, Any], meaning: str) -> dict[str, Any]:
    cells = [("", estimate["value"], words.signed(estimate["value"]))]
    if estimate["low"] is not None:
        ends = ((label, estimate[label]) for label in ("low", "high"))
        cells += [(label, end, words.signed(end)) for label, end in ends]
    return {
        "name": name,
        "cells": cells,
        "reason": estimate["reason"],
        "meaning": meaning,
        "paper": False,
    }


def _test(
    name: str, test: Mapping[str, Any], meaning: str, *, paper: bool = False
) -> dict[str, Any]:
    cells = [
        ("statistic", test["statistic"], words.number(test["statistic"])),
        ("p", test["p_value"], words.p_value(test["p_value"])),
    ]
    return {
        "name": name,
        "cells": cells if test["p_value"] is not None else [("", None, words.UNDEFINED)],
        "reason": test["reason"],
        "meaning": meaning,
        "paper": paper,
    }
