"""The run: each back end is asked, its answers are shown, measured and compared.

A failure of one back end does not stop the others; what was not right is told at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

from penstock.cli.demo.board import Board
from penstock.cli.demo.hearing import Hearing
from penstock.cli.demo.recorded import replay_recorded
from penstock.cli.demo.score import Row, Turn, difference, row_of
from penstock.cli.demo.script import FAILING_QUESTION, Teller
from penstock.cli.demo.systems import SECOND_QUESTION, System
from penstock.client import Client
from penstock.config import Settings
from penstock.errors import PenstockError
from penstock.providers.h2o_sync import _create_completion
from penstock.sandbox import Sandbox
from penstock.sandbox.script import Script
from penstock.types import Conversation, Event, Text, Value

FAILING = "replicate"
"""The back end that is shown failing, if it is among those asked."""


class Plan(Value, frozen=True, kw_only=True):
    """What is to be shown.

    Attributes:
        pace: seconds between two pieces of the model.
        model: answers instead of the canned ones.
    """

    systems: tuple[System, ...]
    question: str
    pace: float
    model: Script | None = None

    @property
    def pace_words(self) -> str:
        """What sets the pieces a second that are measured."""
        if self.model is not None:
            return "as the model speaks"
        return f"the servers keep to {1 / self.pace:.0f}" if self.pace else "as fast as they come"


class Stand(Value, frozen=True):
    """One back end with its server and the model behind that."""

    system: System
    sandbox: Sandbox
    teller: Teller

    @property
    def settings(self) -> dict[str, str]:
        """What a client must know to use the server."""
        return self.sandbox.providers[self.system.provider]

    @property
    def left(self) -> int:
        """Remote conversations that are still there."""
        conversations = self.sandbox.state(self.system.server)["conversations"]
        assert isinstance(conversations, dict)
        return len(conversations["left"])


async def play(plan: Plan, board: Board) -> list[str]:
    """Show everything; returns what was not right, in words."""
    started = time.monotonic()
    board.opening(len(plan.systems))
    async with AsyncExitStack() as stack:
        stands = [await _stand(stack, system, plan) for system in plan.systems]
        run = _Run(plan, board, stands)
        client = await stack.enter_async_context(
            Client(
                config=Settings(),
                providers={
                    stand.system.provider: stand.settings
                    for stand in stands
                    if not stand.system.module
                },
            )
        )
        for stand in stands:
            await run.show(client, stand)
        await run.fail(client)
        run.problems += await replay_recorded(plan.systems, board)
        left_over = await client.aclose()
        run.problems += [f"not undone: {label}" for label in left_over]
        board.table(run.rows(), plan.pace_words)
    board.verdict(run.problems, time.monotonic() - started)
    return run.problems


async def _stand(stack: AsyncExitStack, system: System, plan: Plan) -> Stand:
    teller = Teller(system.key, plan.question, plan.model)
    sandbox = Sandbox([system.server], script=teller, pace=plan.pace)
    return Stand(system, await stack.enter_async_context(sandbox), teller)


class _Run:
    """The back ends one after another, and what came of them."""

    def __init__(self, plan: Plan, board: Board, stands: Sequence[Stand]) -> None:
        self.problems: list[str] = []
        self._plan = plan
        self._board = board
        self._stands = stands
        self._turns: dict[str, list[Turn]] = {stand.system.key: [] for stand in stands}

    async def show(self, client: Client, stand: Stand) -> None:
        """Ask one back end, and once more where it remembers."""
        system = stand.system
        self._board.heading(system.title, system.key, system.dialect)
        try:
            if system.threads:
                await self._talk(client, stand)
            else:
                question = self._plan.question
                await self._ask(stand, question, _events(client, stand, question))
        except PenstockError as error:
            self._board.failure(error)
            self.problems.append(f"{system.key}: {error.message}")

    async def fail(self, client: Client) -> None:
        """Show what an error looks like: the model breaks off half way."""
        chosen = (stand for stand in self._stands if stand.system.key == FAILING)
        stand = next(chosen, self._stands[0])
        self._board.heading("A failure", stand.system.title)
        self._board.question(FAILING_QUESTION)
        hearing = Hearing(self._board)
        try:
            await hearing.listen(_events(client, stand, FAILING_QUESTION))
        except PenstockError as error:
            self._board.failure(error)
            kept = error.partial == hearing.text == stand.teller.last
            if not kept or not hearing.text:
                self._trouble(stand.system, "the text before the failure was not kept")
            return
        self._trouble(stand.system, "the model failed, and its answer looked whole")

    def rows(self) -> list[tuple[System, Row]]:
        """The lines of the table; conversations left behind are problems."""
        rows = []
        for stand in self._stands:
            row = row_of(self._turns[stand.system.key], stand.left)
            rows.append((stand.system, row))
            if row.left:
                self.problems.append(f"{stand.system.key}: {row.left} conversations left behind")
        return rows

    async def _talk(self, client: Client, stand: Stand) -> None:
        model = _model(stand.system)
        conversation = client.conversation(model)
        try:
            first = _events(client, stand, self._plan.question, conversation)
            await self._ask(stand, self._plan.question, first)
            thread = conversation.id
            second = _events(client, stand, SECOND_QUESTION, conversation)
            text = await self._ask(stand, SECOND_QUESTION, second, goes_on=True)
            if conversation.id != thread:
                self._trouble(stand.system, "the second turn went to another conversation")
            if stand.teller.is_canned and self._plan.question not in text:
                self._trouble(stand.system, "the second turn did not know of the first")
        finally:
            await client.delete(model, conversation)

    async def _ask(
        self, stand: Stand, question: str, events: AsyncIterator[Event], *, goes_on: bool = False
    ) -> str:
        """Show one answer, measure it and compare it with what the model said."""
        self._board.question(question)
        hearing = Hearing(self._board)
        await hearing.listen(events)
        turn = hearing.turn(goes_on=goes_on)
        self._turns[stand.system.key].append(turn)
        self._board.facts(turn)
        wrong = difference(turn.text, stand.teller.last)
        if wrong is not None:
            self._trouble(stand.system, wrong)
        return turn.text

    def _trouble(self, system: System, words: str) -> None:
        self._board.trouble(words)
        self.problems.append(f"{system.key}: {words}")


def _model(system: System) -> str:
    return f"{system.provider}/{system.model}"


async def _events(
    client: Client, stand: Stand, question: str, conversation: Conversation | None = None
) -> AsyncIterator[Event]:
    if stand.system.module:
        async for piece in _module_pieces(stand, question):
            yield Text(piece)
        return
    stream = client.stream(_model(stand.system), question, conversation=conversation)
    async with stream:
        async for event in stream:
            yield event


async def _module_pieces(stand: Stand, question: str) -> AsyncIterator[str]:
    """The pieces of the synchronous module, each waited for on a thread."""
    messages = [{"role": "user", "content": question}]
    pieces = _create_completion(stand.system.model, messages, True, **stand.settings)
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
    finally:
        await asyncio.to_thread(pieces.close)
