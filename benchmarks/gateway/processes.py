"""A server in a process tree of its own: started, measured from ``/proc``, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_START = 90.0
"""Seconds that the slowest of them may take to listen."""


class Tree:
    """A process and all that it started.

    Args:
        process: the first of them, leader of its own session.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._session = process.pid

    def cpu(self) -> float:
        """Seconds of CPU that the living ones have used, by the scheduler's own account."""
        return sum(self.shares().values())

    def shares(self) -> dict[int, float]:
        """The same for each process by its id."""
        spent: dict[int, float] = {}
        for pid, _ in self._members():
            tasks = Path(f"/proc/{pid}/task").iterdir()
            told = [int((task / "schedstat").read_text().split()[0]) for task in tasks]
            spent[pid] = sum(told) / 1e9
        return spent

    def resident(self) -> float:
        """KB in memory, of all together."""
        return sum(int(stat[21]) for _, stat in self._members()) * _PAGE / 1024

    def _members(self) -> Iterator[tuple[int, list[str]]]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    said = (entry / "stat").read_text()
                except OSError:  # it ended meanwhile
                    continue
                stat = said.rpartition(")")[2].split()
                if int(stat[3]) == self._session:
                    yield int(entry.name), stat


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Tree]:
    """``command``, from when it listens on ``port`` until the end of the block.

    Raises:
        SystemExit: it does not come so far.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        _wait(process, command, port)
        yield Tree(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], command: Sequence[str], port: int) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as asking:
            asking.settimeout(1)
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"bench: this does not listen on port {port}: {' '.join(command)}")
