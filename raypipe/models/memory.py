"""Runs a batch in smaller pieces when a device's memory is full."""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from raypipe.errors import UserError

SIGNS = ("out of memory", "can't allocate memory", "bad_alloc", "_STATUS_ALLOC_FAILED")
"""In a RuntimeError's message where PyTorch has no type for it: CPU, cuBLAS, cuDNN allocators."""

UNCLEAR = "could not create a primitive"
"""oneDNN's message when the host's memory is full, but also for what it cannot compute: only a
retry with fewer pictures shows which."""

R = TypeVar("R")

log = logging.getLogger("raypipe")


class Pieces:
    """Runs a batch in pieces, of half the size after each that does not fit the memory.

    The smaller size is remembered for the batches to come.
    """

    def __init__(self, what: str, size: int | None = None):
        self.size = size
        """Most items that one piece takes; None for the whole batch."""
        self._what = what

    def __call__(self, n: int, forward: Callable[[slice], R]) -> list[R]:
        """Results of `forward` for slices that cover `n` items in order.

        Raises UserError if a single item does not fit; `what` is the message.
        """
        results: list[R] = []
        start = 0
        while start < n:
            stop = min(n, start + (self.size or n))
            result = _unless_out_of_memory(forward, slice(start, stop))
            if result is not None:
                results.append(result)
                start = stop
                continue
            # The error, and with it the tensors of the frames it held, is gone by now.
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            if stop - start == 1:
                raise UserError(self._what)
            self.size = (stop - start) // 2
            log.warning(
                "out of memory with %d at once; continuing with %d", stop - start, self.size
            )
        return results


def pieces_on(device: str, what: str, item: str = "picture") -> Pieces:
    """Pieces of batches on an actor's device; `what` is loaded there and takes items."""
    return Pieces(
        f"one {item} must fit the memory of its device, but {what} does not fit {device}: give "
        "its pool a larger part of a GPU"
    )


def _unless_out_of_memory(forward: Callable[[slice], R], piece: slice) -> R | None:
    try:
        return forward(piece)
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if is_out_of_memory(error) or (piece.stop - piece.start > 1 and UNCLEAR in str(error)):
            return None
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the host, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sign in str(error) for sign in SIGNS
    )
