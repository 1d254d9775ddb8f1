"""The launcher while CMD runs: signals and stops pass through, and at the end it says what is known of the death."""

from __future__ import annotations

import os
import time

from cgoom.errors import CgoomError, GoneError
from cgoom.frozen import Frozen
from cgoom.kernel.identity import read_verdict
from cgoom.kernel.proc import read_cgroup_path
from cgoom.place.child import read_report
from cgoom.place.signals import HELD, RELAYED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from cgoom.place.request import Placed
else:
    import _signal as signal  # as in cgoom/place/signals.py

# The module, in the kernel, leaves no verdict.
ARMED_KILL = (
    "killed by memory_info, cgoom's kernel module: the host was out of memory, the daemon did not act in time,"
    " and this was the first workload of its order"
)
# What a shell adds to the number of the signal that ended a command.
_SIGNALLED = 128
# Seconds that the verdict may come after the death; chosen: the daemon writes it within a millisecond, unless it is
# stopped or dead itself. It is looked for, not listened for: inotify would cost every waiting parent ctypes.
_VERDICT_WAIT_SEC = 1.0
# The same after a kill that nobody announced, as is every `kill -9`: no longer than a person notices. Chosen.
_UNANNOUNCED_WAIT_SEC = 0.1
_VERDICT_POLL_SEC = 0.002


class Ended(Frozen):
    """CMD's end: the exit status of the launch, one line why it was killed or empty, and whether cgoom did it."""

    status: int
    note: str = ""
    is_verdict: bool = False


def supervise(placed: Placed) -> Ended:
    """Wait for CMD to end, passing signals on; HELD is blocked. Raises ExecError when CMD never began, CgoomError."""
    result = _wait_command(placed)
    failure = read_report(placed.report_fd, placed.request.argv)
    if failure is not None:
        raise failure
    exited = result.si_code == os.CLD_EXITED
    status = result.si_status if exited else _SIGNALLED + result.si_status
    was_killed = not exited and result.si_status == signal.SIGKILL
    verdict = _read_verdict(placed, was_killed)
    if verdict:
        return Ended(status, verdict, is_verdict=True)
    return Ended(status, _explain_kill(placed) if was_killed else "")


def _read_verdict(placed: Placed, was_killed: bool) -> str:
    """Why cgoom ended it, or nothing. The daemon kills first and says why next: what it announced is waited for."""
    deadline_sec = time.monotonic() + _VERDICT_WAIT_SEC
    while True:
        verdict = read_verdict(placed.cgroup.fd)
        left_sec = deadline_sec - time.monotonic()
        if verdict is None:
            left_sec -= _VERDICT_WAIT_SEC - _UNANNOUNCED_WAIT_SEC
        if (verdict is not None and verdict.is_final) or not was_killed or left_sec <= 0:
            return "" if verdict is None else verdict.text
        time.sleep(_VERDICT_POLL_SEC)


def _wait_command(placed: Placed) -> os.waitid_result:
    while True:
        result = os.waitid(os.P_PIDFD, placed.pidfd, os.WEXITED | os.WSTOPPED | os.WNOHANG)
        if result is None:
            _relay(signal.sigwaitinfo(HELD), placed)
        elif result.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
            return result
        else:
            _stop_like(result.si_status)


def _relay(received: signal.struct_siginfo, placed: Placed) -> None:
    """Pass a signal on to CMD, unless CMD has it already."""
    signo = received.si_signo
    if signo not in RELAYED or _has_it_already(received, placed):
        return
    try:
        signal.pidfd_send_signal(placed.pidfd, signo)
    except OSError:
        return  # gone, or changed its user: then the sender would not have reached it either


def _has_it_already(received: signal.struct_siginfo, placed: Placed) -> bool:
    """Whether CMD got the same signal: it shares our process group.

    A positive si_code is the kernel's: the terminal signals the whole group; only a hang-up reaches the session leader
    alone. What CMD or a child of it sends (`kill 0`) is for the group too. When anybody else signals the group, that
    cannot be told from a signal to us: CMD gets it twice.
    """
    if received.si_signo == signal.SIGCONT:
        return False  # twice does no harm
    if received.si_code > 0:
        return received.si_signo != signal.SIGHUP or os.getsid(0) != os.getpid()
    if received.si_pid <= 0:
        return False  # the sender is out of our pid namespace
    try:
        path = read_cgroup_path(received.si_pid)
    except CgoomError:
        return False
    own = placed.cgroup.path
    return path == own or path.startswith(f"{own}/")


def _stop_like(signo: int) -> None:
    """Stop as CMD stopped, so that the shell sees the job stopped; return when we are continued.

    SIGSTOP becomes SIGTSTP: the kernel drops that where no shell could continue us, and we go on waiting.
    """
    own = signal.SIGTSTP if signo == signal.SIGSTOP else signo
    os.kill(os.getpid(), own)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {own})
    signal.pthread_sigmask(signal.SIG_BLOCK, {own})


def _explain_kill(placed: Placed) -> str:
    """Who sent a SIGKILL that has no verdict; empty when it was not the kernel for want of memory, or is not known.

    The exit status of CMD is right all the same, so nothing is raised.
    """
    try:
        return _read_killer(placed)
    except CgoomError:
        return ""
    except (ImportError, AttributeError, TypeError):
        return ""  # another cgoom was installed while CMD ran, and its parts do not fit ours


def _was_armed_kill(cgroup_id: int) -> bool:
    """Whether the module made this cgroup die, as far as it remembers; anybody may ask. Without it: no."""
    # Only a launch that was killed pays for it.
    from cgoom.kernel.module_answer import find_answer  # noqa: PLC0415

    answer = find_answer()
    return answer is not None and any(kill.cgroup_id == cgroup_id for kill in answer.kills)


def _read_killer(placed: Placed) -> str:
    if _was_armed_kill(placed.cgroup.ref.cgroup_id):
        return ARMED_KILL
    try:
        events = placed.cgroup.read_memory_events(local=True)
    except GoneError:  # systemd removes an empty scope at once
        return "killed by SIGKILL, not by cgoom; the kernel log tells whether memory was short"
    if not events.get("oom_kill"):
        return ""
    if placed.request.limits.memory_max_bytes is not None and events.get("oom"):
        return "killed by the kernel at its own memory.max"
    return "killed by the kernel, out of memory on the host or in a cgroup above"
