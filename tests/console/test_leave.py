"""Commands as a terminal runs them: real processes, real signals, at the moments that matter."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support import ROOT
from tests.support.jobs import wait_for

ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}


def default_signals() -> None:
    """What a shell's foreground has; a test runner in the background may ignore SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(*command: str | Path, **environment: str) -> subprocess.Popen:
    """`python COMMAND ...` of the checkout, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",  # what a Latin-1 terminal gets
        start_new_session=True,
        preexec_fn=default_signals,
    )


def wait(process: subprocess.Popen, moment: Callable[[subprocess.Popen], bool]) -> None:
    """Wait for a moment of a process that runs."""
    wait_for(lambda: moment(process), process, seconds=120, pause=0.005)


def assert_left(process: subprocess.Popen, number: int) -> None:
    """Ended by the signal, with its line and nothing else but progress, libraries' own too."""
    _, err = process.communicate(timeout=60)
    status, word = ENDS[number]
    assert process.returncode == status, err
    others = err.splitlines()
    others.remove(f"{word}; the same command goes on from here")  # progress may come behind it
    for line in filter(str.strip, others):
        assert line.split()[0] in ("encode", "generate", "embed", "step", "Loading"), err


def assert_interruptible(code: str) -> None:
    """Ctrl-C ends a process of this code, which prints `now` when it is to come, with its line."""
    process = start("-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    assert_left(process, signal.SIGINT)


def loaded(library: str) -> Callable[[subprocess.Popen], bool]:
    """Whether a process has loaded a library whose file's name holds a word."""

    def moment(process: subprocess.Popen) -> bool:
        try:
            return library in Path(f"/proc/{process.pid}/maps").read_text()
        except OSError:
            return False

    return moment


def there(path: Path, pattern: str) -> Callable[[subprocess.Popen], bool]:
    """Whether a file is there."""
    return lambda _: any(path.glob(pattern))


@pytest.fixture
def config(tmp_path):
    """A study of the miniature models that takes a minute."""
    tree = {
        "models": [{"name": "m", "id": "miniature/sdxl"}],
        "prompts": ["a red ball", "a blue box", "a green ring"],
        "seeds": 30,
        "sampler": {"steps": 10, "width": 64, "height": 64},
        "encoder": {"id": "miniature/clip"},
        "pools": {"generate": {"batch_size": 4}},
        "output": str(tmp_path / "run"),
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("number", list(ENDS), ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("library", ["", "pydantic_core", "libarrow", "libtorch_cpu"])
def test_a_signal_while_importing_gets_its_line(config, number, library):
    process = start("jobs/consistency.py", config, "--local")
    wait(process, loaded(library) if library else listening)
    process.send_signal(number)
    assert_left(process, number)


def listening(process: subprocess.Popen) -> bool:
    """Whether a process has a handler for SIGTERM, as it has from its first imports on."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", list(ENDS), ids=["SIGINT", "SIGTERM"])
def test_a_signal_in_the_middle_of_a_local_run(config, tmp_path, number):
    process = start("jobs/consistency.py", config, "--local")
    wait(process, there(tmp_path, "run/images/*"))
    process.send_signal(number)
    assert_left(process, number)
    assert not (tmp_path / "run" / "manifest.json").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_main_thread_that_hears_nothing_is_ended_with_its_children():
    """A second signal ends at once what the first did not."""
    code = """
import ctypes, subprocess, sys
from raypipe.console import leave
def deaf():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    while True:
        try:
            ctypes.CDLL(None).sleep(600)
        except BaseException:
            pass
leave.run(deaf)
"""
    process = start("-c", code)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    for _ in range(2):
        time.sleep(0.7)  # two within half a second are one
        process.send_signal(signal.SIGTERM)
    assert_left(process, signal.SIGTERM)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_children_end_with_a_command_that_a_signal_ends():
    code = """
import subprocess, sys
from raypipe.console import leave
def body():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    child.wait()
leave.run(body)
"""
    process = start("-c", code)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    process.send_signal(signal.SIGTERM)
    assert_left(process, signal.SIGTERM)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


@pytest.mark.parametrize(
    "swallow",
    [
        "class Deaf:\n    def __del__(self): wait()\nDeaf()",
        "try: wait()\nexcept BaseException: pass",
        "try: wait()\nexcept BaseException: raise ImportError('numpy could not be loaded')",
        "try: wait()\nexcept BaseException: sys.exit(0)",
        "wait()",
    ],
)
def test_whatever_an_interrupt_becomes_the_line_is_the_same(swallow):
    code = f"""
import sys, time
from raypipe.console import leave
def wait():
    print("now", flush=True)
    time.sleep(60)
def body():
    exec({swallow!r}, globals())
leave.run(body)
"""
    assert_interruptible(code)


def test_a_signal_after_the_end_is_told_too():
    code = """
import atexit, time
from raypipe.console import leave
def late():
    print("now", flush=True)
    time.sleep(60)
atexit.register(late)
leave.run(lambda: None)
"""
    assert_interruptible(code)


def test_nohup_is_heeded():
    code = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from raypipe.console import leave
leave.run(lambda: os.kill(os.getpid(), signal.SIGHUP))
"""
    process = start("-c", code)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("words", [["--help"], ["nothing"], ["consistency", "--help"]])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_where_nobody_reads_there_is_no_traceback(words, stream):
    reading, writing = os.pipe()
    os.close(reading)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    done = subprocess.run(
        [sys.executable, "-m", "raypipe", *words], cwd=ROOT, text=True, check=False, **pipes
    )
    os.close(writing)
    assert done.returncode == (2 if words == ["nothing"] else 0)
    assert "Traceback" not in (done.stderr or "")
    assert "BrokenPipe" not in (done.stderr or "")


def test_a_result_that_is_lost_is_told():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "raypipe", "--help"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_plain_terminal_gets_plain_characters(config, encoding):
    tree = yaml.safe_load(config.read_text()) | {"prompts": ["ein Bär … 😀"]}
    config.write_text(yaml.safe_dump(tree, allow_unicode=True), "utf-8")
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment = {**locale, "PYTHONIOENCODING": encoding}
    process = start("jobs/consistency.py", config, "--dry-run", **environment)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "1 prompts x 30 seeds" in err.replace("\udcd7", "x")
    words = ascii("é × → … 😀")  # nor can such a locale's command line hold them
    code = f"from raypipe.console import leave, message; leave.run(lambda: message({words}))"
    process = start("-c", code, **environment)
    told = process.communicate(timeout=60)[1]
    assert (
        told
        == {
            "latin-1": "\udce9 \udcd7 -> ... \\U0001f600\n",
            "ascii": "\\xe9 x -> ... \\U0001f600\n",
        }[encoding]
    )


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TMPDIR": "/proc/nothing", "RAY_TMPDIR": "/proc/nothing"}, "Ray must be able to keep"),
        ({"RAY_TMPDIR": "/dev/null/x"}, "Ray must be able to keep its files in RAY_TMPDIR"),
    ],
)
@pytest.mark.ray
def test_a_place_that_ray_cannot_write_gets_one_line(config, variables, told):
    process = start("jobs/consistency.py", config, **variables)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert told in err


@pytest.mark.slow
def test_a_home_that_cannot_be_written_stops_no_run(config):
    tree = yaml.safe_load(config.read_text()) | {"prompts": ["a red ball"], "seeds": 2}
    config.write_text(yaml.safe_dump(tree))
    homeless = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache"}
    process = start("jobs/consistency.py", config, "--local", "sampler.steps=1", **homeless)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert out.splitlines()[-1] == tree["output"]


def test_a_cache_that_cannot_be_written_gets_one_line():
    """And what is not the machine's refusal has its traceback."""
    code = """
import pathlib
from raypipe.console import leave
leave.run(lambda: pathlib.Path("/dev/null/cache").mkdir())
"""
    process = start("-c", code)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == (
        "error: the machine refuses: /dev/null/cache: Not a directory; the same command goes on "
        "when that is mended\n"
    )
    process = start("-c", code.replace('"/dev/null/cache"', '"/nowhere/cache"'))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "FileNotFoundError" in err  # ours to mend, so with its traceback
