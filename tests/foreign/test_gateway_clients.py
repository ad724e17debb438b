"""Real clients of OpenAI's and Anthropic's interfaces, unchanged, against the gateway.

Each runs once in an environment of its own and tells what it found. Behind the gateway is the
sandbox. What clients require: openai-surface.md sections 1 to 4.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.foreign.asking import CHATUI, H2O, HOLD, MODEL, QUESTION, WEATHER, Place
from tests.foreign.environments import ROOT, NotInstallableError, lock_of, python_of
from tests.foreign.gateways import gateways
from tests.foreign.node_environment import SOURCE, node_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CITY = {"city": "Oslo"}
LEFT = [True, True]
STATUSES = {
    "wrong": ("BadRequestError", 400, "bad_request"),
    "long": ("BadRequestError", 400, "context_length_exceeded"),
    "locked": ("InternalServerError", 502, "upstream_auth"),
    "gone": ("NotFoundError", 404, "model_not_found"),
    "big": ("APIStatusError", 413, "too_large"),
    "odd": ("UnprocessableEntityError", 422, "bad_request"),
    "limited": ("RateLimitError", 429, "rate_limit_exceeded"),
    "broken": ("InternalServerError", 502, "server"),
    "full": ("InternalServerError", 503, "overloaded"),
    "silent": ("InternalServerError", 504, "timeout"),
}
"""Upstream with a fault -> what ``openai`` makes of it."""


REFUSALS: dict[str, Any] = {
    **{name: [*facts, None, "named"] for name, facts in STATUSES.items()},
    "streamed": ["RateLimitError", 429, "rate_limit_exceeded", None, "named"],
    "unknown": ["NotFoundError", 404, "model_not_found", None, "named"],
    "seed": ["BadRequestError", 400, "bad_request", "seed", "named"],
    "key": ["AuthenticationError", 401, "invalid_api_key", None, "named"],
    "unreachable": ["APIConnectionError", None, None, None, "Connection error."],
    "right key": QUESTION,
}
BACKENDS = (MODEL, H2O, CHATUI, "allenai/tulu3-405b", "replicate/meta/meta-llama-3-8b-instruct")

OPENAI: Mapping[str, Any] = {
    "plain": {"text": QUESTION, "finish": "stop", "model": MODEL, "total": True, "id": True},
    "headers": {"target": MODEL, "attempts": "1", "mine": "mine-1", "ours": True},
    "stream": {
        "text": QUESTION,
        "roles": ["assistant"],
        "finish": ["stop"],
        "usages": [False],
        "ids": 1,
    },
    "stream_helper": {"text": QUESTION, "final": QUESTION},
    "stream_async": QUESTION,
    "helper_async": QUESTION,
    "at_once": True,
    "every_backend": dict.fromkeys(BACKENDS, "Hello over there"),
    "stops": "one tw",
    "several": [[0, "twice"], [1, "twice"]],
    "reasoning": {"whole": ["Let me see.", "THINK first"], "streamed": "Let me see."},
    "tools": {
        "name": "weather",
        "arguments": CITY,
        "finish": "tool_calls",
        "streamed": True,
        "then": WEATHER,
    },
    "models": {
        "some": True,
        "one": CHATUI,
        "short": H2O,
        "none": ["NotFoundError", 404, "model_not_found", "model", "named"],
    },
    "refusals": REFUSALS,
    "retry_after": "7",
    "waits": [QUESTION, True],
    "own_retries": {"full": 2, "locked": 1},
    "late_failures": {
        "model": ["APIError", "server", True],
        "erring": ["APIError", "server", True],
        "cut": ["APIError", "truncated", True],
        "torn": ["APIError", "truncated", True],
        "h2o": ["APIError", "model", True],
    },
    "timeout": ["APITimeoutError", True],
    "leave_stream": {"openai": LEFT, "h2o": LEFT},
    "leave_plain": {"openai": [True, *LEFT], "h2o": [True, *LEFT]},
    "responses": {
        "text": QUESTION,
        "status": "completed",
        "counted": True,
        "repeated": "Be brief.",
    },
    "responses_stream": {
        "text": QUESTION,
        "ends": ["response.created", "response.completed"],
        "numbered": True,
    },
    "responses_helper": {"text": "THINK first", "items": ["reasoning", "message"]},
    "responses_tools": {"call": ["weather", CITY], "streamed": True, "then": WEATHER},
    "responses_refused": {
        "continued": ["BadRequestError", 400, "bad_request", "previous_response_id", "named"],
        "limited": ["RateLimitError", 429, "rate_limit_exceeded", None, "named"],
        "broken": [
            "APIError",
            None,
            "server",
            None,
            "openai_compatible: the server reported a failure: out of memory",
        ],
    },
}
LANGCHAIN: Mapping[str, Any] = {
    "invoke": {"text": QUESTION, "finish": "stop", "counted": True},
    "stream": {"text": QUESTION, "several": True, "counted": True},
    "invoke_async": QUESTION,
    "stream_async": QUESTION,
    "batch": ["one", "two", "three"],
    "uncounted": {"text": "Hello there", "usage": None, "streamed": "Hello there"},
    "tools": {"call": ["weather", CITY], "then": WEATHER, "streamed": CITY},
    "responses": {"whole": QUESTION, "streamed": QUESTION},
    "refusals": {
        "limited": ["OpenAIRateLimitError", "rate_limit_exceeded"],
        "unknown": ["OpenAIModelNotFoundError", "model_not_found"],
        "broken": ["APIError", "server"],
    },
    "leave": {"stream": LEFT, "task": LEFT},
}
ANTHROPIC: Mapping[str, Any] = {
    "create": {
        "text": QUESTION,
        "stop": "end_turn",
        "counted": True,
        "model": MODEL,
        "id": True,
    },
    "stream": [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ],
    "stream_helper": {"text": QUESTION, "final": QUESTION, "stop": "end_turn", "counted": True},
    "stream_async": QUESTION,
    "uncounted": {"text": "Hello there", "usage": None, "streamed": "Hello there"},
    "stops": [["one ", "stop_sequence", "two"], ["one ", "stop_sequence", "two"]],
    "thinking": [["thinking", "text"], ["thinking", "text"]],
    "tools": {
        "call": ["tool_use", "weather", CITY],
        "stop": "tool_use",
        "streamed": CITY,
        "then": WEATHER,
    },
    "refusals": {
        "wrong": ["BadRequestError", 400, "invalid_request_error", "named"],
        "long": ["BadRequestError", 400, "invalid_request_error", "named"],
        "locked": ["InternalServerError", 502, "api_error", "named"],
        "gone": ["NotFoundError", 404, "not_found_error", "named"],
        "big": ["ContentTooLargeError", 413, "request_too_large", "named"],
        "odd": ["UnprocessableEntityError", 422, "invalid_request_error", "named"],
        "limited": ["RateLimitError", 429, "rate_limit_error", "named"],
        "broken": ["InternalServerError", 502, "api_error", "named"],
        "full": ["ServiceUnavailableError", 503, "overloaded_error", "named"],
        "silent": ["GatewayTimeoutError", 504, "timeout_error", "named"],
        "unknown": ["NotFoundError", 404, "not_found_error", "named"],
        "refused": ["BadRequestError", 400, "invalid_request_error", "named"],
        "key": ["AuthenticationError", 401, "authentication_error", "named"],
        "right key": QUESTION,
    },
    "late_failure": ["APIStatusError", "api_error", True],
    "leave": {"stream": LEFT, "plain": LEFT},
}
LLM: Mapping[str, Any] = {
    "listed": [True, True, True, True],
    "plain": f"{QUESTION}\n",
    "stream": f"{QUESTION}\n",
    "uncounted": {"whole": f"{QUESTION}\n", "marked": True},
    "continued": "User: First\nAssistant: First\nUser: Second\nAssistant:\n",
    "refused": {"wrong": [1, True], "broken": [1, True]},
    "interrupted": [HOLD, True],
}
NODE: Mapping[str, Any] = {
    "plain": {"text": QUESTION, "finish": "stop", "counted": True, "id": True},
    "stream": {"text": QUESTION, "counted": True},
    "helper": {"text": QUESTION, "final": QUESTION},
    "responses": {"whole": QUESTION, "final": QUESTION, "last": "response.completed"},
    "models": True,
    "refusals": {
        **{
            name: [*STATUSES[name], "named"]
            for name in ("wrong", "gone", "odd", "limited", "broken", "full", "locked")
        },
        "key": ["AuthenticationError", 401, "invalid_api_key", "named"],
    },
    "late": {
        MODEL: ["APIError", None, "server", "named", True],
        H2O: ["APIError", None, "model", "named", True],
    },
    "abort": {"streamed": True, "busy": True, "told": "APIUserAbortError", "plain": True},
}
EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "openai": OPENAI,
    "langchain": LANGCHAIN,
    "anthropic": ANTHROPIC,
    "llm": LLM,
    "node": NODE,
}
PACKAGES = {
    "openai": "openai",
    "langchain": "langchain-openai",
    "anthropic": "anthropic",
    "llm": "llm",
}
TASKS = [(client, task) for client, tasks in EXPECTED.items() for task in tasks]


def command_of(client: str) -> list[str]:
    """How a client's program is started.

    Raises:
        NotInstallableError: the package index cannot be reached.
    """
    if client == "node":
        return node_for("gateway.mjs")
    return [str(python_of(client)), "-m", f"tests.foreign.gateway_{client}"]


class Clients:
    """What each client found, asked for once."""

    def __init__(self, place: Place, home: Path) -> None:
        self._place = place
        self._home = home
        self._found: dict[str, Any] = {}

    def found(self, client: str) -> Any:
        """Task -> what it found."""
        if client not in self._found:
            try:
                self._found[client] = self._ask(command_of(client))
            except NotInstallableError as problem:
                self._found[client] = problem
        found = self._found[client]
        if isinstance(found, NotInstallableError):
            pytest.skip(f"{client} cannot be installed here: {found}")
        return found

    def _ask(self, command: list[str]) -> object:
        environment = {
            "PATH": os.defpath,
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self._home),
        }
        done = subprocess.run(
            [*command, json.dumps(self._place._asdict())],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with gateways() as place:
        yield Clients(place, tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(("client", "task"), TASKS)
def test_the_real_client_finds_what_it_expects(clients: Clients, client: str, task: str) -> None:
    found = clients.found(client)[task]
    failed = found.get("failed") if isinstance(found, dict) else None
    assert failed is None, failed
    assert found == EXPECTED[client][task]


@pytest.mark.parametrize("client", EXPECTED)
def test_every_task_is_judged(clients: Clients, client: str) -> None:
    assert set(clients.found(client)) == set(EXPECTED[client])


@pytest.mark.parametrize("client", PACKAGES)
def test_it_is_the_package_of_the_index(client: str) -> None:
    package = PACKAGES[client]
    locked = re.search(rf"^{package}==(\S+)", lock_of(client).read_text(), re.MULTILINE)
    assert locked is not None
    try:
        python = python_of(client)
    except NotInstallableError as problem:
        pytest.skip(f"{client} cannot be installed here: {problem}")
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-I", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [locked[1]]


def test_the_lock_of_npm_has_a_hash_for_each_package_and_names_no_host() -> None:
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    packages = [facts for place, facts in lock["packages"].items() if place]
    assert packages
    assert all(facts["integrity"].startswith("sha512-") for facts in packages)
    assert not any("resolved" in facts for facts in packages)
