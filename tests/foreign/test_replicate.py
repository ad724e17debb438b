"""The real ``replicate`` packages of the package index, unchanged, against our Replicate.

Each runs once in an environment of its own and tells what it found; both must find what is below.
Facts: wire/replicate.md sections 2 to 6.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.faults import Rule
from penstock.sandbox.replicate.server import TOKEN
from penstock.testing.pytest_plugin import running
from tests.foreign.driving import CHAT, DEPLOYMENT, QUESTION, TEXT, VERSIONED, Servers
from tests.foreign.environments import ROOT, NotInstallableError, lock_of, python_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "replicate": {},
    "replicate:slow": {"pace": 0.3, "second": 0.1},
    "replicate:paged": {"page": 2},
    "replicate:poor": {"credit": False},
    "replicate:busy": {"throttled": 2, "second": 0.1},
}
THROTTLED = Rule(fault="retry-after=0", provider="replicate:busy", method="GET")

SAID = {"output": QUESTION}
EVENTS = {"kinds": ["done", "output"], "text": QUESTION, "end": "{}"}
NO_RESOURCE = (404, None, "The requested resource could not be found.")
NOT_FOUND = (404, None, "Not found.")
BUSY = (429, None, "Request was throttled. Your rate limit resets in ~1s.")

CREATED = {
    "status": "starting",
    "urls": ["cancel", "get", "stream", "web"],
    "ended": "succeeded",
    "output": QUESTION,
    "input": {"prompt": QUESTION},
}
MODELS = {
    "some": sorted([CHAT, VERSIONED, TEXT]),
    "no twin": True,
    "found": [VERSIONED],
    "inputs": True,
    "version": True,
    "unknown": NOT_FOUND,
    "official": (
        404,
        "Not found",
        "This model is an official model and does not expose a list of versions.",
    ),
}
ERRORS = {
    "wrong key": (401, "Unauthenticated", "You did not pass a valid authentication token"),
    "no key": (401, "Unauthenticated", "You did not pass an authentication token"),
    "no credit": (
        402,
        "Insufficient credit",
        "You have insufficient credit to run this model.",
    ),
    "no such prediction": NOT_FOUND,
    "no such model": NO_RESOURCE,
    "no version": NO_RESOURCE,
    "wrong input": (
        422,
        "Input validation failed",
        (
            "- input.prompt: Invalid type. Expected: string, given: integer\n"
            "- input.top_p: Must be less than or equal to 1\n"
        ),
    ),
    "wrong version": (
        422,
        "Invalid version or not permitted",
        "The specified version does not exist (or perhaps you don't have permission to use it?)",
    ),
    "cursor": (404, None, "Invalid cursor"),
}
BOTH: Mapping[str, object] = {
    "create": CREATED,
    "by_version": {"right": True, **SAID},
    "environment": QUESTION,
    "cancel": {"status": "canceled"},
    "wait": {"status": "processing", "slow": "starting", **SAID},
    "run_chat": SAID,
    "run_async": SAID,
    "run_files": {"begins": "89504e47"},
    "run_failing": {"status": "failed", "said": True},
    "account": {"type": "user"},
    "errors": ERRORS,
}
"""What both clients find."""

DEPLOYED = {"listed": [DEPLOYMENT], "model": VERSIONED, "unknown": NOT_FOUND}
PAGED = {"sizes": [2, 2, 1], "newest first": True, "async pages": 3}
FILES = {"said": NO_RESOURCE, "get": NO_RESOURCE, "list": NO_RESOURCE}

OWN: Mapping[str, Mapping[str, object]] = {
    "replicate-1": {
        "pages": {**PAGED, "back": True},
        "stream": EVENTS,
        "stream_later": EVENTS,
        "stream_async": EVENTS,
        "cancel_streamed": {"first": "output", "end": ["done", '{"reason":"canceled"}']},
        "run_version": {"iterator": True, **SAID},
        "run_polled": SAID,
        "files": {"create": True, **FILES},
        "deployments": {"output": [QUESTION, QUESTION], **DEPLOYED},
        "models": MODELS,
        "busy": {"said": [BUSY, BUSY], "then": "succeeded"},
    },
    "replicate-2": {
        "pages": PAGED,
        "stream": {"text": QUESTION},
        "stream_used": {"text": QUESTION},
        "stream_async": {"text": QUESTION},
        "stream_events": EVENTS,
        "deadline": {"status": "canceled"},
        "run_version": SAID,
        "use": {"chat": QUESTION, "async": QUESTION},
        "files": FILES,
        "deployments": {**DEPLOYED, **SAID},
        "models": {**MODELS, "search": [VERSIONED]},
        "busy": {"said": BUSY, "then": "succeeded", "retries": True},
    },
}
CLASSES = {
    401: "AuthenticationError",
    402: "APIStatusError",
    404: "NotFoundError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
"""Classes of the 2.x line by status."""

QUESTIONS = [(client, task) for client, own in OWN.items() for task in (*BOTH, *own)]


class Clients:
    """What each client found, asked for once."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def found(self, client: str) -> Any:
        """Task -> what it found."""
        if client not in self._found:
            self._found[client] = ask(client)
        found = self._found[client]
        if isinstance(found, NotInstallableError):
            pytest.skip(f"{client} cannot be installed here: {found}")
        return found


