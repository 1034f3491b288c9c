"""Which rows a training step sees: a function of (seed, step) and of nothing else.

So a run that is resumed, or that goes on with fewer workers, sees what an undisturbed one would
have seen. A global batch is cut into micro-batches of a fixed size, and those are what workers
share: the random numbers of dropout and the like belong to a micro-batch, not to a worker.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batches:
    """The batches of a training over a table of `n_rows` rows.

    Every epoch is a permutation of its own; batches run across its end, so that all have the same
    size. Raises ValueError unless 1 ≤ micro ≤ batch and there is a row.

    >>> Batches(n_rows=3, batch=2, micro=1, seed=0).epoch(step=3)
    2.0
    """

    n_rows: int
    batch: int
    """Rows in a step, whatever the number of workers."""
    micro: int
    """Rows in one forward pass."""
    seed: int

    def __post_init__(self) -> None:
        if self.n_rows < 1:
            raise ValueError(f"there must be a row to train on, got {self.n_rows}")
        if not 1 <= self.micro <= self.batch:
            raise ValueError(
                f"a micro-batch must hold from 1 to {self.batch} rows (the batch), got {self.micro}"
            )

    def epoch(self, step: int) -> float:
        """How often the table has been seen before this step."""
        return step * self.batch / self.n_rows

    def rows(self, step: int) -> np.ndarray:
        """Rows (batch,) of a step, int64."""
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, within = np.divmod(places, self.n_rows)
        rows = np.empty(self.batch, np.int64)
        for epoch in np.unique(epochs):
            order = np.random.default_rng([self.seed, int(epoch)]).permutation(self.n_rows)
            here = epochs == epoch
            rows[here] = order[within[here]]
        return rows

    def share(self, step: int, rank: int, world: int) -> list[tuple[int, np.ndarray]]:
        """(seed, rows) of the micro-batches that one of `world` workers takes.

        All have `micro` rows, but the last one of a step may have fewer.
        """
        rows, count = self.rows(step), -(-self.batch // self.micro)
        return [
            (self._seed_of(step, index), rows[index * self.micro : (index + 1) * self.micro])
            for index in range(rank, count, world)
        ]

    def _seed_of(self, step: int, index: int) -> int:
        """Seed of a micro-batch's own random numbers, 63 bits."""
        words = np.random.SeedSequence([self.seed, step, index, 1]).generate_state(1, np.uint64)
        return int(words[0] >> 1)
