"""A conversation in the terminal: what is kept, continued, removed and remembered."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_chat import until
from tests.sandboxed import Servers

Open = Callable[..., Terminal]


@pytest.fixture
def opened(configured: Path, tmp_path: Path) -> Iterator[Open]:
    """Open a chat that stands at its first prompt."""
    terminals: list[Terminal] = []

    def opened(*arguments: str, term: str = "dumb", size: tuple[int, int] = (24, 80)) -> Terminal:
        terminal = Terminal("chat", *arguments, state=tmp_path / "state", term=term, size=size)
        terminals.append(terminal)
        terminal.expect("leaves\n")
        terminal.expect("> ")
        return terminal

    yield opened
    for terminal in terminals:
        with terminal:
            pass


def saved(terminal: Terminal, name: str) -> list[dict[str, str]]:
    """The messages, as /save writes them."""
    terminal.enter(f"/save {name}", f"saved to {name}\n> ")
    messages: list[dict[str, str]] = json.loads(Path(name).read_text())["messages"]
    return messages


def test_a_conversation_with_every_command(opened: Open) -> None:
    terminal = opened()
    terminal.enter(
        "/model openai_compatible/sandbox-model", "now openai_compatible/sandbox-model\n"
    )
    terminal.enter("/model nobody/x", "Error: 'nobody/x' names no provider")
    terminal.enter(
        "/model", "openai_compatible/sandbox-model answers; /model NAME goes on with another"
    )
    terminal.enter("first question", "first question\nfirst question\n")
    terminal.enter("/retry", "/retry\nfirst question\n")
    terminal.enter("FAIL", "Error: openai_compatible: ")
    terminal.enter("/system Be brief.", "the system message is set")
    terminal.enter(
        "/history",
        "[system: Be brief.]\n\n> first question\nfirst question\n\n> FAIL\nFAIL [failed: ",
    )
    terminal.enter("/clear", "forgotten")
    terminal.enter("/history", "nothing was said yet")
    terminal.enter("/retry", "there is no question to ask again")
    terminal.enter("/save", "/save wants the name of a file")
    terminal.enter("/save nowhere/talk.json", "cannot be written")
    terminal.enter("/hystory", "did you mean /history? /help tells the commands")
    terminal.enter("/help", "/save! FILE")
    terminal.type("/quit")
    assert terminal.end() == 0


def test_a_stopped_answer_is_kept_as_what_it_is(opened: Open, servers: Servers) -> None:
    before = servers.state("h2o").runs.cancelled
    terminal = opened()
    terminal.enter("HOLD", " on on")
    terminal.press("\x03")
    terminal.expect("Stopped, here and on the server; what came is kept; /retry asks again.")
    until(lambda: servers.state("h2o").runs.cancelled == before + 1)
    question, answer = saved(terminal, "talk.json")
    assert question == {"role": "user", "content": "HOLD"}
    assert answer["content"].startswith("HOLD on on")
    assert answer["end"] == "stopped"
    terminal.enter("/history", "[stopped here]")
    terminal.enter("/retry", "/retry\nHOLD on on")
    terminal.press("\x03")
    terminal.expect("Stopped, here")
    assert len(saved(terminal, "again.json")) == 2
    terminal.press("\x04")
    assert terminal.end() == 0
    assert servers.state("h2o").conversations.left == []


def test_what_is_typed_during_an_answer_is_not_mixed_with_it(opened: Open) -> None:
    terminal = opened(term="xterm")
    terminal.enter("HOLD", " on on")
    terminal.enter("/history", " on on")
    terminal.press("\x03")
    assert "/" not in terminal.expect("Stopped, here")


def test_a_file_that_is_there_is_not_written_over_by_mistake(opened: Open) -> None:
    Path("talk.json").write_text("dear to me")
    terminal = opened()
    terminal.enter("/save talk.json", "talk.json is there already; /save! talk.json writes over it")
    assert Path("talk.json").read_text() == "dear to me"
    terminal.enter("/save! talk.json", "saved to talk.json")
    assert json.loads(Path("talk.json").read_text())["messages"] == []


def test_the_servers_own_conversation_goes_on_and_is_removed_at_the_end(
    opened: Open, servers: Servers
) -> None:
    before = len(servers.state("h2o").conversations.created)
    terminal = opened()
    for question in ("one", "two", "three"):
        terminal.enter(question, f"{question}\n{question}\n")
    assert len(servers.state("h2o").conversations.created) == before + 1
    assert len(servers.state("h2o").conversations.left) == 1
    terminal.enter("/retry", "/retry\nthree\n")  # on the same server, in the same conversation
    assert len(servers.state("h2o").conversations.created) == before + 1
    terminal.enter("/model openai_compatible/sandbox-model", "the chat so far goes along")
    terminal.enter("four", "four\nfour\n")
    terminal.type("/quit")
    assert terminal.end() == 0
    assert servers.state("h2o").conversations.left == []


def test_a_conversation_may_be_kept(opened: Open, servers: Servers) -> None:
    terminal = opened("--keep", "-m", "openassistant/OA_SFT_Llama_30B_6")
    terminal.enter("one", "one\none\n> ")
    terminal.press("\x04")
    terminal.expect("kept on the server: openassistant: conversation ")
    assert terminal.end() == 0
    assert len(servers.state("openassistant").conversations.left) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_the_program_ends_a_chat(
    opened: Open, servers: Servers, number: signal.Signals
) -> None:
    terminal = opened()
    terminal.enter("one", "one\none\n")
    terminal.expect("> ")
    for _ in range(3):  # the interpreter misses one in the moment in which it begins to wait
        terminal.program.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            terminal.program.wait(3)
            break
    assert terminal.end() == 130
    assert servers.state("h2o").conversations.left == []


def test_interrupts_at_the_prompt_do_not_end_a_chat(opened: Open) -> None:
    terminal = opened(term="xterm")
    terminal.press("half a li")
    terminal.expect("half a li")
    terminal.interrupt_prompt("> ")
    terminal.interrupt_prompt("Ctrl-D or /quit leaves")
    terminal.enter("whole", "whole\nwhole\n")


def test_a_paste_is_one_question(opened: Open) -> None:
    terminal = opened(term="xterm")
    terminal.press("\x1b[200~one\n  two\n\nthree\x1b[201~\n")
    terminal.expect("one\n  two\n\nthree\n> ")
    assert saved(terminal, "talk.json")[0]["content"] == "one\n  two\n\nthree"


def test_a_paste_is_one_question_on_a_plain_terminal_too(opened: Open) -> None:
    terminal = opened()
    terminal.press("one\ntwo\nthree\n")
    terminal.expect("one\ntwo\nthree\n> ")
    assert saved(terminal, "talk.json")[0]["content"] == "one\ntwo\nthree"


def test_several_lines_are_typed_with_a_backslash_or_alt_enter(opened: Open) -> None:
    terminal = opened(term="xterm")
    terminal.enter("one\\", ". ")
    terminal.press("two\x1b\rthree\n")
    terminal.expect("one\ntwo\nthree\n")
    assert saved(terminal, "talk.json")[0]["content"] == "one\ntwo\nthree"


def test_entries_are_remembered_for_the_next_chat(opened: Open, tmp_path: Path) -> None:
    first = opened(term="xterm")
    first.enter("a question\\", ". ")
    first.enter("of two lines", "a question\nof two lines\n> ")
    first.press("\x04")
    assert first.end() == 0
    file = tmp_path / "state/penstock/history"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    second = opened(term="xterm")
    second.press("\x1b[A\n")  # the arrow up
    second.expect("a question\nof two lines\na question\nof two lines\n")


def test_nothing_is_remembered_where_that_is_not_wanted(opened: Open, tmp_path: Path) -> None:
    terminal = opened("--no-history")
    terminal.enter("a secret", "a secret\na secret\n")
    terminal.type("/quit")
    assert terminal.end() == 0
    assert not (tmp_path / "state").exists()


def test_a_history_that_cannot_be_kept_is_told_once(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    terminal = opened()
    terminal.enter("one", "Warning: what is entered is not remembered:")
    terminal.expect("one\n")
    terminal.enter("two", "two\n> ")
    assert terminal.shown.count("Warning") == 1


def test_tab_completes_commands_and_models(opened: Open) -> None:
    terminal = opened(term="xterm")
    terminal.press("/hi\t\n")
    terminal.expect("nothing was said yet")
    terminal.press("/mod\tallenai/tulu3-4\t\n")
    terminal.expect("now allenai/tulu3-405b")


def test_a_line_that_only_looks_like_a_command_is_asked(opened: Open) -> None:
    terminal = opened()
    terminal.enter("/usr/bin/env fails", "fails\n/usr/bin/env fails\n")
    terminal.enter(" /quit now", "now\n/quit now\n")


def test_whole_answers_may_be_waited_for(opened: Open) -> None:
    terminal = opened("--no-stream", "--json")
    terminal.enter("one two", '"text":"one two"')


def test_a_dialect_without_conversations_is_asked_without_one(
    opened: Open, configured: Path
) -> None:
    table = "[providers.allenai]\n"
    configured.write_text(configured.read_text().replace(table, f'{table}dialect = "v5-chat"\n'))
    terminal = opened("-m", "allenai/Olmo-3-7B-Instruct")
    terminal.enter("one", "Error: allenai: ")
    assert "conversation" not in terminal.enter("/history", "[failed: ")
    assert "conversation" not in terminal.expect("]\n")


def test_what_is_left_is_told_with_its_reason(configured: Path, tmp_path: Path) -> None:
    with Servers() as gone:
        url = gone.sandbox.urls["h2o"]
        configured.write_text(f'[providers.h2o]\nbase_url = "{url}"\n')
        terminal = Terminal("chat", "-m", "h2o/falcon-40b", state=tmp_path / "state")
        terminal.expect("> ")
        terminal.enter("one", "one\none\n> ")
    with terminal:
        terminal.enter("/quit", "Left on the server: h2o: delete conversation ")
        terminal.expect("nothing")
        assert terminal.end() == 0
        assert terminal.shown.count("failed:") == 1