@pytest.fixture(scope="module")
def clients() -> Clients:
    return Clients()


def ask(client: str) -> object:
    """Run one client's program against sandboxes of its own."""
    try:
        python = python_of(client)
    except NotInstallableError as problem:
        return problem
    with running(Sandbox(list(OPTIONS), options=OPTIONS, faults=[THROTTLED])) as sandbox:
        urls = {name.partition(":")[2] or "plain": sandbox.urls[name] for name in OPTIONS}
        servers = Servers(**urls, token=TOKEN)
        prefix = "/v1" if client.endswith("2") else ""
        environment = {
            "PATH": os.defpath,
            "PYTHONDONTWRITEBYTECODE": "1",
            "REPLICATE_BASE_URL": servers.plain + prefix,
            "REPLICATE_API_TOKEN": TOKEN,
            "REPLICATE_POLL_INTERVAL": "0.02",
        }
        module = f"tests.foreign.{client.replace('-', '_')}"
        done = subprocess.run(
            [python, "-m", module, json.dumps(servers._asdict())],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judged(found: Any) -> Any:
    """Refusals as (status, title, detail); the class is the one of the status."""
    if isinstance(found, list):
        return [judged(one) for one in found]
    if not isinstance(found, dict):
        return found
    if "detail" not in found:
        return {name: judged(value) for name, value in found.items()}
    assert found.get("class") in (None, CLASSES[found["status"]])
    return (found["status"], found["title"], found["detail"])


@pytest.mark.parametrize(("client", "task"), QUESTIONS)
def test_the_real_client_finds_what_it_expects(clients: Clients, client: str, task: str) -> None:
    found = clients.found(client)[task]
    failed = found.get("failed") if isinstance(found, dict) else None
    assert failed is None, failed
    assert judged(found) == {**BOTH, **OWN[client]}[task]


@pytest.mark.parametrize("client", OWN)
def test_every_task_is_judged(clients: Clients, client: str) -> None:
    assert set(clients.found(client)) == {*BOTH, *OWN[client]}


@pytest.mark.parametrize("client", OWN)
def test_it_is_the_package_of_the_index(client: str) -> None:
    locked = re.search(r"^replicate==(\S+)", lock_of(client).read_text(), re.MULTILINE)
    assert locked is not None
    assert locked[1].startswith(f"{client[-1]}.")
    try:
        python = python_of(client)
    except NotInstallableError as problem:
        pytest.skip(f"{client} cannot be installed here: {problem}")
    asked = "import importlib.metadata as m, replicate; print(m.version('replicate'))"
    asked += "; print(replicate.__file__)"
    done = subprocess.run([python, "-I", "-c", asked], capture_output=True, text=True, check=True)
    version, place = done.stdout.splitlines()
    assert version == locked[1]
    assert str(python.parent.parent) in place
