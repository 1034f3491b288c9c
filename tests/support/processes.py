"""Workers of a training, as processes of their own."""

import os
import subprocess
import sys
from typing import Any

import torch
import torch.distributed as dist

from raypipe.training.group import Group
from tests.support import ROOT, free_port


def start(script: str, *arguments: Any, world: int = 1, **pipes: Any) -> list[subprocess.Popen]:
    """`python SCRIPT ARGUMENTS... RANK WORLD PORT`, for each rank; on one thread each."""
    port = free_port()
    pipes = {"stdout": subprocess.DEVNULL, "text": True} | pipes
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [sys.executable, script, *map(str, (*arguments, rank, world, port))],
            cwd=ROOT,
            env=environment,
            **pipes,
        )
        for rank in range(world)
    ]


def join(*place: str) -> Group:
    """The group that such a process belongs to: RANK, WORLD and PORT as they were given."""
    rank, world, port = map(int, place)
    torch.set_num_threads(1)
    if world > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    return Group(rank, world)
