"""What a person sees while a run works."""

import io
import time

from raypipe.engine.progress import Display, clock

UNITS = {"generate": "images", "embed": "rows"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_last_counts_are_shown(capsys):
    with Display({"generate": 40, "embed": 40}, UNITS, lambda: {"generate": 40, "embed": 10}):
        pass
    *_, generate, embed = capsys.readouterr().err.splitlines()
    assert generate.startswith("generate")
    assert "40/40 images" in generate
    assert "left" not in generate
    assert "10/40 rows" in embed
    assert embed.endswith("left")


def test_a_terminal_is_drawn_over_and_a_step_that_waits_says_so(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("raypipe.engine.progress.EVERY_S", 0.01)
    with Display({"generate": 4, "embed": 4}, UNITS, lambda: {"generate": 2}):
        while terminal.getvalue().count("\n") < 4:
            time.sleep(0.01)
    shown = terminal.getvalue()
    assert "\x1b[2F" in shown  # two lines up
    assert "embed      ░░░░░░░░░░░░░░░░░░░░" in shown
    assert "starting" in shown


def test_a_cluster_that_goes_down_does_not_hide_its_own_error(capsys):
    def counts():
        raise RuntimeError("the actor is gone")

    with Display({"generate": 4}, UNITS, counts):
        pass
    assert capsys.readouterr().err == ""


def test_times_are_read_at_a_glance():
    assert [clock(s) for s in (0, 59.6, 61, 3600)] == ["0:00", "1:00", "1:01", "1:00:00"]
