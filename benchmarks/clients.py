"""What is measured through a real loopback socket: our client, and clients of others beside it.

Each runs in a process of its own, the others in the environments of ``benchmarks.peers``, as far as
those are there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks import upstream
from benchmarks.figures import Figure
from benchmarks.peers import python_of

ROUNDS = 5
STREAMS = 1000
IDLE_BUDGET = 40.0

# Every program has ``one(model)``: an async iterator of pieces of text, to be closed by aclose.
_OURS = """
from penstock import Client
from penstock.provider import SessionConfig
from penstock.transport import Session

session = Session(SessionConfig(connections=2000))
client = Client(session=session, providers={"openai_compatible": {"base_url": URL}})

async def one(model):
    async with client.stream(f"openai_compatible/{model}", "Hello") as answer:
        async for piece in answer.text():
            yield piece
"""
_OPENAI = """
import httpx2
from openai import AsyncOpenAI

limits = httpx2.Limits(max_connections=2000)
client = AsyncOpenAI(base_url=URL, api_key="none", http_client=httpx2.AsyncClient(limits=limits))

async def one(model):
    messages = [{"role": "user", "content": "Hello"}]
    stream = await client.chat.completions.create(model=model, messages=messages, stream=True)
    async with stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content
"""
_HTTPX_SSE = """
import httpx
from httpx_sse import aconnect_sse

client = httpx.AsyncClient(limits=httpx.Limits(max_connections=2000), timeout=60)

async def one(model):
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    async with aconnect_sse(client, "POST", f"{URL}/chat/completions", json=body) as source:
        async for event in source.aiter_sse():
            if event.data == "[DONE]":
                return
            if piece := json.loads(event.data)["choices"][0]["delta"].get("content"):
                yield piece
"""

_MEASURE = """
import asyncio, gc, json, os, sys, time

async def rate(model, rounds):
    best = float("inf")
    for _ in range(rounds):
        started, seen = time.process_time(), 0
        async for piece in one(model):
            seen += 1
        best = min(best, time.process_time() - started)
    return seen, best

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024

async def idle(number):
    held = []
    async def more(count):
        for _ in range(count):
            stream = one("idle")
            await anext(stream)
            held.append(stream)
    await more(50)
    before = resident()
    await more(number)
    after = resident()
    os.write(1, json.dumps((after - before) / number).encode())
    os._exit(0)  # leaving a thousand streams in order is not what is measured

async def main(what, number):
    if what == "idle":
        await idle(number)
    print(json.dumps(await rate(what, number)))

asyncio.run(main(sys.argv[2], int(sys.argv[3])))
"""

_PROGRAMS = {
    "penstock": (_OURS, Path(sys.executable)),
    "openai": (_OPENAI, python_of("openai")),
    "httpx-sse and json": (_HTTPX_SSE, python_of("httpx-sse")),
}


def figures() -> list[Figure]:
    """CPU time per token and memory per idle stream, ours and those that can be had."""
    found = []
    with upstream.running() as url:
        for name, (program, python) in _PROGRAMS.items():
            if not python.exists():
                continue
            for model, writes in (("large", "large writes"), ("small", "a token a write")):
                seen, spent = msgspec.convert(
                    _run(python, program, url, model, ROUNDS), tuple[int, float]
                )
                if seen != upstream.TOKENS:
                    raise SystemExit(f"bench: {name}: {seen} of {upstream.TOKENS} tokens came")
                found.append(Figure(f"{name}, {writes}", spent / seen * 1e6, "us CPU/token"))
            budget = IDLE_BUDGET if name == "penstock" else None
            kept = msgspec.convert(_run(python, program, url, "idle", STREAMS), float)
            found.append(Figure(f"{name}, {STREAMS} idle streams", kept, "KB each", budget))
    return found


def _run(python: Path, program: str, url: str, what: str, number: int) -> object:
    source = f"import json, sys\nURL = sys.argv[1]\n{program}\n{_MEASURE}"
    command = [str(python), "-c", source, url, what, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {done.stderr[-2000:]}")
    return json.loads(done.stdout)
