"""The list of commands: in order, one line each, and imported only when used."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cgoom import __version__
from cgoom.cli.main import COMMANDS, cgoom, main

ORDER = ["launch", "daemon", "ls", "status", "explain", "priority", "kill", "history", "policy", "module"]
ORDER += ["doctor", "demo"]


def test_the_help_has_one_line_per_command_in_order() -> None:
    text = CliRunner().invoke(cgoom, ["--help"], terminal_width=100).output
    listed = text.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == ORDER


@pytest.mark.parametrize("name", ORDER)
def test_every_command_can_be_loaded_under_its_name(name: str) -> None:
    context = click.Context(cgoom)
    command = cgoom.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str()


def test_no_other_command_is_there() -> None:
    assert list(COMMANDS) == ORDER
    assert cgoom.get_command(click.Context(cgoom), "nothing") is None


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cgoom {__version__}\n"


def modules_after(*args: str) -> set[str]:
    """What a Python that ran `cgoom ARGS` has imported."""
    program = (
        "import sys\nfrom cgoom.cli.main import main\n"
        f"main({list(args)!r})\nprint(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stderr.splitlines()[-1].split())


def test_the_help_imports_no_command() -> None:
    assert {name for name in modules_after("--help") if name.startswith("cgoom.cli.")} == {
        "cgoom.cli.main",
        "cgoom.cli.errors",
        "cgoom.cli.say",
    }


def test_launch_pays_only_for_itself() -> None:
    loaded = modules_after("launch", "--help")
    assert "cgoom.cli.launch" in loaded
    assert loaded & {"yaml", "psutil", "pyroute2", "jeepney", "cgoom.cli.look", "cgoom.policy.parse"} == set()
