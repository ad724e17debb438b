"""An answer that is written piece by piece, and what faults make of its bytes and end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from typing import Self

from aiohttp import web

from penstock.sandbox.fault_shape import Act, Shape, content_encoding, content_type
from penstock.sandbox.faults import Given

_READ_TIME = 0.05


class FaultEndError(ConnectionResetError):
    """A fault has ended a stream; to its handler that is a reader who has left."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__("a fault ended the stream")
        self.response = response


class Stream:
    """An answer under way whose bytes and end are chosen one by one.

    Use it as an async context manager, see `Server.stream`; the handler returns
    `response`. Left without an exception it ends in order; left with one, aiohttp closes
    the connection.

    Args:
        request: What it answers.
        response: The answer, with its status and headers.
        among: The streams that are open; this one is there from its entry to its end.
        cut: How many bytes go in one network write; 0 sends each frame as one.
        shape: What faults make of the body.
    """

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        among: set[Stream],
        cut: int,
        shape: Shape | None = None,
    ) -> None:
        self.response = response
        self._request = request
        self._among = among
        self._cut = cut
        self._shape = shape

    async def __aenter__(self) -> Self:
        self._among.add(self)
        try:
            await self.response.prepare(self._request)
            if self._shape is not None:
                await self._perform(self._shape.opening())
        except BaseException:
            self._among.discard(self)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and not self.gone and self._shape is not None:
                await self._perform(self._shape.closing())
            if kind is None and not self.gone:
                await self.response.write_eof()
        finally:
            self._among.discard(self)

    @property
    def gone(self) -> bool:
        """Whether the connection is closed or closing."""
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def write(self, data: bytes) -> None:
        """Send bytes, in the cuts the options ask for.

        Raises:
            ConnectionResetError: The reader has left, or a fault has ended the stream.
        """
        if self._shape is not None:
            await self._perform(self._shape.frame(data))
            return
        size = self._cut or len(data) or 1
        for start in range(0, len(data), size):
            await self.response.write(data[start : start + size])
            if self._cut:
                await asyncio.sleep(0)

    def break_off(self) -> None:
        """Close the connection without the last chunk; what was written still arrives."""
        if self._request.transport is not None:
            self._request.transport.close()

    def reset(self) -> None:
        """Reset the connection; what was written may be lost."""
        transport = self._request.transport
        if transport is not None:
            # Closed with a linger time of zero, the kernel sends a reset and no end.
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            transport.abort()

    async def stall(self) -> None:
        """Say nothing more until the reader leaves or the sandbox closes."""
        await asyncio.Event().wait()

    async def _perform(self, acts: Iterable[Act]) -> None:
        for act in acts:
            match act:
                case bytes():
                    await self.response.write(act)
                    await asyncio.sleep(0)
                case float():
                    await asyncio.sleep(act)
                case "stall":
                    await self.stall()
                case "comments":
                    await self._keep_alive()
                case "end":
                    await self.response.write_eof()
                    raise FaultEndError(self.response)
                case "break":
                    self.break_off()
                    raise FaultEndError(self.response)
                case "reset":
                    # What was written before is to be read, not lost.
                    await asyncio.sleep(_READ_TIME)
                    self.reset()
                    raise FaultEndError(self.response)

    async def _keep_alive(self) -> None:
        assert self._shape is not None
        while True:
            await self.response.write(self._shape.comment)
            await asyncio.sleep(self._shape.every)


def shaped(response: web.StreamResponse, faults: Given) -> Shape:
    """Let the headers tell what the faults of the body make of it."""
    usual = response.headers.get("Content-Type", "")
    if {"type", "charset"} & faults.keys():
        response.headers["Content-Type"] = content_type(faults, usual)
    encoding = content_encoding(faults)
    if encoding is not None:
        response.headers["Content-Encoding"] = encoding
    return Shape(faults, usual)
