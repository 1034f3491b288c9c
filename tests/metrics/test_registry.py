"""The table of metrics is complete, light, and what docs/metrics.md says."""

from importlib import import_module
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from raypipe.metrics import settings
from raypipe.metrics.registry import METRICS
from raypipe.storage import schema
from tests.support import ROOT

DOCS = (ROOT / "docs" / "metrics.md").read_text()
UNION = TypeAdapter(settings.Metric)


def bound(value, sign):
    return f"{sign}∞" if value is None else f"{value:g}".replace("-", "−")


def row(name):
    facts = METRICS[name]
    reads = {"face": "face crop", "prompt": "pictures of a prompt"}.get(facts.reads, facts.reads)
    return (
        f"| `{name}` | {facts.title} | {'higher' if facts.higher_is_better else 'lower'} | "
        f"{bound(facts.low, '−')} to {bound(facts.high, '')} | "
        f"{reads}{', prompt' if facts.reads_prompt else ''} | {facts.source} | {facts.published} |"
    )


@pytest.mark.parametrize("name", METRICS)
def test_the_documentation_has_each_metrics_row(name):
    assert row(name) in DOCS.splitlines()


def test_the_documentation_has_no_other_metrics():
    table = DOCS.split("## The metrics")[1].split("\n## ")[0]
    assert table.count("\n| `") == len(METRICS)


@pytest.mark.parametrize("column", schema.CHOICES.names)
def test_the_documentation_has_each_column_of_choices(column):
    assert f"| `{column}` |" in DOCS


def test_every_metric_has_its_facts_and_a_class_that_can_be_imported():
    assert list(METRICS.values()) == list(get_args(get_args(settings.Metric)[0]))
    for kind in METRICS.values():
        module, _, scorer = kind.scorer.partition(":")
        assert callable(getattr(import_module(module), scorer))
        assert kind.low is None or kind.high is None or kind.low < kind.high


def test_a_config_names_a_metric_and_its_settings():
    found = UNION.validate_python({"metric": "sharpness", "size": 64, "name": "sharp64"})
    assert isinstance(found, settings.Sharpness)
    assert (found.label, found.title) == ("sharp64", "Sharpness")
    assert UNION.validate_python({"metric": "hps"}).label == "hps"
    for wrong in ({"metric": "hsp"}, {"metric": "sharpness", "sise": 3}, {"metric": "fid"}):
        with pytest.raises(ValidationError):
            UNION.validate_python(wrong)
