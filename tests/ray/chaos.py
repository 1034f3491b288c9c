"""Random faults against a real cluster of processes, while the main job runs on it.

`python tests/ray/chaos.py --seed 1 --faults 20` starts a head and two worker nodes on this machine,
runs tests/support/stand_in.py (the main job with stages that sleep) and, whenever it has got a
little further, does one of FAULTS to it. At the end every sample must be there once, with the
bytes and vectors of an undisturbed run, and results.json must be equal to the last byte. Where the
storage is to be killed, the run is in a bucket of tests/support/s3.py.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # before others' packages named tests

from raypipe.storage import claims  # noqa: E402
from raypipe.storage.files import Folder  # noqa: E402
from tests.support import s3, stand_in_runs  # noqa: E402

ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",  # the submitted jobs' tests have it on
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
STEP = 4
"""New batches between two faults: the run must get on in spite of them."""
PATIENCE_S = 180.0
"""How long it may take to get on, with every process started anew."""


class Playground:
    """A cluster and the job on it."""

    def __init__(self, folder: Path, seed: int, seeds: int, store: s3.Proxy | None):
        self.random = random.Random(seed)
        self.folder = folder
        self.store = store
        self.output = str(folder / "run") if store is None else "s3://bucket/run"
        self.run = Folder(self.output)
        self.seeds = seeds
        self.start_cluster()
        self.start_driver()

    def start_cluster(self) -> None:
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        for _ in range(2):
            self.add_node()

    def add_node(self) -> None:
        self.cluster.add_node(num_cpus=2)

    def start_driver(self) -> None:
        self.driver = self.launch()

    def launch(self) -> subprocess.Popen:
        """The job's command; what it prints goes to driver.log."""
        tree = stand_in_runs.config(self.output, seeds=self.seeds)
        with (self.folder / "driver.log").open("a") as log:
            return stand_in_runs.start(
                tree,
                self.folder,
                *("--address", self.cluster.address),
                log=log,
                STAND_IN_SECONDS="0.4",
            )

    def batches(self) -> int:
        return len(self.run.names("images"))

    # What can happen. Each returns a line that says what was done.

    def kill_actor(self) -> str:
        """SIGKILL one process that holds a stage."""
        nodes = [self.cluster.head_node, *self.cluster.worker_nodes]
        actors = [p for node in nodes for p in _processes(node) if is_called(p, "ray::MapWorker")]
        if not actors:
            return "no actor to kill"
        victim = self.random.choice(actors)
        victim.kill()
        return f"killed actor {victim.pid}"

    def kill_node(self) -> str:
        """SIGKILL a worker node with all its processes; another one joins."""
        node = self.random.choice(sorted(self.cluster.worker_nodes, key=lambda n: n.unique_id))
        for process in _processes(node):
            _kill(process)
        self.cluster.worker_nodes.remove(node)
        self.add_node()
        return "killed a node, added another"

    def kill_driver(self) -> str:
        """SIGKILL the driver, and run the same command again."""
        self.driver.kill()
        self.driver.wait()
        self.start_driver()
        return "killed the driver, started it again"

    def signal_driver(self) -> str:
        """End the driver as Ctrl-C or a scheduler does, and run the same command again."""
        number = self.random.choice([signal.SIGINT, signal.SIGTERM])
        self.driver.send_signal(number)
        status = self.driver.wait(timeout=PATIENCE_S)
        if status == 0:  # the run came to its end meanwhile
            return "signalled the driver at the end"
        assert status == 128 + number, self.tail()
        self.start_driver()
        return f"ended the driver by {number.name}, started it again"

    def kill_head(self) -> str:
        """SIGKILL the head, and with it the cluster; resubmit to a new one."""
        for node in [self.cluster.head_node, *self.cluster.worker_nodes]:
            for process in _processes(node):
                _kill(process)
        self.driver.wait(timeout=PATIENCE_S)
        self.forget_cluster()
        self.start_cluster()
        self.start_driver()
        return "killed the head, started a new cluster and resubmitted"

    def slow_node(self) -> str:
        """Stop a node for a few seconds, as a machine that swaps or migrates would."""
        node = self.random.choice(sorted(self.cluster.worker_nodes, key=lambda n: n.unique_id))
        processes = _processes(node)
        for process in processes:
            _signal(process, signal.SIGSTOP)
        time.sleep(3)
        for process in processes:
            _signal(process, signal.SIGCONT)
        return "stopped a node for 3 s"

    def late_node(self) -> str:
        """A node joins (and stays, in place of the oldest)."""
        self.add_node()
        return "added a node"

    def second_driver(self) -> str:
        """Start the same command beside the driver, or twice at once after its SIGKILL."""
        pair = [self.driver, self.launch()]
        if self.random.random() < 0.5:
            self.driver.kill()
            self.driver.wait()
            pair = [pair[1], self.launch()]
        begun = time.monotonic()
        while all(driver.poll() is None for driver in pair):
            assert time.monotonic() - begun < PATIENCE_S, "two drivers work on one run"
            time.sleep(0.1)
        ended = next(driver for driver in pair if driver.poll() is not None)
        (self.driver,) = (driver for driver in pair if driver is not ended)
        if ended.returncode == 0:  # the run came to its end meanwhile
            return "started a second driver at the end"
        assert ended.returncode == 2, self.tail()
        assert "error: one process works on a run at a time, got another on" in self.tail()
        return f"started a second driver, which was refused beside {self.driver.pid}"

    def kill_store(self) -> str:
        """Kill the storage's server with all its connections, for a few seconds."""
        assert self.store is not None
        self.store.down(3)
        return "killed the storage for 3 s"

    def flip_bit(self) -> str:
        """One bit of a stored file of embeddings changes; its batch must be made again."""
        names = self.run.names("embeddings")
        if not names:
            return "no file to flip a bit of"
        name = f"embeddings/{self.random.choice(names)}"
        data = bytearray(self.run.read(name) or b"")
        data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        self.run.write(name, bytes(data))
        return f"flipped a bit of {name}"

    def wait_for(self, batches: int) -> None:
        """Until there are so many batches, or the job has ended."""
        begun = time.monotonic()
        while self.batches() < batches and self.driver.poll() is None:
            if time.monotonic() - begun > PATIENCE_S:
                raise TimeoutError(f"no progress at {self.batches()} batches; {self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        return "\n".join((self.folder / "driver.log").read_text().splitlines()[-15:])

    def forget_cluster(self) -> None:
        for node in [self.cluster.head_node, *self.cluster.worker_nodes]:
            for process in _processes(node):
                _kill(process)
        self.cluster.head_node = None
        self.cluster.worker_nodes.clear()

    def close(self) -> None:
        if self.driver.poll() is None:
            self.driver.kill()
        self.forget_cluster()


FAULTS: dict[str, Callable[[Playground], str]] = {
    "actor": Playground.kill_actor,
    "node": Playground.kill_node,
    "driver": Playground.kill_driver,
    "head": Playground.kill_head,
    "slow": Playground.slow_node,
    "late": Playground.late_node,
    "second": Playground.second_driver,
    "store": Playground.kill_store,
    "flip": Playground.flip_bit,
    "signal": Playground.signal_driver,
}


def seeds_for(n_faults: int) -> int:
    """Seeds of each prompt, so that the job outlasts the faults: some 16 batches for each."""
    return max(stand_in_runs.SEEDS, 2 * n_faults)


def chaos(
    seed: int, n_faults: int, kinds: list[str] | None = None, undisturbed: Path | None = None
) -> None:
    """Raises AssertionError if anything was lost, doubled or changed.

    kinds: which faults, in order; None draws them (some a third as often).
    undisturbed: a run that nothing happened to; None makes one at the end.
    """
    rng = random.Random(seed)
    kinds = kinds or rng.choices(list(FAULTS), weights=[3, 3, 1, 1, 3, 1, 1, 1, 2, 1], k=n_faults)
    seeds = seeds_for(n_faults)
    with tempfile.TemporaryDirectory() as name, _environment(), _store("store" in kinds) as store:
        folder = Path(name)
        playground = Playground(folder, seed, seeds, store)
        try:
            for number, kind in enumerate(kinds, 1):
                playground.wait_for(playground.batches() + STEP)
                at = playground.batches()
                assert playground.driver.poll() is None, f"ended before fault {number}"
                done = FAULTS[kind](playground)
                print(f"{number:>3} at {at:>4} batches: {done}", flush=True)
                assert playground.driver.poll() in (None, 0), playground.tail()
            assert playground.driver.wait(timeout=2 * PATIENCE_S) == 0, playground.tail()
            if undisturbed is None:
                undisturbed = folder / "undisturbed"
                tree = stand_in_runs.config(undisturbed, seeds=seeds)
                stand_in_runs.finish(stand_in_runs.start(tree, folder, "--local"))
            stand_in_runs.assert_same(playground.output, undisturbed)
            assert not list(folder.rglob("*.partial"))
            assert claims.FOLDER not in playground.run.entries()
        finally:
            playground.close()


@contextlib.contextmanager
def cluster(**head: int) -> Iterator[str]:
    """The address of a cluster of one node, while the block runs."""
    made = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head})
    try:
        yield made.address
    finally:
        for process in _processes(made.head_node):
            _kill(process)


