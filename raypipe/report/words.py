"""Numbers and verdicts in words, the same on the page and in the terminal."""

from collections.abc import Mapping
from typing import Any

UNDEFINED = "–"


def number(value: float | None, digits: int = 2) -> str:
    """Fixed-point text with a true minus sign; a dash for an undefined value."""
    if value is None:
        return UNDEFINED
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """Like `number`, with a plus sign where it is positive."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.,") else text


def p_value(value: float | None) -> str:
    """Three decimals; smaller ones as a power of ten.

    >>> p_value(0.0312), p_value(0.0000123), p_value(0.0)
    ('0.031', '1.2e−05', '< 1e−300')
    """
    if value is None:
        return UNDEFINED
    if value >= 0.001:
        return f"{value:.3f}"
    return f"{value:.1e}".replace("-", "−") if value >= 1e-300 else "< 1e−300"


def p_phrase(value: float | None) -> str:
    """`p = 0.031`, `p < 0.001` or `no test`: p-values inside a sentence."""
    if value is None:
        return "no test"
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def percent(share: float) -> str:
    """Whole percent, without claiming certainty.

    >>> percent(0.817), percent(0.9999), percent(0.0)
    ('82 %', '> 99 %', '< 1 %')
    """
    if share > 0.995:
        return "> 99 %"
    return f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %"


def ends(found: Mapping[str, Any]) -> str:
    """The ends of an interval.

    >>> ends({"low": -0.25, "high": 1.0}), ends({"low": None, "high": None})
    ('−0.250 to 1.000', '–')
    """
    if found["low"] is None:
        return UNDEFINED
    return f"{number(found['low'], 3)} to {number(found['high'], 3)}"


def share(found: Mapping[str, Any] | None) -> str:
    """A share with its interval, where it has one, in percent.

    >>> share({"value": 0.841, "low": 0.768, "high": 0.893})
    '84.1 % (76.8 to 89.3)'
    """
    if found is None or found["value"] is None:
        return UNDEFINED
    if found.get("low") is None:
        return f"{100 * found['value']:.1f} %"
    return f"{100 * found['value']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def change_cells(change: Mapping[str, Any]) -> list[str]:
    """A change of a metric, as results.json has it: mean, interval, p, share of wins, prompts."""
    return [
        signed(change["mean_change"], 3),
        ends(change),
        p_value(change["p_adjusted"]),
        UNDEFINED if change["win_rate"] is None else percent(change["win_rate"]),
        f"{change['prompts']:,}",
    ]


def clear_change(change: Mapping[str, Any], alpha: float) -> str | None:
    """What a variant does to a metric, as a clause; None for a change that is not significant."""
    if change["p_adjusted"] is None or change["p_adjusted"] >= alpha:
        return None
    by = change["mean_change"]
    verb = "raises" if by > 0 else "lowers"
    return f"{change['variant']} {verb} {change['metric']} by {number(abs(by), 3)}"


def confidence(alpha: float) -> str:
    """The confidence level of intervals, in percent.

    >>> confidence(0.05), confidence(0.005)
    ('95 %', '99.5 %')
    """
    return f"{100 * (1 - alpha):.4g} %"


def shortened(name: str, limit: int) -> str:
    """A name on one line, cut and marked where it is longer than the limit."""
    name = " ".join(name.split())
    return name if len(name) <= limit else name[: limit - 1] + "…"


def count(n: int, noun: str) -> str:
    """`1 prompt`, `1,000 prompts`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def verdict_sentence(comparison: Mapping[str, Any], alpha: float) -> str:
    """The verdict of one comparison with its interval and number of prompts, as one sentence."""
    a, b, verdict = comparison["a"], comparison["b"], comparison["verdict"]
    difference = comparison["mean_difference"]
    evidence = _evidence(comparison, alpha)
    if verdict == "a_more_consistent":
        return f"{a} is more consistent than {b}: its score is higher by {evidence}."
    if verdict == "b_more_consistent":
        return f"{b} is more consistent than {a}: its score is higher by {evidence}."
    if difference["value"] is None:
        return f"{a} and {b} cannot be compared: {comparison['verdict_reason']}."
    observed, reason = f"{a} minus {b} is {evidence}", comparison["verdict_reason"]
    if verdict == "no_difference_shown":
        return f"No difference in consistency between {a} and {b} is shown: {observed}."
    if verdict == "undecided":
        return f"Undecided between {a} and {b}, because {reason}: {observed}."
    few = {"too_few_prompts": "prompts", "too_few_seeds": "seeds"}[verdict]
    return f"Too few {few} to decide between {a} and {b}, because {reason}: {observed}."


def verdict_short(comparison: Mapping[str, Any]) -> str:
    """The verdict in three words or so, for a table."""
    return {
        "a_more_consistent": f"{comparison['a']} more consistent",
        "b_more_consistent": f"{comparison['b']} more consistent",
        "no_difference_shown": "no difference shown",
        "undecided": "undecided",
        "too_few_prompts": "too few prompts",
        "too_few_seeds": "too few seeds",
    }[comparison["verdict"]]


def _evidence(comparison: Mapping[str, Any], alpha: float) -> str:
    """`3.21 points on average (95 % interval 2.10 to 4.30, 100 prompts, p < 0.001)`."""
    value, low, high = (comparison["mean_difference"][key] for key in ("value", "low", "high"))
    show = signed
    if comparison["verdict"] == "a_more_consistent":
        show = number
    elif comparison["verdict"] == "b_more_consistent":
        value, low, high, show = -value, -high, -low, number
    prompts = comparison["n_prompts"] or comparison["n"]
    inside = [count(prompts, "prompt"), p_phrase(comparison["p_adjusted"])]
    if low is not None:
        inside.insert(0, f"{confidence(alpha)} interval {show(low)} to {show(high)}")
    return f"{show(value)} points on average ({', '.join(inside)})"
