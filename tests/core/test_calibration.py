"""The rate of false verdicts, in short; `make calibrate` has the table."""

import numpy as np
import pytest
from scipy import stats

from tests.calibrate import VARIANTS, Study, false_verdicts, rows, simulate


@pytest.mark.parametrize(
    "study",
    [
        Study(12, 8, 0.5),
        Study(100, 20, 0.5),
        Study(200, 4, 0.2, heavy=True),
        Study(50, 8, 0.2, design="nested"),
        Study(50, 8, 0.2, lost=0.1, alike=0.7),
    ],
)
def test_verdicts_are_rarely_false(study):
    assert false_verdicts(study, 300, seed=0) <= 5 + 3 * 1.3  # three standard errors


def test_a_test_over_prompts_alone_fails_the_same_simulation():
    study, false = Study(100, 20, 0.5), 0
    for k in range(60):
        a, b = simulate(study, np.random.default_rng(k))
        false += stats.wilcoxon(a.mean(axis=1) - b.mean(axis=1)).pvalue < 0.05
    assert false > 12  # 20 %, four times what it promises


def test_losses_are_what_was_asked_for():
    study = Study(40, 10, lost=0.1, lost_seeds=0.2)
    a, b = simulate(study, np.random.default_rng(0))
    assert 0 < np.isnan(a).mean() < 0.6
    assert (np.isnan(a) != np.isnan(b)).any()


def test_the_table_has_every_size_and_share():
    lines = list(rows(1, 0))
    assert len(lines) == 1 + len(VARIANTS) * 4
    assert all(len(line) == len(lines[0]) for line in lines)
