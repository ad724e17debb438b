"""Queue, worker and event stream of Open-Assistant (wire/openassistant.md sections 4 to 8)."""

import asyncio

import aiohttp
import pytest

from penstock.sandbox.openassistant.events import cut
from penstock.sandbox.script import Fixed
from tests.sandbox.assistant_site import Heard, site, text
from tests.sandbox.speaking import Gated, until


def positions(events: list[dict[str, object]]) -> list[tuple[object, object]]:
    """The places told, each once."""
    told = [
        (one["queue_position"], one["queue_size"])
        for one in events
        if one["event_type"] == "pending"
    ]
    return list(dict.fromkeys(told))


@pytest.mark.parametrize("script", ["multilingual", "code", "blanks", "huge", "lorem"])
async def test_the_answer_is_streamed_whole_and_the_last_event_has_it_stripped(
    script: str,
) -> None:
    async with site(script) as at:
        events = await at.ann.answer()
        unstripped = await at.ann.answer(model_config_name="OA_SFT_Pythia_12B")
    whole = text(events)
    kinds = [one["event_type"] for one in events]
    assert whole == text(unstripped) != ""
    assert set(kinds[:-1]) == {"token"}
    assert kinds[-1] == "message"
    final, kept = events[-1]["message"], unstripped[-1]["message"]
    assert isinstance(final, dict)
    assert isinstance(kept, dict)
    assert (final["content"], final["state"]) == (whole.strip(), "complete")
    assert kept["content"] == whole


async def test_an_answer_may_be_empty() -> None:
    async with site("empty") as at:
        events = await at.ann.answer()
    assert [one["event_type"] for one in events] == ["message"]


async def test_one_worker_serves_first_come_first_served_and_tells_the_places() -> None:
    gate = Gated("done")
    async with site(gate, tick=0.02, patience=0) as at:
        asked = [await one.question() for one in (at.ann, at.ben, at.cat)]
        async with at.cat.events(*asked[2]) as stream:
            seen = [await stream.find("pending")]
            gate.open(1)
            await at.ann.until_state(*asked[0], "complete")
            while seen[-1]["queue_position"] != 1:
                seen.append(await stream.find("pending"))
            assert (await at.ben.message(*asked[1]))["state"] == "in_progress"
            gate.open(1)
            await at.ben.until_state(*asked[1], "complete")
            while seen[-1]["queue_position"]:
                seen.append(await stream.find("pending"))
            gate.open(1)
            rest = await stream.rest()
    assert positions(seen) == [(2, 2), (1, 1), (0, 0)]
    assert rest[-1]["event_type"] == "message"


async def test_pending_events_stop_with_the_first_piece_however_long_the_gap() -> None:
    gate = Gated("one", "two")
    async with site(gate, tick=0.01) as at:
        chat, ident = await at.ann.question()
        async with at.ann.events(chat, ident) as stream:
            assert await stream.next() == {
                "event_type": "pending",
                "queue_position": 0,
                "queue_size": 0,
            }
            gate.open(1)
            await stream.find("token")
            # Pings go on, each 15 ticks; no pending event comes between two of them.
            assert [(await stream.next() or {})["event_type"] for _ in range(2)] == ["ping"] * 2
            gate.open(1)
            assert [one["event_type"] for one in await stream.rest()] == ["token", "message"]


async def test_older_pings_are_events_whose_data_is_no_json() -> None:
    gate = Gated("one")
    async with site(gate, tick=0.005, pings="event") as at:
        chat, ident = await at.ann.question()
        async with at.ann.events(chat, ident) as stream:
            lines = (await stream.find("ping"))["lines"]
    assert isinstance(lines, list)
    assert lines[0] == b"event: ping"
    assert lines[1].startswith(b"data: 20")


