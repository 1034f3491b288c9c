"""One run of the main job on simulated GPUs: what Ray and the driver cost, without a picture made.

`python tests/benchmarks/scale_run.py SLOTS SAMPLES BATCH SECONDS` plans SAMPLES samples of a
miniature model, as the job does, and sends them through SLOTS actors of one (logical) GPU each,
which sleep SECONDS a batch while they hold their device and answer with pictures out of a few
hundred encoded ones. Pictures and embeddings are stored, surveyed, scored and reported for real.
Prints one JSON object.
"""

import json
import os
import resource
import sys
import tempfile
import threading
import time
import uuid
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from raypipe import study
from raypipe.plan import batches, make_plan
from raypipe.report import page
from raypipe.run import Run
from raypipe.settings import Consistency, Storage
from raypipe.stages import fill, score
from raypipe.stages.embed import columns, file_name, stored_embeddings
from raypipe.stages.images import encode, image_columns, stored_images
from raypipe.stages.stage import Device, Step

SEEDS, DIM, PICTURES, SIDE = 20, 512, 300, 192


class SleepingGenerator:
    """Holds its device for a while, and answers with pictures that were encoded before."""

    reads = ("sample_id", "seed")
    drops = ("prompt_sent", "source", "width", "height", "device")

    def __init__(self, seconds: float, folder: str):
        self.device = Device()
        self._seconds = seconds
        rng = np.random.default_rng(0)
        noise = rng.random((PICTURES, SIDE, SIDE, 3), dtype=np.float32)
        self._pictures = [encode(picture, Storage()) for picture in noise]
        self._log = Path(folder) / uuid.uuid4().hex

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self.device:
            started = time.time()
            time.sleep(self._seconds)
            with self._log.open("a") as log:
                log.write(f"{started} {time.time()}\n")
        made = [self._pictures[int(i, 16) % PICTURES] for i in batch["sample_id"].to_pylist()]
        return image_columns(made, [False] * len(made), "simulated")


class InstantEncoder:
    """A unit vector for each picture, out of its sample's id."""

    reads = ("sample_id",)
    drops = ("image",)

    def __init__(self, config: Consistency):
        self.device = Device()
        self._columns = columns(config.encoder[0])

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self.device:
            seeds = [int(i[:8], 16) for i in batch["sample_id"].to_pylist()]
            vectors = [np.random.default_rng(s).normal(1, 1, DIM).astype(np.float32) for s in seeds]
            vectors = [vector / np.linalg.norm(vector) for vector in vectors]
        embedding, clip_score = self._columns
        return pa.table(
            {
                embedding: pa.array(vectors, pa.list_(pa.float32())),
                clip_score: pa.nulls(len(batch), pa.float32()),
            }
        )


