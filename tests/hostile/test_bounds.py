"""Every number of every config has two ends: a typo of some zeros is refused, not worked on."""

import pkgutil
from importlib import import_module
from typing import Any

import pytest

import raypipe
from raypipe.config.strict import Strict

ENDLESS: dict[str, str] = {
    "Model.options": "arguments of any pipeline's call, which only that pipeline knows",
    "Model.sampler": "checked as a Sampler, whose numbers have ends",
}
"""Fields with a number that has no ends, and why."""


def settings() -> list[type[Strict]]:
    """Every section of every config."""
    for module in pkgutil.walk_packages(raypipe.__path__, "raypipe."):
        name = module.name.removeprefix("raypipe.")
        if name.startswith("config.") or name.endswith(("settings", ".rates")):
            import_module(module.name)
    waiting, found = [Strict], []
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found.append(kind)
    return [kind for kind in found if kind.__module__.startswith("raypipe.")]


def open_ended(schema: Any) -> bool:
    """Whether a JSON schema allows a number without a lower or an upper end."""
    if isinstance(schema, list):
        return any(map(open_ended, schema))
    if not isinstance(schema, dict) or "$ref" in schema or "const" in schema:
        return False
    if schema.get("type") in ("integer", "number") and "enum" not in schema:
        ends = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
        return not all(end & schema.keys() for end in ends)
    return any(open_ended(part) for key, part in schema.items() if key != "default")


def test_there_are_settings_of_every_study():
    names = {kind.__name__ for kind in settings()}
    assert {"Consistency", "Evaluate", "Kid", "Annotate", "Plan", "Rate", "RewardFacts"} <= names


@pytest.mark.parametrize("kind", settings(), ids=lambda kind: kind.__name__)
def test_every_number_of_a_config_has_two_ends(kind):
    for name, schema in kind.model_json_schema()["properties"].items():
        field = f"{kind.__name__}.{name}"
        assert open_ended(schema) == (field in ENDLESS), field
