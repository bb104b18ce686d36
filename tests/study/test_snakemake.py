"""Signals to a running grid."""

import os
import signal

import pytest

from wbcstudy.study import snakemake


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_or_a_closed_terminal_interrupts_a_grid(number):
    previous = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), snakemake._terminate_as_interrupt():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, previous)


def test_a_grid_under_nohup_continues_after_the_terminal_is_closed():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with snakemake._terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, previous)
