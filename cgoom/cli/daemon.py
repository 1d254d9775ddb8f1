"""`cgoom daemon`: compile the policy, then become the daemon, which knows neither click nor YAML."""

from __future__ import annotations

import importlib.util
import os
import sys

import click

import cgoom
from cgoom.cli.policy import DEFAULT_FILE, read_policy_file
from cgoom.model import Policy
from cgoom.policy.codec import encode_policy


@click.command()
@click.option("--policy", "path", metavar="FILE", help=f"Policy file (default: {DEFAULT_FILE} if it is there).")
@click.option("--dry-run", is_flag=True, help="Decide and record, but touch nobody.")
def daemon(path: str | None, dry_run: bool) -> None:
    """Watch the host and remove the least important workload when memory runs short."""
    built_in = path is None and not os.path.exists(DEFAULT_FILE)
    policy = Policy() if built_in else read_policy_file(path or DEFAULT_FILE)
    fd = os.memfd_create("cgoom-policy", 0)
    os.write(fd, encode_policy(policy).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    where = os.path.abspath(path or DEFAULT_FILE)
    mode = "dry" if dry_run else "real"
    # An isolated interpreter: root runs the installed package, not what lies in the current directory.
    command = [sys.executable, "-I", "-S", find_boot(), find_paths(), str(fd), where, mode]
    os.execv(sys.executable, command)  # noqa: S606


def find_boot() -> str:
    """The program that an isolated interpreter starts the daemon with."""
    return os.path.join(os.path.dirname(os.path.abspath(cgoom.__file__)), "daemon", "boot.py")


def find_paths() -> str:
    """Where cgoom is, and psutil, which the daemon needs on hosts without the memory controller; colons between."""
    found = importlib.util.find_spec("psutil")
    origins = [cgoom.__file__, *([found.origin] if found is not None and found.origin else [])]
    return ":".join(dict.fromkeys(os.path.dirname(os.path.dirname(os.path.abspath(each))) for each in origins))
