"""The summary that a run prints at its end: scores, comparisons and verdicts."""

import textwrap
from collections.abc import Sequence
from typing import Any

from raypipe.report.words import (
    confidence,
    count,
    number,
    p_value,
    shortened,
    signed,
    verdict_sentence,
    verdict_short,
)

WIDTH = 100
NAME = 24
"""Longer names are cut in the tables; the verdicts below show them in full."""


def summary(results: dict[str, Any]) -> str:
    """Render results.json as plain-text tables of at most 100 columns, ending in the verdicts."""
    level = confidence(results["alpha"])
    head = ["model", "prompts", "images", "mean SCS", f"{level} interval", "SD", "CLIPScore"]
    blocks = [_table(head, [_model(model) for model in results["models"]])]
    if results["comparisons"]:
        head = ["a", "b", "a − b", f"{level} interval", "p adj.", "verdict"]
        blocks.append(_table(head, [_comparison(item) for item in results["comparisons"]]))
    bad = sum(results["quarantined"].values())
    if bad:
        reasons = ", ".join(f"{reason}: {n:,}" for reason, n in results["quarantined"].items())
        blocks.append(_wrap(f"{count(bad, 'sample')} quarantined ({reasons})"))
    blocks += [_wrap(verdict_sentence(item, results["alpha"])) for item in results["comparisons"]]
    return "\n\n".join(blocks)


def _model(model: dict[str, Any]) -> tuple[str, ...]:
    return (
        shortened(model["name"], NAME),
        f"{model['n_prompts']:,}",
        f"{model['n_images']:,}",
        number(model["mean"]),
        _interval(model["mean_interval"], number),
        number(model["sd"]),
        number(model["clip_score"]),
    )


def _comparison(item: dict[str, Any]) -> tuple[str, ...]:
    names = {"a": shortened(item["a"], 12), "b": shortened(item["b"], 12)}
    return (
        names["a"],
        names["b"],
        signed(item["mean_difference"]["value"]),
        _interval(item["mean_difference"], signed),
        p_value(item["p_adjusted"]),
        verdict_short(item | names),
    )


def _interval(estimate: dict[str, Any], show: Any) -> str:
    if estimate["low"] is None:
        return "–"
    return f"{show(estimate['low'])} to {show(estimate['high'])}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text; columns of numbers are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    right = [all(row[i][:1] in "0123456789+−–<" for row in rows) for i in range(len(head))]
    lines = [head, ["─" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _wrap(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH)
