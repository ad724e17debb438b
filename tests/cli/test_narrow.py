"""A narrow terminal: no word is cut, nothing is wider than the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

COLUMNS = 40


def screen(*arguments: str) -> list[str]:
    """The lines that a terminal of forty columns is sent."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    program = subprocess.Popen(
        [sys.executable, "-m", "penstock", *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**environment, "NO_COLOR": "1"},
        start_new_session=True,
    )
    os.close(side)
    shown = b""
    while True:
        try:
            shown += os.read(main, 65536)
        except OSError:  # the program has ended
            break
    program.wait(10)
    os.close(main)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    return plain.replace("\r", "").splitlines()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "Commands:"),
        (["chat", "--help"], "Options:"),
        (["chat"], "Error: no model is named; say -m"),
        (["providers"], "allenai"),
        (["models"], "no provider is configured; name one,"),
        (["models", "nobody"], "Error: 'nobody' names no provider;"),
        (["doctor"], "openassistant: closed,"),
        (["completion", "--help"], "Options:"),
        (["config", "show"], "timeouts.first_content"),
        (["config", "check"], "right: no configuration file"),
        (["chta"], "mean 'chat'?"),
        (["sandbox", "--provider", "opena"], "there is no sandbox 'opena';"),
        (["chat", "--timeout", "soon", "Hello"], "not a valid float."),
    ],
)
def test_what_is_said_fits(workplace: Path, arguments: list[str], words: str) -> None:
    lines = screen(*arguments)
    assert any(words in line for line in lines)
    assert [line for line in lines if len(line) > COLUMNS] == []


def test_words_of_help_are_whole_on_a_narrow_terminal() -> None:
    lines = [line.strip() for line in screen("chat", "--help")]
    assert "provider/model, or an alias." in lines
    assert "Leave the conversation on the" in lines
