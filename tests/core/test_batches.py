"""Rows of a step: a function of seed and step, shared out without loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.batches import Batches


@given(
    st.integers(1, 40), st.integers(1, 16), st.integers(1, 16), st.integers(0, 5), st.integers(1, 6)
)
def test_workers_share_a_step_without_loss(n_rows, batch, micro, step, world):
    batches = Batches(n_rows, batch, min(micro, batch), seed=3)
    rows = batches.rows(step)
    assert len(rows) == batch
    shares = [batches.share(step, rank, world) for rank in range(world)]
    pieces = {seed: piece for share in shares for seed, piece in share}
    alone = batches.share(step, 0, 1)
    assert [seed for seed, _ in alone] == [s for s in dict(alone) if s in pieces]
    assert len(pieces) == sum(map(len, shares)) == len(alone)
    assert np.array_equal(np.concatenate([pieces[seed] for seed, _ in alone]), rows)


def test_every_epoch_sees_every_row_once_in_an_order_of_its_own():
    batches = Batches(n_rows=12, batch=5, micro=2, seed=0)
    seen = np.concatenate([batches.rows(step) for step in range(24)]).reshape(10, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in seen)
    assert len({tuple(epoch) for epoch in seen}) == 10
    assert batches.epoch(12) == 5.0


def test_seeds_of_micro_batches_differ():
    batches = Batches(n_rows=9, batch=6, micro=2, seed=7)
    seeds = [seed for step in range(50) for seed, _ in batches.share(step, 0, 1)]
    assert len(set(seeds)) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)
    other = Batches(n_rows=9, batch=6, micro=2, seed=8)
    assert not set(seeds) & {seed for step in range(50) for seed, _ in other.share(step, 0, 1)}


@pytest.mark.parametrize(
    ("n_rows", "batch", "micro"), [(0, 1, 1), (3, 2, 3), (3, 2, 0)], ids=["empty", "large", "none"]
)
def test_what_cannot_be_is_refused(n_rows, batch, micro):
    with pytest.raises(ValueError, match="got"):
        Batches(n_rows, batch, micro, seed=0)
