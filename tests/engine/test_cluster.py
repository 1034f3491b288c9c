"""What a cluster can never do is refused at once; a cluster that does not answer, soon."""

import socket
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from raypipe.config.sections import Pool
from raypipe.engine import cluster
from raypipe.engine.cluster import check_pools
from raypipe.errors import UserError
from tests.support import free_port
from tests.support.mistakes import mistake

GPU_NODE = {"CPU": 8.0, "GPU": 1.0}
CPU_NODE = {"CPU": 4.0}


def chain(**pools):
    return [[(name, Pool(**pool)) for name, pool in pools.items()]]


def test_what_fits_is_taken_without_a_word():
    chains = chain(
        generate={"min": 1, "max": 2, "gpus_per_actor": 0.9, "cpus_per_actor": 2},
        embed={"max": 2, "gpus_per_actor": 0.1},
    )
    assert check_pools(chains, [GPU_NODE, GPU_NODE, CPU_NODE], is_limit=True) == []


def test_a_gpu_pool_on_a_cluster_without_gpus():
    told = mistake(
        check_pools, chain(generate={"gpus_per_actor": 0.5}, embed={}), [CPU_NODE], False
    )
    assert told.startswith("the pools ask for GPUs (generate 1 × 0.5), but the cluster has none")
    assert "pools.generate.gpus_per_actor=0" in told


def test_pools_that_live_together_must_fit_together():
    both = chain(generate={"cpus_per_actor": 3}, embed={"cpus_per_actor": 2})
    told = mistake(check_pools, both, [CPU_NODE], False)
    assert told == (
        "the pools' smallest size needs 5 CPU (generate 1 × 3 + embed 1 × 2), "
        "the cluster can give 4"
    )
    one_after_the_other = [[part] for part in both[0]]
    assert check_pools(one_after_the_other, [CPU_NODE], is_limit=False) == []


def test_an_actor_must_fit_on_one_node():
    told = mistake(check_pools, chain(generate={"cpus_per_actor": 6}), [CPU_NODE] * 2, True)
    assert told.startswith("an actor must fit on one node, but pools.generate asks for 6 CPU")
    assert told.endswith("the largest node has 4")


def test_a_pool_that_can_never_grow_to_its_largest_size():
    wide = chain(generate={"max": 8, "gpus_per_actor": 0.9})
    told = mistake(check_pools, wide, [GPU_NODE, GPU_NODE], True)
    assert told == (
        "pools.generate.max = 8 asks for 7.2 GPU, the cluster can give 2; set pools.generate.max=2"
    )
    warnings = check_pools(wide, [GPU_NODE, GPU_NODE], is_limit=False)
    assert warnings == [
        "pools.generate.max = 8 asks for 7.2 GPU, the cluster can give 2 now: fewer actors will run"
    ]


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "somewhere", "host:port", ""])
def test_an_address_that_is_none(address):
    told = mistake(cluster._check_answers, address)
    assert "address must be HOST:PORT of its head, or auto" in told


def test_a_port_that_nothing_listens_at():
    address = f"127.0.0.1:{free_port()}"
    told = mistake(cluster._check_answers, address)
    assert f"no Ray cluster answers at {address}: " in told
    assert "refused" in told


def test_a_server_of_something_else():
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="it is something else"):
            cluster._check_answers(f"127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_cluster_that_takes_the_call_and_says_nothing(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)
    with socket.socket() as stopped:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()
        with pytest.raises(UserError, match=r"no Ray cluster answers at .*: timed out"):
            cluster._check_answers(f"127.0.0.1:{stopped.getsockname()[1]}")
