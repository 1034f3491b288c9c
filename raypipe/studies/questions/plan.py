"""Which questions are asked, repeated and checked, drawn by the seed."""

import random
from dataclasses import dataclass

from raypipe.errors import UserError
from raypipe.studies.questions.settings import Questions
from raypipe.studies.questions.sources import Comparison, Source


@dataclass(frozen=True)
class Plan:
    """What is asked, before anything is drawn."""

    comparisons: list[Comparison]
    repeats: list[int]
    """Positions of those asked twice."""
    checks: list[int]
    """Positions of those from whose pictures a check is made; the first makes the example."""
    found: int
    """Comparisons that the run has."""


def make_plan(config: Questions, source: Source) -> Plan:
    """Draw the questions. UserError where the run has too few for them."""
    found = list(source.comparisons(config))
    if not found:
        raise UserError(
            f"there must be something to ask: {config.run} has no {config.kind} "
            f"(models: {', '.join(source.models)})"
        )
    rng = random.Random(config.seed)
    n = min(config.limit or len(found), len(found))
    chosen = [found[i] for i in sorted(rng.sample(range(len(found)), n))]
    if config.repeats > n:
        raise UserError(f"repeats must be at most the {n} questions, got {config.repeats}")
    clusters = {c.cluster for c in chosen}
    if config.kind == "grid" and len(clusters) < 2:
        raise UserError(f"a check of grids needs two prompts, got {len(clusters)}: {config.run}")
    repeats = sorted(rng.sample(range(n), config.repeats))
    checks = [rng.randrange(n) for _ in range(config.checks + 1)]
    return Plan(chosen, repeats, checks, len(found))


def describe(config: Questions, plan: Plan) -> str:
    """What a run would do, for --dry-run."""
    asked = len(plan.comparisons) + len(plan.repeats) + config.checks
    return (
        f"{asked:,} questions ({config.kind}): {len(plan.comparisons):,} of {plan.found:,} that "
        f"{config.run} has, {len(plan.repeats):,} asked twice, {config.checks:,} checks"
    )
