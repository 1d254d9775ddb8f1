"""The signals of a launch: what the caller left us, what we hold while CMD runs, what CMD gets back."""

from __future__ import annotations

from cgoom.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    # The C module below `signal`, which lacks only the enums: making those takes 4 ms and 0.7 MiB of every launch.
    import _signal as signal

# What somebody may mean for CMD although it was sent to us.
RELAYED: frozenset[int] = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTSTP,
        signal.SIGCONT,
    }
)
# Blocked while CMD runs and taken one by one. SIGTTIN and SIGTTOU come for the whole process group, CMD included.
HELD: frozenset[int] = RELAYED | {signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}


class CallerSignals(Frozen):
    """The signal mask that we were started with, and whether SIGCHLD was ignored then."""

    mask: frozenset[int]
    ignores_children: bool


def read_caller_signals() -> CallerSignals:
    """The state as it is now; changes nothing."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return CallerSignals(frozenset(mask), signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)


def hold_signals() -> CallerSignals:
    """Block HELD and make children waitable; the state before, for `restore_signals` in the child."""
    caller = read_caller_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    # A caller that ignores SIGCHLD hands that down, and the kernel would reap CMD before we learn its status.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return caller


def release_signals(caller: CallerSignals) -> None:
    """Undo what `hold_signals` blocked."""
    signal.pthread_sigmask(signal.SIG_SETMASK, caller.mask)


def restore_signals(caller: CallerSignals) -> None:
    """For the process that executes CMD next: dispositions and mask as the caller had them.

    Python ignores SIGPIPE and SIGXFSZ from its first moment, so what the caller had there is not known: default, as
    with `subprocess`. What else was ignored is ignored still (nohup), because nothing here changes it.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        # A held Ctrl-C must end the process here, not raise KeyboardInterrupt in it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN if caller.ignores_children else signal.SIG_DFL)
    release_signals(caller)
