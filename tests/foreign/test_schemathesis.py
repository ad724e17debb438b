"""A program that reads ``/openapi.json`` and sends what it allows, and what it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.sandbox import Sandbox
from tests.foreign.environments import NotInstallableError, python_of
from tests.gateway.running import Running, running_gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODELS = ["openai_compatible/sandbox-model", "h2o/falcon-40b", "chatui/Qwen/Qwen3-8B"]
BODIES = ("ChatBody", "MessagesBody", "ResponsesBody")
# What a message may hold is checked more closely than JSON Schema says it here.
UNCHECKED = "positive_data_acceptance"


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return python_of("schemathesis").with_name("schemathesis")
    except NotInstallableError as error:
        pytest.skip(f"no package index: {error}")


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with Sandbox(["openai", "h2o", "chatui"], pace=0.0) as sandbox:
        unreachable = {"base_url": "http://127.0.0.1:9"}
        async with running_gateway({"allenai": unreachable, **sandbox.providers}) as running:
            yield running


async def described(gateway: Running) -> dict[str, Any]:
    """The description, its models narrowed to those that answer."""
    async with gateway.http.get(f"{gateway.url}/openapi.json") as answer:
        told: dict[str, Any] = await answer.json()
    for body in BODIES:
        told["components"]["schemas"][body]["properties"]["model"] = {"enum": MODELS}
    return told


async def judged(
    program: Path, place: Path, gateway: Running, told: dict[str, Any], *options: str
) -> tuple[int | None, str]:
    """The program's exit code and words."""
    (place / "openapi.json").write_text(json.dumps(told), "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(program, "run", "openapi.json", "--url", gateway.url, "--seed", "7", "--no-color"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "10"),
        *("--exclude-checks", UNCHECKED, "--continue-on-failure", *options),
        cwd=place,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_no_crash_and_no_undocumented_answer(
    program: Path, tmp_path: Path, gateway: Running
) -> None:
    code, said = await judged(program, tmp_path, gateway, await described(gateway))
    assert code == 0, said
    assert "Tested: 10" in said


async def test_a_description_that_lies_is_found(
    program: Path, tmp_path: Path, gateway: Running
) -> None:
    told = await described(gateway)
    path = "/v1/models/{id}"
    del told["paths"][path]["get"]["responses"]["404"]
    code, said = await judged(program, tmp_path, gateway, told, "--include-path", path)
    assert code == 1, said
    assert "404" in said
