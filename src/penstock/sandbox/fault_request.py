"""The faults of the request that is handled: read from it, known while it is, put to work.

A request names its faults in a header, or in a mark behind a model's name; a rule of the
server may give it some. They hold for all that its handler does, and for a run that
starts meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TypeAlias

from aiohttp import web

from penstock.sandbox.fault_answers import Raw, instead, reframed
from penstock.sandbox.faults import HEADER, Faults, Given, at_stage, split_mark
from penstock.sandbox.reply import Handler
from penstock.sandbox.stream import Stream

Begin: TypeAlias = Callable[[web.Request, Mapping[str, str], int], Stream]

_GIVEN: ContextVar[Given] = ContextVar("sandbox_faults")


def given_now() -> Given:
    """Give the faults of the request that is handled."""
    return _GIVEN.get({})


async def chosen(request: web.Request, faults: Faults, limit: int) -> Given:
    """Give the faults of a request, and take their names out of it.

    Args:
        request: The request; its handler sees no mark any more.
        faults: The rules of the server.
        limit: How large a body may be that is looked into.
    """
    said = b""
    for key, value in request.match_info.items():
        rest, mark = split_mark(value.encode())
        request.match_info[key] = rest.decode()
        said = said or mark.encode()
    if request.content_type == "application/json":
        rest, mark = split_mark(await body_of(request, limit))
        if mark:
            # aiohttp has no public way to hand a handler another body than what came.
            request._read_bytes = rest  # noqa: SLF001
            said = said or mark.encode()
    header = request.headers.get(HEADER, "")
    return faults.choose(request.method, request.path, header, said.decode())


async def body_of(request: web.Request, limit: int) -> bytes:
    """Read a body that is kept for the handler; one too large is left to it unread."""
    # `web.Request.post` reads forms from what was kept, `multipart` cannot.
    small = 0 < (request.content_length or 0) <= limit
    if small and not request.content_type.startswith("multipart/"):
        return await request.read()
    return b""


async def faulty(
    request: web.Request, handler: Handler, given: Given, begin: Begin
) -> web.StreamResponse:
    """Answer a request that has faults; `begin` makes a stream of the server."""
    if "delay" in given:
        await asyncio.sleep(float(given["delay"]))
    answer = instead(request, given)
    if answer is not None:
        return answer
    before = _GIVEN.set(given)
    try:
        answer = await handler(request)
        if at_stage(given, "framing"):
            answer = Raw(reframed(answer, given))
        elif isinstance(answer, web.Response) and not answer.prepared:
            answer = await _shaped_whole(request, answer, given, begin)
        return answer
    finally:
        _GIVEN.reset(before)


async def _shaped_whole(
    request: web.Request, answer: web.Response, given: Given, begin: Begin
) -> web.StreamResponse:
    """Send an answer that is no stream under the faults of a stream's body."""
    faults = at_stage(given, "body")
    if not faults:
        return answer
    body = answer.body
    headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-length"}
    async with begin(request, headers, answer.status) as out:
        if isinstance(body, bytes) and body:
            await out.write(body)
    return out.response
