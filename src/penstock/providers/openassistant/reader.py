"""Reading an answer: the event stream once, and the message itself when the stream is lost.

The stream hands out each event once, to whoever reads it, and cannot be reopened: a second reader
would take events away (``wire/openassistant.md`` section 7). So after a drop, a stall or a body
without an end, the message is read until its state is final, and its content ends the answer.

The server sends a heartbeat every 15 s. When the inference server dies, the website keeps the
connection open and silent: more than two missing heartbeats are its death.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

from penstock.errors import NetworkError, PenstockError, StreamTimeoutError, TruncatedError
from penstock.providers.common import Call
from penstock.providers.openassistant.dialect.answers import (
    WAITING_STATES,
    Message,
    state_error,
)
from penstock.providers.openassistant.dialect.stream import EventDecoder
from penstock.providers.pump import EventLists
from penstock.transport import Limits, Response, Watch
from penstock.types import Event, Timeouts, Value

Look = Callable[[Call], Awaitable[Message]]
"""Reads the message of the answer."""


class Pace(Value, frozen=True, kw_only=True):
    """The waits of this protocol, in seconds.

    Attributes:
        silence: bytes must come within this time; heartbeats count.
        look_every: while the message waits in the queue, its state is read so often.
        poll: pause before the second look; each further one is twice as long ...
        poll_most: ... up to this.
        hide: after waiting so long for an abandoned answer to end, its chat is hidden; a program
            that ends may not be there to delete it.
        patience: longest wait for an abandoned answer to end, so that its chat can be deleted.
    """

    silence: float = 30.0
    look_every: float = 15.0
    poll: float = 0.25
    poll_most: float = 2.0
    hide: float = 2.0
    patience: float = 300.0

    def pauses(self) -> Iterator[float]:
        """The pauses between looks, which grow."""
        pause = self.poll
        while True:
            yield pause
            pause = min(pause * 2, self.poll_most)


_LAST_LOOK = Timeouts(first_content=5.0, idle=5.0, total=5.0)


class Reader:
    """Reads one answer.

    Args:
        call: its limits apply.
        look: reads the message.
        pace: the protocol's waits.

    Attributes:
        decoder: what the stream has told so far.
    """

    def __init__(self, call: Call, look: Look, pace: Pace) -> None:
        self.decoder = EventDecoder()
        self._call = call
        self._look = look
        self._pace = pace
        self._clock = asyncio.get_running_loop().time
        self._looked = self._clock()

    async def read(self, opened: Response | NetworkError) -> EventLists:
        """The batches of the answer; the last one ends with ``Finished``.

        Args:
            opened: the open event stream, or why it could not be opened.

        Raises:
            PenstockError: the answer failed; all that had come of it was handed out.
        """
        try:
            if isinstance(opened, NetworkError):
                raise opened
            decoder = self.decoder
            heartbeat = Heartbeat(self._call.limits, opened.abort, self._pace.silence)
            try:
                async with aclosing(self._call.pump(opened, decoder, heartbeat)) as batches:
                    async for events in batches:
                        yield events
                        # While the message waits, see now and then whether it does (section 7).
                        waits = not decoder.started and decoder.failure is None
                        if waits and (ended := await self._checked()):
                            yield ended
            except PenstockError as error:
                error.status = error.status or opened.status
                raise
            return
        except (NetworkError, TruncatedError) as error:
            if self.decoder.final:  # the server's own word
                raise
            lost: PenstockError = error
        try:
            yield await self._recover(lost)
        except PenstockError:
            if held := self.decoder.flush():
                yield held
            raise

    async def _checked(self) -> list[Event] | None:
        """The end of the answer, if it is time to look and the message has one."""
        if self._clock() - self._looked < self._pace.look_every:
            return None
        self._looked = self._clock()
        try:
            message = await self._look(self._call)
        except PenstockError:
            return None  # the stream is the better witness, and it is alive
        return self._ended(message)

    def _ended(self, message: Message) -> list[Event] | None:
        if message.state == "complete":
            return self.decoder.complete(message.content)
        if (error := state_error(message.state)) is not None:
            self.decoder.final = True
            raise error
        if message.state != "pending":
            self.decoder.started = True
        return None

    async def _recover(self, lost: PenstockError) -> list[Event]:
        """The end of an answer whose stream is lost, read from the message.

        Raises:
            PenstockError: how the message ended, or ``lost`` if that is not to be learned.
        """
        limit_passed = isinstance(lost, StreamTimeoutError) and not isinstance(lost, _Silence)
        message = await (self._last_look(lost) if limit_passed else self._poll())
        ended = None if message is None else self._ended(message)
        if ended is None:
            raise lost
        return ended

    async def _poll(self) -> Message | None:
        """The message once its state is final; None if it does not come to that in time."""
        until = self._clock() + self._pace.patience
        for pause in self._pace.pauses():
            try:
                message = await self._try(self._call)
                if message is not None and message.state not in WAITING_STATES:
                    return message
                await self._call.limits.pause(pause)
            except (_Gone, StreamTimeoutError):
                break
            if self._clock() > until:
                break
        return None

    async def _last_look(self, lost: PenstockError) -> Message | None:
        """The caller's patience is at its end: one look, within seconds."""
        if getattr(lost, "phase", None) == "total":
            return None
        config = self._call.config.with_(timeouts=_LAST_LOOK)
        try:
            return await self._try(Call(self._call.session, config))
        except (_Gone, StreamTimeoutError):
            return None

    async def _try(self, call: Call) -> Message | None:
        try:
            return await self._look(call)
        except StreamTimeoutError:
            raise
        except NetworkError:
            return None  # the server may be starting again
        except PenstockError as error:
            if error.status is not None and error.status >= 500:
                return None
            raise _Gone from None


class Heartbeat(Watch):
    """A watch that also closes a connection on which no byte comes for too long.

    Its timer is set again when it fires, not at each read.

    Args:
        silence: seconds in which something must come, be it a comment.
    """

    __slots__ = ("_alive", "_reading", "_silence")

    def __init__(self, limits: Limits, abort: Callable[[], None], silence: float) -> None:
        super().__init__(limits, abort)
        self._silence = silence
        self._reading = False
        self._alive: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """A read begins."""
        self._reading = True
        if self._alive is None:
            self._alive = self._loop.call_later(self._silence, self._look)
        super().start()

    def stop(self, events: Sequence[Event] = ()) -> None:
        """The read ended, and what it brought is ``events``."""
        self._reading = False
        super().stop(events)

    def close(self) -> None:
        """No more reads."""
        if self._alive is not None:
            self._alive.cancel()
        super().close()

    def _look(self) -> None:
        waited = self._clock() - self._start if self._reading else 0.0
        if waited + 0.001 < self._silence:
            self._alive = self._loop.call_later(self._silence - waited, self._look)
        elif self.broken is None:
            self.broken = _Silence(
                f"the server fell silent: no heartbeat came within {self._silence:g} s"
            )
            self._abort()


class _Gone(Exception):
    """The message cannot be read, now or later."""


class _Silence(StreamTimeoutError):
    """No byte came, not even a heartbeat; the answer itself may be well."""
