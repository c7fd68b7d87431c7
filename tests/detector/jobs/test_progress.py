import pytest

from detector.jobs import progress as module
from detector.jobs.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set, so that no test waits."""

    class Clock:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_without_a_terminal_a_line_now_and_then_tells_speed_and_time_left(clock, capsys):
    with Progress.shown("train", 10_000) as progress:
        progress.advance(100)
        assert not capsys.readouterr().err
        clock.now_s += 40
        progress.advance(1_900, "loss 0.5")
    line = " ".join(capsys.readouterr().err.split())
    assert line == "train: 2,000/10,000 images, 50 images/s loss 0.5, 3 min left"


def test_what_an_earlier_run_did_counts_as_done_and_not_as_speed(clock, capsys):
    with Progress.shown("train", 10_000, done=9_000) as progress:
        clock.now_s += 50
        progress.advance(500)
    line = " ".join(capsys.readouterr().err.split())
    assert line.startswith("train: 9,500/10,000 images, 10 images/s")


def test_a_quiet_progress_shows_nothing(clock, capsys):
    with Progress.shown("train", 100, quiet=True) as progress:
        clock.now_s += 60
        progress.advance(10)
    assert capsys.readouterr().err == ""
