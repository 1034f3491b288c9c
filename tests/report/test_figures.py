"""Figures: SVG that can stand beside others in one page."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from raypipe.report import figures

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def svgs():
    many = RNG.normal(80, 5, 20_000)
    rows = [("<script> $a_b$ 🦊", many), ("b\nc", many[:1]), ("none", many[:0])]
    curves = [
        ("a", 0, [2, 3], [80.0, 81.0], [1.0, 2.0]),
        ("b", 9, [2, 3], [1.0, 2.0], [None, None]),
    ]
    sorted_few = np.sort(many[:50] - 80).tolist()
    return [
        figures.distributions(rows),
        figures.paired_differences(sorted_few, (0.1, -1, 1.2), ("a", "b"), (0, 1), "0"),
        figures.paired_differences([0.0], None, ("a", "b"), (1, 7), "1"),
        figures.convergence_curves(curves),
    ]


def test_figures_are_well_formed_and_point_nowhere(svgs):
    for svg in svgs:
        root = ElementTree.fromstring(svg)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == root.find("title").text
        assert "http" not in svg
        assert "<style" not in svg
        assert not re.search(r"#[0-9a-f]{6}", svg), "colours come from the page"


def test_ids_are_unique_across_figures(svgs):
    text = "".join(svgs)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)
    assert used
    assert {a or b for a, b in used} <= set(ids)


def test_figures_repeat_and_stay_small():
    values = RNG.normal(80, 5, 100_000)
    first, second = (figures.distributions([("a", values)]) for _ in range(2))
    assert first == second
    assert len(first) < 100_000


@pytest.mark.parametrize("values", [[80.0], [80.0, 80.0, 80.0], [0.0, 100.0], [100.0] * 5])
def test_scores_without_spread_are_drawn(values):
    assert "<svg" in figures.distributions([("a", np.array(values))])
