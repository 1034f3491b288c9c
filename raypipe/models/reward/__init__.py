"""ImageReward and Face Score: the network, its files, and how pictures are scored by it."""

from raypipe.models.reward.network import load_upstream_state_dict

__all__ = ["load_upstream_state_dict"]
