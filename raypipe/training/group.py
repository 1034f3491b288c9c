"""The processes that train together; there may be only one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Group:
    """One process's place among those that train; sums and lists over all of them."""

    rank: int = 0
    world: int = 1

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace float32 tensors by their sums over all processes, as one message."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def gather(self, item: Any) -> list[Any]:
        """Every process's item, by rank."""
        if self.world == 1:
            return [item]
        items: list[Any] = [None] * self.world
        dist.all_gather_object(items, item)
        return items

    def means(self, share: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """Means by name over every process's (sum, count); a name that nothing was counted of has
        none."""
        sums: dict[str, list[float]] = {}
        for name, (total, count) in (item for one in self.gather(share) for item in one.items()):
            before = sums.get(name, [0.0, 0.0])
            sums[name] = [before[0] + total, before[1] + count]
        return {name: total / count for name, (total, count) in sums.items() if count}

    def same(self, item: Any) -> Any:
        """The first process's item, for all."""
        if self.world == 1:
            return item
        items = [item]
        dist.broadcast_object_list(items)
        return items[0]
