"""Answers from any server that speaks OpenAI's chat completions.

With a local model behind it, the sandbox gives real answers over the real protocols.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import aiohttp
import msgspec

from penstock.sandbox.script import End, ModelFailure, Prompt, Said, Thought

_LINE_LIMIT = 4 * 1024 * 1024


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Problem(msgspec.Struct, frozen=True):
    message: str = "the backend failed"


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    error: _Problem | str | None = None


class Backend:
    """A script whose pieces are streamed from ``url``/v1/chat/completions.

    Args:
        url: Base URL, with or without ``/v1`` at its end.
        model: The model named in each request.
        api_key: Sent as bearer token where given.
    """

    def __init__(self, url: str, model: str, api_key: str | None = None) -> None:
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1/chat/completions"
        self._model = model
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Ask the backend and pass its pieces on.

        Raises:
            ModelFailure: The backend could not be reached, refused, or broke off.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, json=self._body(prompt), headers=self._headers) as answer,
            ):
                if answer.status != 200:
                    raise ModelFailure(_reason(await answer.read()), answer.status)
                async for chunk in _chunks(answer.content):
                    for said in _said(chunk):
                        yield said
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise ModelFailure(f"backend not usable: {problem}") from problem

    def _body(self, prompt: Prompt) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._model,
            "messages": msgspec.to_builtins(prompt.messages),
            "stream": True,
        }
        if prompt.max_tokens is not None:
            body["max_tokens"] = prompt.max_tokens
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        return body


async def _chunks(content: aiohttp.StreamReader) -> AsyncIterator[_Chunk]:
    async for line in _lines(content):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        try:
            yield msgspec.json.decode(data, type=_Chunk)
        except msgspec.MsgspecError as problem:
            raise ModelFailure(f"backend sent a bad chunk: {problem}") from problem
    raise ModelFailure("backend broke off before [DONE]")


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for read in content.iter_any():
        *lines, rest = (rest + read).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            raise ModelFailure("backend sent an endless line")
        for line in lines:
            yield line


def _said(chunk: _Chunk) -> list[Said]:
    if chunk.error is not None:
        raise ModelFailure(chunk.error if isinstance(chunk.error, str) else chunk.error.message)
    said: list[Said] = []
    for choice in chunk.choices[:1]:
        thought = choice.delta.reasoning_content or choice.delta.reasoning
        if thought:
            said.append(Thought(thought))
        if choice.delta.content:
            said.append(choice.delta.content)
        if choice.finish_reason:
            said.append(End(choice.finish_reason))
    return said


def _reason(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body, type=_Chunk).error
    except msgspec.MsgspecError:
        error = None
    if isinstance(error, _Problem):
        return error.message
    return error or body[:300].decode("utf-8", "replace") or "the backend failed"
