"""Importing, asking for help and collecting the tests open no connection and look up no name.

The watching is done in a process of its own, from below: an audit hook sees what any library does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Runs a program given as arguments and writes what it did on the network to the last line.
WATCHED = """
import json, runpy, sys
seen = []
NETWORK = ("connect", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr")
NAMES = {f"socket.{name}" for name in NETWORK} | {"urllib.Request", "http.client.connect"}
sys.addaudithook(lambda event, _: seen.append(event) if event in NAMES else None)
kind, what, *sys.argv[1:] = sys.argv[1:]
try:
    if kind == "module":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what)
except SystemExit as end:
    if end.code:
        raise
finally:
    print(flush=True)
    print(json.dumps(seen), flush=True)
"""

IMPORT_ALL = """
import importlib, pkgutil, penstock
for found in pkgutil.walk_packages(penstock.__path__, "penstock."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""

MAKE_CLIENT = """
import asyncio, penstock.client
async def make():
    async with penstock.client.Client():
        pass
asyncio.run(make())
"""

CONNECT = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"


def seen(kind: str, what: str, *arguments: str) -> list[str]:
    """What a program did on the network; it has to succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCHED, kind, what, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_importing_every_module_is_silent() -> None:
    assert seen("code", IMPORT_ALL) == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["chat", "--help"], ["providers"]]
)
def test_help_is_silent(arguments: list[str]) -> None:
    assert seen("module", "penstock", *arguments) == []


def test_making_a_client_is_silent() -> None:
    """Nothing is opened before the first call, not even where everything is configured."""
    assert seen("code", MAKE_CLIENT) == []


@pytest.mark.slow
def test_collecting_the_tests_is_silent() -> None:
    assert seen("module", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider") == []


def test_a_connection_would_be_seen() -> None:
    assert seen("code", CONNECT) == ["socket.connect"]
