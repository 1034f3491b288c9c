"""A training of the face LoRA in a process of its own: `train_lora.py CONFIG RANK WORLD PORT`.

CONFIG is JSON, and what it trains on is encoded already. With WORLD above 1 the processes form a
gloo group on PORT.
"""

import sys

import torch
import torch.distributed as dist

from raypipe.files import Folder
from raypipe.lora_settings import FaceLora
from raypipe.train.face_lora import CRITERION, FaceLoraTask
from raypipe.train.group import Group
from raypipe.train.loop import Trainer

if __name__ == "__main__":
    config = FaceLora.model_validate_json(sys.argv[1])
    rank, world, port = map(int, sys.argv[2:])
    torch.set_num_threads(1)
    if world > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    task = FaceLoraTask(config, config.output, "cpu")
    group = Group(rank, world)
    Trainer(task, config.training, Folder(config.output), best=CRITERION, group=group).run()
