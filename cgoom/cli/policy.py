"""`cgoom policy check|show`: is a policy file right, and which policy decides."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

import click

from cgoom.cli.errors import write_out
from cgoom.cli.view import InForce
from cgoom.errors import CgoomError, GoneError, NotPermittedError, PolicyError
from cgoom.kernel.fault import kernel_errors
from cgoom.model import Layout, Policy, parse_layout
from cgoom.policy.codec import decode_policy, encode_policy
from cgoom.record.instance import read_daemon_pid
from cgoom.record.text import escape_text

# Where a policy is looked for when nobody names one; a host without it uses the built-in values.
DEFAULT_FILE = "/etc/cgoom/policy.yaml"
# What a running daemon leaves in its run directory: the policy that it uses, as JSON.
RUNNING_FILE = "policy.json"
# Bytes; chosen: a thousand rules are some 100 KiB, and a file such as /dev/zero must end somewhere.
FILE_SIZE_MOST = 1 << 20


def read_policy_file(path: str) -> Policy:
    """The policy in a YAML file or a pipe. Raises PolicyError, NotPermittedError, KernelError."""
    # Here, because only this reader needs yaml: `cgoom ls` on a running daemon's policy does not.
    from cgoom.policy.parse import parse_policy  # noqa: PLC0415

    return parse_policy(_read_bounded(path), path)


def read_policy_in_force(layout: Layout) -> InForce:
    """The running daemon's policy; without a daemon the default file's, and without that the built-in one.

    Raises PolicyError, KernelError.
    """
    pid, refusal = read_daemon(layout.run_dir)
    if pid is not None:
        path = os.path.join(layout.run_dir, RUNNING_FILE)
        # Missing between the daemon's lock and its first write.
        with suppress(_MissingError, NotPermittedError):
            text = _read_bounded(path).decode("utf-8", "replace")
            return InForce(decode_policy(text.rstrip("\n")), f"the daemon's, {path}", pid)
    with suppress(_MissingError):
        return InForce(read_policy_file(DEFAULT_FILE), DEFAULT_FILE, pid, refusal)
    return InForce(Policy(), "built in", pid, refusal)


def read_daemon(run_dir: str) -> tuple[int | None, str]:
    """The running daemon's pid, and why it cannot be known where it cannot: the run directory is not for everybody."""
    try:
        return read_daemon_pid(run_dir), ""
    except CgoomError as error:
        return None, error.message


class _MissingError(PolicyError):
    """There is no such file, which is an answer for the default one."""


def _read_bounded(path: str) -> bytes:
    """At most FILE_SIZE_MOST bytes of a regular file or a pipe; devices and directories are refused unopened."""
    try:
        with kernel_errors(path):
            mode = os.stat(path).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise PolicyError(f"{path}: not a file", "name a YAML file, such as one of those in policies/")
            with open(path, "rb") as file:
                text = file.read(FILE_SIZE_MOST + 1)
    except GoneError as error:
        raise _MissingError(error.message, "check the path; `cgoom policy show` prints one to start from") from error
    except ValueError as error:  # a NUL byte in the path
        raise PolicyError(f"{path!r}: not a path") from error
    if len(text) > FILE_SIZE_MOST:
        raise PolicyError(f"{path}: larger than {FILE_SIZE_MOST} bytes", "a policy is a few lines of YAML")
    return text


@click.group(no_args_is_help=False)
def policy() -> None:
    """Check a policy file, show the policy in force."""


@policy.command()
@click.argument("file")
def check(file: str) -> None:
    """Say whether FILE is a policy: exit status 0, or 3 with the line, the column and a suggestion."""
    read = read_policy_file(file)
    write_out(
        f"{escape_text(file)}: a valid policy, {len(read.workloads)} workload rule{'s' * (len(read.workloads) != 1)}"
    )


@policy.command()
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="The policy as one JSON document.")
def show(file: str | None, as_json: bool) -> None:
    """Print the whole policy in FILE, or the one in force, every default written out."""
    if file is None:
        in_force = read_policy_in_force(parse_layout(os.environ))
    else:
        in_force = InForce(read_policy_file(file), file, None)
    if as_json:
        # Byte for byte what `decode_policy` takes, so without a newline: a daemon reloads through this.
        write_out(encode_policy(in_force.policy), newline=False)
        return
    from cgoom.policy.render import render_policy  # noqa: PLC0415 - as in read_policy_file

    write_out(f"# policy: {escape_text(in_force.source)}\n{render_policy(in_force.policy).rstrip()}")
