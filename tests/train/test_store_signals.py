"""The first signal asks, the second is obeyed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffpref.train.signals import StopSignals

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_only_sets_a_flag(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with StopSignals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.received == number.name
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_ends_the_process_now(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import os, sys; from diffpref.train.signals import StopSignals\n"
        "with StopSignals() as stop:\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    open(sys.argv[1], 'w').close()\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    open(sys.argv[2], 'w').close()\n"
    )
    paths = [str(tmp_path / "first"), str(tmp_path / "second")]
    said = subprocess.run([sys.executable, "-c", code, *paths], check=False)
    assert said.returncode == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 0), (signal.SIGUSR1, 0)]
)
def test_a_forked_worker_ends_on_sigterm_and_ignores_the_rest(number: int, status: int) -> None:
    with StopSignals() as stop:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), number)
            os._exit(int(stop.requested))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
        assert not stop.requested
