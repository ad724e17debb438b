"""Several workers: all serve, a dead one is replaced, signals reach them, nobody keeps the port."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.gateway.programs import PATIENCE, Program, refused, started, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def pids_of(program: Program) -> set[int]:
    """The workers' processes: those that listen on the port."""
    return {pid for pid in children(program.process.pid) if listens(pid, program.port)}


def children(parent: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(stat[1]) == parent:
                found.add(int(entry.name))
    return found


def listens(pid: int, port: int) -> bool:
    """Whether a process holds a listening socket of that port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    inodes = {f"socket:[{f[9]}]" for f in fields if f[1].endswith(f":{port:04X}") and f[3] == "0A"}
    try:
        return any(str(each.readlink()) in inodes for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def is_free(port: int) -> bool:
    with socket.socket() as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_workers_serve_are_replaced_reload_and_end_together(tmp_path: Path) -> None:
    with started(tmp_path, "--workers", "2", config='[aliases]\none = "h2o/falcon-40b"\n') as run:
        # Three lines are printed once all of them listen.
        first = pids_of(run)
        assert len(first) == 2
        for number in range(12):
            assert run.chat(f"No. {number}") == f"No. {number}"

        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        run.says("a worker ended with code -9; starting another")
        until(lambda: len(pids_of(run)) == 2)
        assert victim not in pids_of(run)
        assert run.chat("Still there") == "Still there"

        config = tmp_path / "penstock.toml"
        config.write_text('[aliases]\ntwo = "h2o/falcon-40b"\n')
        run.signal(signal.SIGHUP)
        until(lambda: run.log.count("the configuration was read again") >= 2)
        for _ in range(8):
            assert run.chat("Hello", "two") == "Hello"

        code, said = refused(tmp_path, "serve", "--port", str(run.port), "--workers", "2")
        assert (code, said.count("\n")) == (1, 1), said
        assert f"cannot listen on 127.0.0.1:{run.port}" in said

        workers = pids_of(run)
        run.signal(signal.SIGTERM)
        assert run.end() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert is_free(run.port)
    assert "Traceback" not in run.log
    assert not list(tmp_path.glob("penstock-*"))


def test_ctrl_c_in_a_terminal_lets_the_answers_of_all_workers_end(tmp_path: Path) -> None:
    question = "word " * 100
    with started(tmp_path, "--workers", "2") as run:
        answers = [run.stream(question) for _ in range(4)]
        # The terminal signals the whole group of its foreground process.
        for pid in (run.process.pid, *group_of(run.process.pid)):
            os.kill(pid, signal.SIGINT)
        for answer in answers:
            assert answer.read().endswith(b"data: [DONE]\n\n")
        assert run.process.wait(PATIENCE) in (0, 130)
    assert "Traceback" not in run.log
    assert is_free(run.port)


def group_of(leader: int) -> set[int]:
    """The children of a process that are in its group."""
    group = os.getpgid(leader)
    return {pid for pid in children(leader) if os.getpgid(pid) == group}


def test_workers_end_when_the_first_process_is_killed(tmp_path: Path) -> None:
    with started(tmp_path, "--workers", "2", sandbox=False) as run:
        workers = pids_of(run)
        assert len(workers) == 2
        run.process.kill()
        run.end()
        until(lambda: is_free(run.port))
        until(lambda: not any(listens(pid, run.port) for pid in workers))
    assert "Traceback" not in run.log
