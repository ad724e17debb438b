"""The core: ports, counting, runs, and control of the framing."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web

import penstock.sandbox
from penstock.sandbox import SANDBOX_PROVIDERS, Sandbox
from penstock.sandbox.run import Run
from penstock.sandbox.script import End, Fixed, Message, Prompt, Script
from penstock.sandbox.server import LOG_LENGTH, STATE_PATH, Options, Server, reply
from tests.sandbox.speaking import Bell, Failing, until

PROMPT = Prompt(messages=(Message("user", "Say it"),))


class Plain(Server):
    """A protocol as small as can be: the text itself."""

    kind = "plain"
    extra_origins = ("other",)
    last: Run

    def routes(self) -> Sequence[web.RouteDef]:
        return (web.get("/say/{end}", self._say), web.delete("/thing", self._nothing))

    def extra_routes(self, origin: str) -> Sequence[web.RouteDef]:
        return (web.get("/where", self._nothing),)

    async def _nothing(self, request: web.Request) -> web.Response:
        return reply(200)

    async def _say(self, request: web.Request) -> web.StreamResponse:
        self.last = self.run(PROMPT)
        async with self.stream(request, {"Content-Type": "text/x-plain"}) as out:
            async for piece in self.last.follow():
                await out.write(str(piece).encode())
            match request.match_info["end"]:
                case "cut":
                    out.break_off()
                case "late":
                    out.break_off()
                    await out.write(b"nobody hears it")
                case "reset":
                    out.reset()
                case "stall":
                    await out.stall()
                case _:
                    pass
        return out.response


@pytest.fixture(autouse=True)
def plain_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the small server into the table, under its own name."""
    monkeypatch.setitem(penstock.sandbox._SERVERS, "plain", f"{__name__}:Plain")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def counts(sandbox: Sandbox, name: str = "plain") -> dict[str, int]:
    runs = sandbox.state(name)["runs"]
    assert isinstance(runs, dict)
    return runs


def server_of(sandbox: Sandbox) -> Plain:
    server = sandbox.servers["plain"]
    assert isinstance(server, Plain)
    return server


async def test_every_port_shows_the_state_of_its_server(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("plain",), script=Fixed(["a", "b"])) as sandbox:
        assert list(sandbox.urls) == ["plain", "plain.other"]
        async with client.get(sandbox.urls["plain"] + "/say/end?key=secret") as answer:
            assert await answer.text() == "ab"
            assert answer.headers["Content-Type"] == "text/x-plain"
        async with client.get(sandbox.urls["plain.other"] + STATE_PATH) as answer:
            shown = await answer.json()
        expected = sandbox.state("plain")
        assert {**shown, "open_connections": 0} == {**expected, "open_connections": 0}
        assert shown["requests"] == 1
        assert shown["runs"] == {"started": 1, "finished": 1, "cancelled": 0, "running": 0}
        assert shown["log"] == [{"method": "GET", "path": "/say/end", "status": 200}]