async def test_asking_again_cancels_what_waits_in_any_chat_but_drafts_of_one_parent() -> None:
    gate = Gated("done")
    async with site(gate, tick=0.01, patience=0) as at:
        blocking = await at.ben.question()
        await at.ben.until_state(*blocking, "in_progress")
        first = await at.ann.question("first")
        prompt = str((await at.ann.message(*first))["parent_id"])
        draft = (await at.ann.assist(prompt)).id
        assert (await at.ann.message(*first))["state"] == "pending"
        chat = await at.ann.chat()
        other = (await at.ann.prompt(chat, "second")).id
        failed = await at.ann.assist(other, model_config_name="gpt-4")
        assert failed.status == 422
        for ident in (first[1], draft):
            assert (await at.ann.message(first[0], ident))["state"] == "cancelled"
        async with at.ann.events(*first) as stream:
            assert (await stream.find("pending"))["queue_position"] == 1
            second = (await at.ann.assist(other)).id
            gate.open(2)
            await at.ann.until_state(chat, second, "complete")
            # The worker has dropped it; its stream says pending for ever.
            last = [await stream.find("pending") for _ in range(3)][-1]
        assert (last["queue_position"], last["queue_size"]) == (0, 0)


async def test_a_full_queue_leaves_an_orphan_that_is_never_served() -> None:
    gate = Gated("done")
    async with site(gate, tick=0.01, patience=0, queue_limit=1) as at:
        asked = [await at.ann.question()]
        await at.ann.until_state(*asked[0], "in_progress")
        asked.append(await at.ben.question())
        chat = await at.cat.chat()
        refused = await at.cat.assist((await at.cat.prompt(chat, "Hi")).id)
        rows = (await at.cat.ask("GET", "/api/chat", chat_id=chat)).json["messages"]
        gate.open(2)
        await at.ben.until_state(*asked[1], "complete")
        assert isinstance(rows, list)
        orphan = rows[-1]["id"]
        async with at.cat.events(chat, orphan) as stream:
            told = await stream.find("pending")
    assert refused.status == 503
    assert (rows[-1]["state"], told["queue_position"]) == ("pending", 0)


async def test_the_rate_limit_looks_like_a_breakdown_and_counts_bad_requests() -> None:
    async with site(rate_limit=2, tick=1000) as at:
        chat = await at.ann.chat()
        prompt = (await at.ann.prompt(chat, "Hi")).id
        answers = [
            await at.ann.assist(prompt, model_config_name="gpt-4"),
            await at.ann.assist(prompt),
            await at.ann.assist(prompt),
        ]
        other = await at.ben.question()
        native = await at.ann.ask(
            "POST",
            f"/chats/{chat}/assistant_message",
            {"parent_id": prompt, "model_config_name": "OA_SFT_Llama_30B_6"},
            {"Authorization": "Bearer ann-token"},
        )
    assert [one.status for one in answers] == [422, 200, 500]
    assert answers[2].body == b'{"message":"Something went wrong"}'
    assert (native.status, native.body) == (500, b"Internal Server Error")
    assert other


async def test_the_rate_limit_ends_with_its_window() -> None:
    async with site(rate_limit=1, tick=0.0005, patience=0) as at:
        await at.ann.until_state(*await at.ann.question(), "complete")
        await asyncio.sleep(0.35)
        await at.ann.until_state(*await at.ann.question(), "complete")


