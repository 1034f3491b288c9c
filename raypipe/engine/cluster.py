"""Connects to Ray, and refuses at once what the cluster can never run."""

import contextlib
import json
import os
import platform
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from raypipe import __version__
from raypipe.config.sections import Actors
from raypipe.console import leave
from raypipe.console.children import children, descendants, end
from raypipe.engine.session import Session
from raypipe.errors import UserError

ANSWER_S = 10.0
"""How long a cluster may take to accept a connection."""

LINGER_S = 3.0
"""How long a process of a local Ray may outlive its end: its agents notice it by themselves."""

_others: set[int] = set()
"""Processes below this one that have nothing to do with a local Ray."""

LAUNCHED = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` puts the cluster's config on its head."""

HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of gRPC, which a Ray cluster speaks, begins (RFC 9113, section 3.4)."""

HTTP2_SETTINGS = b"\x04"
"""Type of the frame that a server must begin with."""

Chain = Sequence[tuple[str, Actors]]
"""The pools that live at the same time, each with its key under `pools`."""


def connect(session: Session, chains: list[Chain]) -> list[str]:
    """Connect to a cluster, or start a local Ray with room for the smallest pools.

    Returns warnings. UserError where the cluster does not answer, does not fit this driver, or can
    never give what the pools ask for.
    """
    verbose = session.verbose
    if not verbose:
        os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    arguments: dict[str, Any] = {
        "logging_level": "INFO" if verbose else "ERROR",
        "log_to_driver": verbose,
    }
    address = session.address or os.environ.get("RAY_ADDRESS")
    if address:
        _check_answers(address)
        arguments["address"] = address
    else:
        arguments["address"] = "local"  # never a cluster that happens to run on this machine
        arguments["num_cpus"] = max(os.cpu_count() or 1, int(_needed(chains, "CPU")) + 1)
        arguments["include_dashboard"] = False
    _others.update(children(os.getpid()))
    try:
        _start(arguments, verbose)
        if address:
            _check_version()
        limit = _limit(ray)
        if limit is None and _autoscales():
            return []  # up to a size that it does not report
        return check_pools(chains, limit or _nodes(ray), is_limit=limit is not None)
    except BaseException:
        disconnect()
        raise


def disconnect() -> None:
    """Leave the cluster, or end the local Ray with every process of it."""
    import ray

    ours = descendants(children(os.getpid()) - _others)
    leave.doom(ours)
    try:
        ray.shutdown()
    finally:
        end(ours, LINGER_S)
        leave.doom(())


def check_pools(chains: list[Chain], capacity: list[dict[str, float]], is_limit: bool) -> list[str]:
    """Compare what the pools ask for with what the cluster can give, now or when it has grown.

    capacity: resources of every node that there is or can be. is_limit: whether there can never be
    more: then a pool that could grow beyond it is refused; else there is only a warning, since
    nodes may join. Returns the warnings.
    """
    warnings = []
    for kind in ("GPU", "CPU"):
        given = sum(node.get(kind, 0.0) for node in capacity)
        for chain in chains:
            needed = _needed([chain], kind)
            if needed > given:
                _refuse_smallest(chain, kind, needed, given)
            for name, pool in chain:
                each = _each(pool, kind)
                largest = max((node.get(kind, 0.0) for node in capacity), default=0.0)
                if each > largest:
                    raise UserError(
                        f"an actor must fit on one node, but pools.{name} asks for {each:g} {kind} "
                        f"an actor and the largest node has {largest:g}"
                    )
                if each * pool.max > given:
                    request = (
                        f"pools.{name}.max = {pool.max} asks for {each * pool.max:g} {kind}, the "
                        f"cluster can give {given:g}"
                    )
                    if is_limit:
                        raise UserError(f"{request}; set pools.{name}.max={int(given / each)}")
                    warnings.append(f"{request} now: fewer actors will run")
    return list(dict.fromkeys(warnings))


def object_store_mib() -> float | None:
    """MiB that the object stores of all nodes hold; None where Ray does not report it."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    try:
        state = get_state_from_address(ray.get_runtime_context().gcs_address)
        held = get_memory_info_reply(state).store_stats.object_store_bytes_used
    except Exception:  # of a private interface; only this figure is missing then
        return None
    return round(held / 2**20, 1)


def _start(arguments: dict[str, Any], verbose: bool) -> None:
    import ray

    address = arguments["address"]
    try:
        with contextlib.nullcontext() if verbose else _silent_stderr():
            ray.init(**arguments)
        leave.listen()  # Ray has put handlers of its own in place
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address == "local":
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"no Ray cluster can be used at {address}: {reason}") from None
    except OSError as error:
        raise UserError(
            f"Ray must be able to keep its files in RAY_TMPDIR, TMPDIR or /tmp: {error}"
        ) from None


def _refuse_smallest(chain: Chain, kind: str, needed: float, given: float) -> None:
    asking = [(name, pool) for name, pool in chain if _each(pool, kind)]
    requests = " + ".join(f"{name} {pool.min} × {_each(pool, kind):g}" for name, pool in asking)
    if kind == "GPU" and not given:
        raise UserError(
            f"the pools ask for GPUs ({requests}), but the cluster has none and cannot add any; "
            + " ".join(f"pools.{name}.gpus_per_actor=0" for name, _ in asking)
            + " runs them on CPUs"
        )
    raise UserError(
        f"the pools' smallest size needs {needed:g} {kind} ({requests}), the cluster can give "
        f"{given:g}"
    )


def _needed(chains: list[Chain], kind: str) -> float:
    """The most of a resource that the smallest pools of any chain hold at once."""
    return max(
        (sum(pool.min * _each(pool, kind) for _, pool in chain) for chain in chains),
        default=0.0,
    )


def _each(pool: Actors, kind: str) -> float:
    return pool.gpus_per_actor if kind == "GPU" else pool.cpus_per_actor


def _nodes(ray: Any) -> list[dict[str, float]]:
    """Resources of the nodes that there are."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _limit(ray: Any) -> list[dict[str, float]] | None:
    """Resources of every node that the autoscaler may start; None without one, or without limit."""
    groups = [
        (dict(group.resources), group.max_count)
        for group in getattr(
            ray._private.state.state.get_cluster_config(), "node_group_configs", ()
        )
    ] or _launched_groups()
    if not groups or any(count < 0 for _, count in groups):
        return None
    nodes = [resources for resources, count in groups for _ in range(count)]
    heads = [resources for resources in _nodes(ray) if "node:__internal_head__" in resources]
    return nodes + heads


def _launched_groups() -> list[tuple[dict[str, float], int]]:
    """Node types and how many there may be, from the file that `ray up` leaves on the head.

    The first version of Ray's autoscaler reports its limits nowhere else.
    """
    try:
        config = yaml.safe_load(LAUNCHED.expanduser().read_text())
        return [
            (kind["resources"], int(kind["max_workers"]))
            for kind in config["available_node_types"].values()
        ]
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return []


def _autoscales() -> bool:
    """Whether an autoscaler manages the cluster: without one, nodes have no types."""
    from ray.experimental.internal_kv import _internal_kv_get

    try:
        status = json.loads(_internal_kv_get("__autoscaling_status") or b"{}")
        kinds = status["autoscaler_report"]["active_nodes"]
    except (ValueError, KeyError, TypeError):
        return False
    return any(not kind.startswith("node_") for kind in kinds)


def _check_answers(address: str) -> None:
    """UserError at once for an address where nothing answers: Ray itself would wait."""
    if address == "auto":  # what `ray start` has noted on this node, and may have left behind
        address = os.environ.get("RAY_ADDRESS") or _noted_address() or address
    if address in ("auto", "local") or os.environ.get("RAY_USE_TLS") == "1":
        return
    host, _, port = address.rpartition(":")
    if address.startswith("ray://") or not host or not port.isdecimal():
        raise UserError(
            "a cluster's address must be HOST:PORT of its head, or auto on one of its nodes, got "
            f"{address}; from elsewhere, use `ray job submit`"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
            connection.sendall(HTTP2_HELLO)
            answer = connection.recv(9, socket.MSG_WAITALL)
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address}: {error}") from None
    if answer[3:4] != HTTP2_SETTINGS:
        raise UserError(f"no Ray cluster answers at {address}: it is something else")


def _noted_address() -> str | None:
    """The address that `auto` stands for here; None where Ray has noted none."""
    from ray._common.utils import get_default_ray_temp_dir

    note = Path(get_default_ray_temp_dir()) / "ray_current_cluster"
    try:
        return note.read_text().strip() or None
    except (OSError, ValueError):
        return None


def _check_version() -> None:
    """UserError unless workers have the raypipe that this driver has."""
    import ray

    def installed() -> str:  # nested, so that it is sent whole and not by the package's name
        import raypipe

        return str(raypipe.__version__)

    try:
        found = ray.get(ray.remote(installed).options(num_cpus=0).remote())
    except ray.exceptions.RayTaskError as error:
        reason = str(error.cause or error).splitlines()[-1]
        raise UserError(
            f"the cluster must have raypipe {__version__} installed, or get it with "
            f"`ray job submit --working-dir .`: {reason}"
        ) from None
    if found != __version__:
        raise UserError(
            f"driver and cluster must have the same raypipe, but here is {__version__} and there "
            f"{found} (Python {platform.python_version()})"
        )


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ core announces its log level on stderr, past Python; errors come as exceptions."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
