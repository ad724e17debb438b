"""Each row of the protocols' fault lists, on the wire and as a client of ours tells it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from penstock import Client, PenstockError
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.reader import Pace
from penstock.sandbox import Sandbox
from penstock.sandbox.fault_table import FAILURES, FAULTS
from penstock.sandbox.faults import parse_faults
from penstock.sandbox.script import Fixed
from penstock.sandbox.server import State
from penstock.types import Timeouts
from tests.sandbox.fault_rows import Row
from tests.sandbox.raw import QUESTION, seen_of
from tests.sandbox.rows_allenai import ALLENAI
from tests.sandbox.rows_chat_ui import CHATUI, H2O, TGI
from tests.sandbox.rows_openassistant import OPENASSISTANT
from tests.sandbox.rows_others import COG, OPENAI, REPLICATE

ROWS = [*ALLENAI, *OPENASSISTANT, *H2O, *TGI, *CHATUI, *REPLICATE, *COG, *OPENAI]
DONE = [row for row in ROWS if not row.test]
MODELS = {
    "allenai": "allenai/tulu3-405b",
    "threads": "allenai/Olmo-3-7B-Instruct",
    "openassistant": "openassistant/OA_SFT_Llama_30B_6",
    "h2o": "h2o/falcon-40b",
    "tgi": "tgi/",
    "chatui": "chatui/",
    "replicate": "replicate/meta/meta-llama-3-70b-instruct",
    "openai": "openai_compatible/sandbox-model",
    "cog": "cog/",
}
# Its waits are long enough for real workers.
QUICK = Pace(silence=0.3, look_every=0.02, poll=0.005, poll_most=0.01, patience=0.3)


def names(row: Row) -> str:
    return row.where.removeprefix("wire/")


def running(row: Row) -> Sandbox:
    script = "echo" if row.said is None else Fixed(row.said)
    return Sandbox([row.server], script=script, options={row.server: row.options})


@asynccontextmanager
async def talking(row: Row) -> AsyncIterator[tuple[Client, Sandbox]]:
    """A client whose limits are short only where it is to meet one."""
    limit = 0.4 if row.kind == "timeout" else row.limit
    limits = Timeouts(first_content=limit, idle=limit, waiting=limit)
    async with (
        running(row) as sandbox,
        Client(providers=sandbox.providers, timeout=limits) as client,
    ):
        if row.server == "openassistant":
            config = client._config("openassistant")
            quick = OpenAssistantProvider(client.session, config, pace=QUICK)
            client._providers["openassistant"] = quick
        if row.fault:
            sandbox.servers[row.server].faults.next(row.fault, path=row.path)
        yield client, sandbox


@pytest.mark.parametrize("row", DONE, ids=names)
async def test_what_a_row_says_is_seen_on_the_wire(row: Row) -> None:
    async with running(row) as sandbox:
        if row.fault:
            sandbox.servers[row.server].faults.next(row.fault, path=row.path)
        chat = row.chat or row.server
        seen = await seen_of(sandbox, row.server, chat, 0.3 if row.ends == "open" else 5.0)
    shown = seen.head + b"\n" + seen.body
    assert seen.status == row.status, shown[:500]
    assert re.search(row.sent.encode(), shown), shown[-900:]
    assert not row.never or not re.search(row.never.encode(), shown), shown[-900:]
    ending = "cut" if seen.cut and seen.ending != "open" else seen.ending
    assert ending == row.ends, shown[-300:]


OURS = [row for row in DONE if (row.chat or row.server).partition(".")[0] in MODELS]


@pytest.mark.parametrize("row", OURS, ids=names)
async def test_what_a_row_says_is_what_a_client_of_ours_tells(row: Row) -> None:
    async with asyncio.timeout(30), talking(row) as (client, sandbox):
        model = MODELS[(row.chat or row.server).partition(".")[0]]
        if row.kind is None:
            reply = await client.stream(model, QUESTION).reply()
            assert reply.text == (QUESTION if row.text is None else row.text)
        else:
            with pytest.raises(PenstockError) as caught:
                await client.stream(model, QUESTION).reply()
            partial = caught.value.partial if row.partial is not None else None
            assert (caught.value.kind, partial) == (row.kind, row.partial)
        if not row.left:
            await nothing_left(client, sandbox, row.server)


async def nothing_left(client: Client, sandbox: Sandbox, name: str) -> None:
    """Nothing open here, nothing left there."""
    try:
        async with asyncio.timeout(5):
            while _busy(client, msgspec.convert(sandbox.state(name), State)):
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"left: {client.session.open_connections} here, {sandbox.state(name)} there")


def _busy(client: Client, state: State) -> bool:
    here = client.session.open_connections or client.session.outbox.pending
    return bool(here or state.runs.running or state.open_streams or state.conversations.left)


def test_every_row_is_done_by_something() -> None:
    for row in ROWS:
        assert bool(row.test) != bool(row.server), row.where
        if row.test:
            file, _, name = row.test.partition("::")
            text = (Path(__file__).parent / file).read_text()
            assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), row.test


def test_no_row_stands_twice() -> None:
    done = [(row.where, row.test) for row in ROWS]
    assert len(set(done)) == len(done)


def test_every_fault_of_a_protocol_is_in_a_row() -> None:
    """So is every value it can have, and every failure that a server knows by name."""
    done = {(row.server, *one) for row in DONE for one in parse_faults(row.fault).items()}
    for name, kind in FAULTS.items():
        for server in kind.servers:
            usual = True if kind.default is None else kind.default
            assert {(server, name, value) for value in kind.values or (usual,)} <= done
    for server, failures in FAILURES.items():
        assert {(server, "fails-as", name) for name in failures} <= done
