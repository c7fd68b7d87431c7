"""A server as a process: whatever goes wrong with it is one clear error, and it is gone after."""

from __future__ import annotations

import pytest

from service.errors import StartError
from service.local_server import local_server

# Stands for `offpath serve`: writes its addresses, then does what is left of the program.
_READY = """
import json, os, pathlib, signal, sys, time
folder = sys.argv[sys.argv.index("--ready-file") + 1]
temporary = pathlib.Path(folder + ".part")
temporary.write_text(json.dumps({"address": "127.0.0.1:1", "metrics_url": "http://127.0.0.1:2"}))
"""
_WAIT = """
temporary.rename(folder)
time.sleep(100)
"""
_OBEDIENT = _READY + "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))" + _WAIT
_FAILING = _READY + "signal.signal(signal.SIGTERM, lambda *_: os._exit(3))" + _WAIT
_DEAF = _READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN)" + _WAIT


def test_a_server_is_ready_inside_the_context_and_gone_after_it() -> None:
    with local_server(program=["-c", _OBEDIENT]) as server:
        assert server.address == "127.0.0.1:1"
        assert server.process.poll() is None
    assert server.process.returncode == 0


def test_a_server_that_does_not_start_gives_its_last_line() -> None:
    program = ["-c", "import sys; print('Error: no room here'); sys.exit(2)"]
    with pytest.raises(StartError, match=r"^no room here$"), local_server(program=program):
        pass


def test_a_server_that_does_not_stop_is_killed_and_one_clear_error() -> None:
    with (
        pytest.raises(StartError, match="still running"),
        local_server(program=["-c", _DEAF], stop_timeout_s=0.2) as server,
    ):
        pass
    assert server.process.returncode is not None


def test_a_server_that_ends_badly_is_one_clear_error() -> None:
    with (
        pytest.raises(StartError, match=r"exit code 0\. Found 3"),
        local_server(program=["-c", _FAILING]),
    ):
        pass


def test_whoever_stops_a_server_judges_its_exit_code() -> None:
    with local_server(program=["-c", _FAILING]) as server:
        assert server.stop() == 3


def test_an_error_inside_the_context_ends_the_server_and_stays_the_error() -> None:
    processes = []

    def fail() -> None:
        with local_server(program=["-c", _DEAF]) as server:
            processes.append(server.process)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert processes[0].returncode is not None