def main(slots: int, n_samples: int, batch_size: int, seconds: float) -> None:
    """Run it, and print what it took."""
    import ray

    with tempfile.TemporaryDirectory() as folder:
        config = _config(folder, slots, n_samples // SEEDS, batch_size)
        logs = Path(folder) / "slots"
        logs.mkdir()
        run = Run(config.output)
        plan = make_plan(config)
        run.begin(config, plan.encoders)
        run.add_samples(batches(plan.samples, config, 0), 0)
        work = fill.missing(run, config)
        steps = _steps(config, seconds, str(logs))
        planned_mib = _peak_mib()
        ray.init(
            num_gpus=slots, num_cpus=slots, include_dashboard=False, logging_level="ERROR",
            log_to_driver=False, object_store_memory=2 * 2**30,
        )  # fmt: skip
        peaks = _Peaks()
        cpu = time.process_time()
        started = time.time()
        fill.work_through(run, [(work.parts["generate"], steps)])
        seconds_ray, cpu = time.time() - started, time.process_time() - cpu
        after_mib = _peak_mib()
        samples = run.samples()
        known = score.survey(run, samples)
        results, scores = study.evaluate(run, config, plan, samples, known)
        manifest = study.manifest(config, plan, known, samples, 0.0)
        pictures = study.thumbnails(run, config, samples)
        page.render(results, scores, manifest, pictures, quarantined=known.failed, max_prompts=4)
        print(
            json.dumps(
                {
                    "slots": slots,
                    "samples": len(samples),
                    "batches": len(set(samples["batch_id"].to_pylist())),
                    **_busy(logs, slots),
                    "ray_s": round(seconds_ray, 1),
                    "driver_cpu_s": round(cpu, 1),
                    "driver_mib": {
                        "planned": planned_mib, "after_ray": after_mib, "end": _peak_mib()
                    },
                    "object_store_mib": round(peaks.bytes / 2**20, 1),
                    "bytes_a_sample": round(_bytes(Path(config.output)) / len(samples)),
                }
            )
        )  # fmt: skip


def _config(folder: str, slots: int, prompts: int, batch_size: int) -> Consistency:
    tree = {
        "models": [{"name": "stand-in", "id": "miniature/sdxl"}],
        "prompts": [f"prompt number {i} of a list of many prompts" for i in range(prompts)],
        "seeds": SEEDS,
        "encoder": {"id": "miniature/clip"},
        "pools": {
            "generate": {
                "min": slots, "max": slots, "gpus_per_actor": 1, "cpus_per_actor": 0.5,
                "batch_size": batch_size,
            },
            "embed": {"min": 1, "max": 2, "cpus_per_actor": 0.5},
        },
        "output": f"{folder}/run",
    }  # fmt: skip
    file = Path(folder) / "prompts.txt"
    file.write_text("\n".join(tree["prompts"]))
    return Consistency.model_validate({**tree, "prompts": str(file)})


def _steps(config: Consistency, seconds: float, logs: str) -> list[Step]:
    pools, encoder, uri = config.pools, config.encoder[0], config.output
    return [
        Step(
            "generate", partial(SleepingGenerator, seconds, logs), pools.generate, uri,
            "images/{batch_id}.parquet", stored_images,
        ),
        Step(
            "embed", partial(InstantEncoder, config), pools.embed, uri,
            file_name(encoder, "{batch_id}"), partial(stored_embeddings, encoder),
        ),
    ]  # fmt: skip


def _busy(logs: Path, slots: int) -> dict[str, float]:
    """Busy share of the slots, while all of them could be: from the last slot's first batch to the
    first slot's last one; and over the whole time from the first batch to the last."""
    spans = [np.loadtxt(path, ndmin=2) for path in logs.iterdir()]
    first, last = min(s[0, 0] for s in spans), max(s[-1, 1] for s in spans)
    start, end = max(s[0, 0] for s in spans), min(s[-1, 1] for s in spans)
    clipped = [np.clip(s, start, end) for s in spans]
    steady = sum(float((s[:, 1] - s[:, 0]).sum()) for s in clipped)
    whole = sum(float((s[:, 1] - s[:, 0]).sum()) for s in spans)
    return {
        "slots_used": len(spans),
        "steady_s": round(end - start, 1),
        "steady_busy": round(steady / (slots * (end - start)), 4),
        "whole_s": round(last - first, 1),
        "whole_busy": round(whole / (slots * (last - first)), 4),
    }


class _Peaks:
    """Looks at the object store now and then."""

    def __init__(self) -> None:
        self.bytes = 0
        self._address = __import__("ray").get_runtime_context().gcs_address
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        from ray._private.internal_api import get_memory_info_reply, get_state_from_address

        state = get_state_from_address(self._address)
        while True:
            try:
                stats = get_memory_info_reply(state).store_stats
            except Exception:  # Ray has been left
                return
            self.bytes = max(self.bytes, stats.object_store_bytes_used)
            time.sleep(1)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)


if __name__ == "__main__":
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    slots, n_samples, batch_size, seconds = sys.argv[1:]
    main(int(slots), int(n_samples), int(batch_size), float(seconds))