async def test_two_readers_share_the_events_out() -> None:
    gate = Gated(*(f"{number} " for number in range(10)))
    async with site(gate, tick=0.01) as at:
        chat, ident = await at.ann.question()
        async with at.ann.events(chat, ident) as one, at.ann.native_events(chat, ident) as two:
            await one.find("pending")
            await two.find("pending")
            gate.open(10)
            done, waiting = await asyncio.wait(
                {asyncio.create_task(stream.rest()) for stream in (one, two)},
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in waiting:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        ended = [one["text"] for task in done for one in task.result() if "text" in one]
    # Only one gets the end, and neither gets all.
    assert len(done) == 1
    assert ended in ([f"{n} " for n in range(0, 10, 2)], [f"{n} " for n in range(1, 10, 2)])


async def test_a_reader_that_left_the_website_goes_on_eating() -> None:
    gate = Gated(*(f"{number} " for number in range(10)))
    async with site(gate, tick=0.01) as at:
        chat, ident = await at.ann.question()
        async with at.ann.events(chat, ident) as stream:
            gate.open(2)
            await stream.find("token")
        await until(lambda: at.server.open_streams == 0)
        gate.open(2)
        async with at.ann.events(chat, ident) as stream:
            gate.open(6)
            found = [await stream.find("token") for _ in range(3)]
            # The end was eaten as well: nothing more comes but pings.
            await at.ann.until_state(chat, ident, "complete")
            assert [(await stream.next() or {})["event_type"] for _ in range(2)] == ["ping"] * 2
        assert (await at.ann.message(chat, ident))["content"] == "0 1 2 3 4 5 6 7 8 9"
    assert [one["text"] for one in found] == ["4 ", "6 ", "8 "]


async def test_a_reader_that_comes_back_to_the_inference_server_loses_nothing() -> None:
    gate = Gated("one ", "two ", "three")
    async with site(gate, tick=0.01) as at:
        chat, ident = await at.ann.question()
        async with at.ann.native_events(chat, ident) as stream:
            gate.open(1)
            await stream.find("token")
        await until(lambda: at.server.open_streams == 0)
        async with at.ann.native_events(chat, ident) as stream:
            gate.open(2)
            assert text(await stream.rest()) == "two three"


async def test_an_answer_goes_on_without_readers_and_its_run_is_never_cancelled() -> None:
    gate = Gated("one ", "two")
    async with site(gate) as at:
        chat, ident = await at.ann.question()
        async with at.ann.events(chat, ident) as stream:
            gate.open(1)
            await stream.find("token")
        gate.open(1)
        message = await at.ann.until_state(chat, ident, "complete")
        assert message["content"] == "one two"
        assert at.counts() == {"started": 1, "finished": 1, "cancelled": 0, "running": 0}


async def test_an_answer_that_nobody_reads_is_given_after_a_while() -> None:
    async with site(patience=0.05) as at:
        chat, ident = await at.ann.question("Say it")
        assert (await at.ann.until_state(chat, ident, "complete"))["content"] == "Say it"


async def test_deleting_a_chat_that_is_answered_stalls_its_stream_and_loses_the_worker() -> None:
    gate = Gated("one ", "two")
    async with site(gate, tick=0.02, slots=3, patience=0) as at:
        doomed = await at.ann.question()
        begun = await at.ben.question()
        async with at.ann.events(*doomed) as stream, at.ben.events(*begun) as other:
            gate.open(2)
            await stream.find("token")
            await other.find("token")
            unbegun = await at.cat.question()
            await at.cat.until_state(*unbegun, "in_progress")
            assert (await at.ann.ask("DELETE", "/api/chat", chat_id=doomed[0])).status == 200
            gate.open(1)
            assert (await stream.find("token"))["text"] == "two"
            error = await other.find("error")
            assert (await stream.next() or {})["event_type"] == "ping"
        assert error["error"] == "Aborted due to worker error."
        assert (await at.ben.message(*begun))["state"] == "aborted_by_worker"
        gate.open(2)
        await at.cat.until_state(*unbegun, "complete")
        # What had not begun was put back and begun once more when the worker was there again.
        assert at.counts() == {"started": 4, "finished": 2, "cancelled": 2, "running": 0}


async def test_deleting_a_chat_that_waits_loses_the_worker_when_its_turn_comes() -> None:
    gate = Gated("done")
    async with site(gate, tick=0.02, patience=0) as at:
        first = await at.ann.question()
        await at.ann.until_state(*first, "in_progress")
        waiting, last = await at.ben.question(), await at.cat.question()
        assert (await at.ben.ask("DELETE", "/api/chat", chat_id=waiting[0])).status == 200
        gate.open(2)
        await at.ann.until_state(*first, "complete")
        assert (await at.cat.message(*last))["state"] == "pending"
        await at.cat.until_state(*last, "complete")


async def test_values_that_the_model_server_refuses_end_in_a_timeout() -> None:
    async with site(tick=0.004) as at:
        chat, ident = await at.ann.question(sampling_parameters={"temperature": 0})
        async with at.ann.events(chat, ident) as stream:
            error = await stream.find("error")
        assert error["error"] == "Timeout"
        assert (await at.ann.message(chat, ident))["state"] == "timeout"


async def test_a_message_that_waited_too_long_is_refused_when_its_turn_comes() -> None:
    gate = Gated("done")
    async with site(gate, tick=0.002, patience=0) as at:
        first, second = await at.ann.question(), await at.ben.question()
        async with at.ben.events(*second) as stream:
            assert (await stream.find("pending"))["queue_position"] == 1
            while (await stream.find("pending"))["queue_position"]:
                pass  # after 60 ticks the place is not known any more
            gate.open(1)
            assert (await stream.find("error"))["error"] == "Timeout"
        assert (await at.ann.message(*first))["state"] == "complete"


async def test_a_listed_model_may_have_no_worker() -> None:
    async with site(tick=0.01, unserved=("distilgpt2",)) as at:
        chat, ident = await at.ann.question(model_config_name="distilgpt2")
        assert (await at.ben.answer())[-1]["event_type"] == "message"
        async with at.ann.events(chat, ident) as stream:
            for _ in range(3):
                assert (await stream.find("pending"))["queue_position"] == 1


@pytest.mark.parametrize(
    ("how", "pieces"),
    [
        ("whole", ["a\U0001f642b"]),
        ("bytes", ["a", "\ufffd", "\ufffd", "\ufffd", "", "b"]),
        ("surrogates", ["a\ud83d", "\ude42b"]),
    ],
)
async def test_characters_beyond_the_basic_plane_are_cut_like_the_workers_tokens(
    how: str, pieces: list[str]
) -> None:
    async with site(Fixed(["a\U0001f642b"]), tokens=how) as at:
        events = await at.ann.answer()
    assert [one["text"] for one in events[:-1]] == pieces
    message = events[-1]["message"]
    assert isinstance(message, dict)
    assert message["content"] == "a\U0001f642b"


def test_plain_text_is_never_cut() -> None:
    assert cut("plain", "bytes") == ["plain"]


async def test_the_model_sees_all_ancestors_and_the_system_prompt() -> None:
    heard = Heard()
    async with site(heard) as at:
        chat, ident = await at.ann.question("first")
        async with at.ann.events(chat, ident) as stream:
            await stream.rest()
        prompt = await at.ann.prompt(chat, "second", ident)
        more = {"system_prompt": "Be kind.", "sampling_parameters": {"max_new_tokens": 7}}
        reply = (await at.ann.assist(prompt.id, **more)).id
        async with at.ann.events(chat, reply) as stream:
            await stream.rest()
    said = [(one.role, one.content) for one in heard.last]
    assert said == [
        ("system", "Be kind."),
        ("user", "first"),
        ("assistant", "ok"),
        ("user", "second"),
    ]
    assert heard.prompts[-1].max_tokens == 7


async def test_the_site_rounds_seeds_and_the_stream_does_not() -> None:
    async with site() as at:
        chat, ident = await at.ann.question()
        async with at.ann.events(chat, ident) as stream:
            event = (await stream.rest())[-1]["message"]
        message = await at.ann.message(chat, ident)
    assert isinstance(event, dict)
    parameters = message["work_parameters"]
    assert isinstance(parameters, dict)
    exact, rounded = event["work_parameters"]["seed"], parameters["seed"]
    assert float(exact) == float(rounded)
    assert len(str(rounded).rstrip("0")) <= 17, "the shortest digits that name a double"


async def test_the_sandbox_closes_while_messages_wait_and_streams_are_open() -> None:
    gate = Gated("never")
    async with site(gate, tick=0.01, patience=60) as at:
        asked = [await at.ann.question(), await at.ben.question()]
        async with at.ann.events(*asked[0]) as stream, at.ben.events(*asked[1]) as other:
            await stream.find("pending")
            at.server.end_runs()
            await at.server.aclose()
            with pytest.raises(aiohttp.ClientError):
                await other.rest()
        assert at.counts() == {"started": 1, "finished": 0, "cancelled": 1, "running": 0}
