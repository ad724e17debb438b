"""The gateway as it is deployed: installed by the steps of the image, run as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tests.gateway.test_deploy import stages
from tests.gateway.test_metrics import Scrape
from tools.setup_environment import index_of_pip, last_line, quiet_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
MODEL = "openai_compatible/sandbox-model"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build stage makes: the folder that the image has at /opt/penstock."""
    place = tmp_path_factory.mktemp("image")
    paths = {"/opt/penstock": place / "penstock", "/build": place / "build", "/wheels": place}
    for word, given in stages()[0]:
        if word != "RUN":
            continue
        for command in given.split("&&"):
            run(placed(command.strip(), paths))
    return place / "penstock"


def placed(command: str, paths: dict[str, Path]) -> str:
    """The command with the folders of the image as folders of this test."""
    for there, here in paths.items():
        command = re.sub(rf"(?<![\w/]){there}(?![\w-])", str(here), command)
    return command


def run(command: str) -> None:
    """Do one step; virtual environments are made of the Python of the tests."""
    if command.startswith("python -m venv "):
        venv.create(command.rsplit(" ", 1)[1], symlinks=True, with_pip=True)
        return
    environment = quiet_environment()
    environment |= index_of_pip(environment)
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode and re.search(r"from versions: none|connection broken", said):
        pytest.skip(f"no package index: {last_line(said)}")
    assert done.returncode == 0, f"{command}\n{said}"


class Served:
    """A running gateway."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def get(self, path: str, body: bytes | None = None) -> str:
        """One request on a connection of its own."""
        request = Request(self.url + path, data=body, headers={"connection": "close"})
        with urlopen(request, timeout=10) as answer:
            text: str = answer.read().decode()
            return text


@contextmanager
def served(image: Path, place: Path, *options: str) -> Iterator[Served]:
    """A gateway over the sandbox in a folder that it cannot write to."""
    (place / "penstock.toml").write_text("[gateway.limits]\ndrain = 1\n", "utf-8")
    place.chmod(0o500)
    temporary = place.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    command = [str(image / "bin" / "penstock"), "--config", "penstock.toml", "serve", "--sandbox"]
    process = subprocess.Popen(
        [*command, "--port", "0", *options],
        cwd=place,
        env={"HOME": str(temporary), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"http://\S+:\d+", first)
        assert found, first + (process.stderr.read() if process.stderr else "")
        gateway = Served(process, found[0])
        ready(gateway)
        yield gateway
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert list(temporary.iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def ready(gateway: Served) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            gateway.get("/health/ready")
            return
        except (URLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def ask(gateway: Served) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "One two"}]}
    answer = json.loads(gateway.get("/v1/chat/completions", json.dumps(body).encode()))
    assert answer["choices"][0]["message"]["content"] == "One two"


def test_the_image_serves_tells_that_it_is_well_and_leaves_nothing(
    image: Path, tmp_path: Path
) -> None:
    place = tmp_path / "etc"
    place.mkdir()
    with served(image, place) as gateway:
        ask(gateway)
        check = json.loads(dict(stages()[1])["HEALTHCHECK"].partition("CMD ")[2])
        check = [each.replace("8787", gateway.port) for each in check]
        environment = {**os.environ, "PATH": f"{image / 'bin'}:{os.environ['PATH']}"}
        assert subprocess.run(check, env=environment, check=False).returncode == 0
        check[-1] = check[-1].replace(gateway.port, "9")
        done = subprocess.run(check, env=environment, capture_output=True, check=False)
        assert done.returncode != 0
    assert not list(place.glob("*.pyc"))


def test_several_workers_tell_the_figures_of_all(image: Path, tmp_path: Path) -> None:
    place = tmp_path / "etc"
    place.mkdir()
    with served(image, place, "--workers", "2") as gateway:
        for _ in range(24):  # the kernel chooses the worker
            ask(gateway)
        deadline = time.monotonic() + 10
        while True:
            seen = Scrape(gateway.get("/metrics"))
            if seen.values("worker") == {"0", "1"} and seen.total("penstock_attempts_total") == 24:
                break
            assert time.monotonic() < deadline, seen.samples
        for _ in range(8):
            assert Scrape(gateway.get("/metrics")).total("penstock_attempts_total") == 24
            status = json.loads(gateway.get("/api/status"))
            counts = [t["requests"] for p in status["providers"] for t in p["targets"]]
            assert counts == [24]
        assert seen.total("process_resident_memory_bytes", worker="1") > 0


def test_the_image_is_no_more_than_the_lock(image: Path) -> None:
    python = image / "bin" / "python"
    program = "from importlib.metadata import distributions as d; print(*(x.name for x in d()))"
    names = subprocess.run(
        [python, "-I", "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    lock = (ROOT / "requirements" / "gateway.txt").read_text("utf-8")
    locked = re.findall(r"^([a-z0-9-]+)==(?!.*python_full_version)", lock, re.MULTILINE)
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in names} - {"setuptools"} <= {
        *locked,
        "typing-extensions",
        "penstock",
    }
    assert sys.version_info >= (3, 11)