@contextlib.contextmanager
def _store(is_wanted: bool) -> Iterator[s3.Proxy | None]:
    """A bucket for the run, behind a server that can be killed; None: the run is on a disk."""
    if not is_wanted:
        yield None
        return
    with s3.server() as port:
        s3.client(port).create_bucket(Bucket="bucket")
        proxy = s3.Proxy(port)
        os.environ |= {**s3.CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
        yield proxy
        proxy.close()


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """ENVIRONMENT for this process, whose children the cluster's processes are."""
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _processes(node) -> list[psutil.Process]:
    """Every process of a node: those that Ray started for it, and theirs."""
    found = []
    for infos in node.all_processes.values():
        for info in infos:
            try:
                process = psutil.Process(info.process.pid)
                found += [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
    return found


def is_called(process: psutil.Process, name: str) -> bool:
    """Whether a process that may have ended by now has this in its command line."""
    try:
        return name in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _kill(process: psutil.Process) -> None:
    _signal(process, signal.SIGKILL)


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=20)
    arguments = parser.parse_args()
    begun = time.monotonic()
    chaos(arguments.seed, arguments.faults)
    total = 2 * len(stand_in_runs.PROMPTS) * seeds_for(arguments.faults)
    print(
        f"{arguments.faults} faults, seed {arguments.seed}: all {total} samples there once, equal "
        f"to the undisturbed run; {time.monotonic() - begun:.0f} s"
    )
