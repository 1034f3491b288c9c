"""A training of the face LoRA in a process of its own: `train_lora.py CONFIG RANK WORLD PORT`.

CONFIG is JSON, and what it trains on is encoded already. With WORLD above 1 the processes form a
gloo group on PORT. Prints where the time of the steps went, as JSON: seconds by part.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from raypipe.storage.files import Folder
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.studies.face_lora.task import CRITERION, FaceLoraTask
from raypipe.training.loop import Trainer
from tests.support import processes

WARM_UP = 1
"""Steps that are not counted."""


class TimedTrainer(Trainer):
    """Adds up the seconds of each part of a step; a part may hold another, which is not its own."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.seconds: Counter[str] = Counter()
        self._inner = 0.0
        self.task.losses = self._timed("forward", self.task.losses)
        self.optimiser.step = self._timed("optimiser", self.optimiser.step)
        self._forward_backward = self._timed("backward", self._forward_backward)
        summed = self._timed("all-reduce", self.group.sum)
        object.__setattr__(self.group, "sum", summed)  # a frozen dataclass

    def _timed(self, part: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            started = time.perf_counter()
            result = action(*arguments)
            took = time.perf_counter() - started
            self.seconds[part] += took - self._inner
            self._inner = outer + took
            return result

        return timed

    def _read_ahead(self, first: int, reader: Any) -> Iterator[Any]:
        read = super()._read_ahead(first, reader)
        following = self._timed("data", lambda: next(read, None))
        while (work := following()) is not None:
            yield work

    def _step(self, step: int, work: Any) -> dict[str, float]:
        if step == WARM_UP:
            self.seconds.clear()
        return self._timed("other", super()._step)(step, work)


if __name__ == "__main__":
    config = FaceLora.model_validate_json(sys.argv[1])
    group = processes.join(*sys.argv[2:])
    task = FaceLoraTask(config, config.output, "cpu")
    trainer = TimedTrainer(
        task, config.training, Folder(config.output), best=CRITERION, group=group
    )
    trainer.run()
    if group.rank == 0:
        print(json.dumps(trainer.seconds))