async def test_a_write_to_a_client_that_has_just_left_makes_no_noise(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with Sandbox(("plain",), script=Fixed(["a"])) as sandbox:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.get(sandbox.urls["plain"] + "/say/late") as answer:
                await answer.read()
        await until(lambda: sandbox.state("plain")["open_streams"] == 0)
    assert caplog.records == []


async def test_the_log_forgets_the_oldest_requests(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("plain",)) as sandbox:
        for _ in range(LOG_LENGTH + 3):
            async with client.delete(sandbox.urls["plain"] + "/thing"):
                pass
        state = sandbox.state("plain")
        assert state["requests"] == LOG_LENGTH + 3
        assert isinstance(state["log"], list)
        assert len(state["log"]) == LOG_LENGTH


async def test_an_empty_answer_has_no_content_type(client: aiohttp.ClientSession) -> None:
    async with (
        Sandbox(("plain",)) as sandbox,
        client.delete(sandbox.urls["plain"] + "/thing") as answer,
    ):
        assert "Content-Type" not in answer.headers
        assert "Server" not in answer.headers


async def test_what_was_left_is_created_and_not_deleted() -> None:
    async with Sandbox(("plain",)) as sandbox:
        server = sandbox.servers["plain"]
        for ident in ("one", "two", "three"):
            server.note_created(ident)
        server.note_deleted("two")
        assert sandbox.state("plain")["conversations"] == {
            "created": ["one", "two", "three"],
            "deleted": ["two"],
            "left": ["one", "three"],
        }


async def test_a_run_goes_on_when_its_reader_leaves(client: aiohttp.ClientSession) -> None:
    bell = Bell()
    async with Sandbox(("plain",), script=bell) as sandbox:
        answer = await client.get(sandbox.urls["plain"] + "/say/end")
        bell.rung.put_nowait("one")
        assert await answer.content.readany() == b"one"
        assert sandbox.state("plain")["open_streams"] == 1
        answer.close()
        await until(lambda: sandbox.state("plain")["open_streams"] == 0)
        await until(lambda: sandbox.state("plain")["open_connections"] == 0)
        assert counts(sandbox)["running"] == 1
        bell.rung.put_nowait(" two")
        bell.rung.put_nowait(End())
        run = server_of(sandbox).last
        await run.wait()
        assert (run.text, run.state, run.finish) == ("one two", "finished", "stop")
        await until(lambda: bell.closed)


async def test_cancelling_a_run_ends_its_readers_and_closes_its_script(
    client: aiohttp.ClientSession,
) -> None:
    bell = Bell()
    async with Sandbox(("plain",), script=bell) as sandbox:
        async with client.get(sandbox.urls["plain"] + "/say/end") as answer:
            bell.rung.put_nowait("one")
            assert await answer.content.readany() == b"one"
            server_of(sandbox).last.cancel()
            assert await answer.read() == b""
        assert counts(sandbox) == {"started": 1, "finished": 0, "cancelled": 1, "running": 0}
        await until(lambda: bell.closed)


async def test_closing_the_sandbox_ends_all_runs_and_streams(
    client: aiohttp.ClientSession,
) -> None:
    bell = Bell()
    async with Sandbox(("plain", "plain:second"), script=bell) as sandbox:
        answers = [
            await client.get(sandbox.urls[name] + "/say/stall")
            for name in ("plain", "plain:second")
        ]
    assert bell.closed
    for answer in answers:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert counts(sandbox, "plain:second")["cancelled"] == 1


@pytest.mark.parametrize("end", ["cut", "reset"])
async def test_a_broken_off_stream_is_not_whole(client: aiohttp.ClientSession, end: str) -> None:
    async with (
        Sandbox(("plain",), script=Fixed(["ab"])) as sandbox,
        client.get(sandbox.urls["plain"] + f"/say/{end}") as answer,
    ):
        with pytest.raises(aiohttp.ClientError) as caught:
            await answer.read()
    assert isinstance(caught.value, aiohttp.ClientPayloadError)
    assert ("ConnectionResetError" in repr(caught.value)) == (end == "reset")


async def test_cut_chooses_the_size_of_network_writes(client: aiohttp.ClientSession) -> None:
    text = "Grüße 👋🏽"
    async with (
        Sandbox(("plain",), script=Fixed([text]), options={"plain": {"cut": 1}}) as sandbox,
        client.get(sandbox.urls["plain"] + "/say/end") as answer,
    ):
        chunks = [chunk async for chunk, _ in answer.content.iter_chunks() if chunk]
    assert [len(chunk) for chunk in chunks] == [1] * len(text.encode())
    assert b"".join(chunks).decode() == text


async def test_pace_is_time_between_pieces(client: aiohttp.ClientSession) -> None:
    clock = asyncio.get_running_loop()
    async with Sandbox(("plain",), script=Fixed(["a"] * 5), pace=0.02) as sandbox:
        begun = clock.time()
        async with client.get(sandbox.urls["plain"] + "/say/end") as answer:
            await answer.read()
        assert clock.time() - begun >= 0.08


async def run_of(script: Script, prompt: Prompt = PROMPT) -> Run:
    """Let a run come to its end."""
    run = Run(prompt, script, 0.0, lambda _: None)
    async with asyncio.TaskGroup() as tasks:
        run.start(tasks)
    return run


async def test_a_run_ends_at_its_most_tokens() -> None:
    prompt = Prompt(messages=(), max_tokens=2)
    run = await run_of(Fixed(["a", "b", "c"]), prompt)
    assert (run.text, run.finish, run.stopped_by) == ("ab", "length", None)


async def test_a_run_ends_at_a_stop_text_that_spans_pieces() -> None:
    prompt = Prompt(messages=(), stop=("<end>",))
    run = await run_of(Fixed(["a<e", "nd", ">b", "c"]), prompt)
    assert (run.text, run.finish, run.stopped_by) == ("a<end>b", "stop", "<end>")


async def test_a_failing_model_ends_the_run_with_its_reason() -> None:
    run = await run_of(Failing("a", reason="no memory left", status=507))
    assert (run.text, run.state, run.finish) == ("a", "failed", None)
    assert run.failure is not None
    assert (run.failure.message, run.failure.status) == ("no memory left", 507)


async def test_a_silent_run_beats_for_its_reader() -> None:
    bell = Bell()
    run = Run(PROMPT, bell, 0.0, lambda _: None)
    async with asyncio.TaskGroup() as tasks:
        run.start(tasks)
        seen = run.follow(beat=0.01)
        assert await anext(seen) is None
        bell.rung.put_nowait("a")
        assert await anext(seen) == "a"
        run.cancel()
        assert [piece async for piece in seen] == []


async def test_a_change_can_be_waited_for() -> None:
    bell = Bell()
    run = Run(PROMPT, bell, 0.0, lambda _: None)
    async with asyncio.TaskGroup() as tasks:
        run.start(tasks)
        assert not await run.changed(0.005)
        bell.rung.put_nowait("a")
        assert await run.changed()
        run.cancel()
    assert run.pieces == ["a"]


async def test_readers_begin_where_they_ask_to() -> None:
    run = await run_of(Fixed(["a", "b", "c"]))
    assert [piece async for piece in run.follow(1)] == ["b", "c"]


def two_free_ports() -> int:
    """Give the first of two neighbouring ports that nobody uses."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            with suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                return port


async def test_ports_are_chosen_by_name_and_in_a_row() -> None:
    async with Sandbox(("plain",)) as free:
        taken = int(free.urls["plain"].rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            async with Sandbox(("plain:b",), ports={"plain:b": taken}):
                pass
    async with Sandbox(("plain",), ports={"plain.other": taken}) as sandbox:
        assert sandbox.urls["plain.other"] == f"http://127.0.0.1:{taken}"
    first = two_free_ports()
    async with Sandbox(("plain",), port=first) as sandbox:
        ports = [int(url.rpartition(":")[2]) for url in sandbox.urls.values()]
        assert ports == [first, first + 1]


async def test_the_callers_exception_stays_what_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with Sandbox(("plain",)):
            raise LookupError("mine")


def test_names_are_checked_before_anything_listens() -> None:
    with pytest.raises(ValueError, match="no sandbox server 'nobody'; there are: allenai"):
        Sandbox(("nobody",))
    with pytest.raises(ValueError, match="named twice"):
        Sandbox(("plain", "plain"))
    with pytest.raises(ValueError, match="not started"):
        Sandbox(("plain",), options={"plain:b": {}})


@pytest.mark.parametrize("options", [{"cutt": 1}, {"cut": "many"}])
async def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="options of 'plain'"):
        async with Sandbox(("plain",), options={"plain": options}):
            pass


def test_options_hold_nothing_that_changes() -> None:
    assert Options() == Options(cut=0, pace=None)


def test_a_server_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, penstock.sandbox as s; "
        "print([n for n in s.SANDBOX_PROVIDERS if 'penstock.sandbox.' + n in sys.modules], "
        "'aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def test_the_names_are_those_of_the_back_ends() -> None:
    assert SANDBOX_PROVIDERS == (
        "allenai",
        "openassistant",
        "h2o",
        "tgi",
        "chatui",
        "replicate",
        "cog",
        "openai",
    )
