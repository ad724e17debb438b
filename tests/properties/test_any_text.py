"""Any text, said by a model behind each sandbox server, comes out of our client equal.

The model says it in pieces of any size, the network cuts the frames at any byte. What a protocol
itself changes is written down in ``BACK_ENDS``, each with its source; nothing else may differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Client, Reply
from penstock.sandbox import Sandbox
from penstock.sandbox.javascript import BLANKS
from penstock.sandbox.script import Prompt, Said
from tests.properties.depth import depths, tried


class Line:
    """A model that says what the test put in its mouth."""

    def __init__(self) -> None:
        self.said: Sequence[str] = ()
        self.heard = ""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Note the question, and say what is to be said."""
        self.heard = prompt.question
        for piece in self.said:
            yield piece


def without_nul(pieces: Sequence[str]) -> str:
    """Tokens are padded with NUL, so that one of the model's own is lost (wire/h2o.md part B)."""
    return "".join(pieces).replace("\0", "")


def with_line_feeds(pieces: Sequence[str]) -> str:
    """The stream turns a CRLF inside a token into LF (wire/replicate.md section 5.2)."""
    return "".join(piece.replace("\r\n", "\n") for piece in pieces)


def trimmed_at_its_end(pieces: Sequence[str]) -> str:
    """``finalAnswer`` is end-trimmed (wire/h2o.md part B)."""
    return without_nul(["".join(pieces).rstrip(BLANKS)])


def stripped(pieces: Sequence[str]) -> str:
    """The content of a llama's message is stripped at both ends (wire/openassistant.md 6)."""
    return "".join(pieces).strip()


def line_feeds(question: str) -> str:
    """A CRLF is stored as LF (wire/allenai.md section 4.1)."""
    return question.replace("\r\n", "\n")


def trimmed(question: str) -> str:
    """The app trims what is asked (wire/h2o.md section 3)."""
    return question.strip(BLANKS)


def trimmed_line_feeds(question: str) -> str:
    """Today's app does both (wire/h2o.md section 9)."""
    return line_feeds(trimmed(question))


class BackEnd(msgspec.Struct, frozen=True):
    """A server of the sandbox, and what its protocol makes of a text.

    Attributes:
        model: what the client asks.
        streamed: what of the pieces this protocol can stream.
        whole: what it then says the whole text was; None where it does not repeat it.
        cannot: characters that this protocol cannot carry: the real server breaks or loses them.
        heard: what the model hears of a question.
        blank: whether an answer of white space alone is one.
        options: of the server.
    """

    model: str
    streamed: Callable[[Sequence[str]], str] = "".join
    whole: Callable[[Sequence[str]], str] | None = None
    heard: Callable[[str], str] = str
    cannot: str = ""
    blank: bool = True
    options: Mapping[str, object] = {}


BACK_ENDS = {
    # U+0000 cannot be stored: allenai.md section 4.3, openassistant.md section 7.
    "allenai": BackEnd("allenai/Olmo-3-7B-Instruct", heard=line_feeds, cannot="\0"),
    "allenai:2025": BackEnd(
        "allenai/tulu-3-1-8b", cannot="\0", options={"dialect": "message-stream"}
    ),
    "openassistant": BackEnd(
        "openassistant/OA_SFT_Llama_30B_6",
        whole=stripped,
        cannot="\0",
        options={"patience": 0.02, "tick": 0.01},
    ),
    "h2o": BackEnd("h2o/falcon-40b", heard=trimmed),
    "tgi": BackEnd("tgi/"),
    "chatui": BackEnd("chatui/", without_nul, trimmed_at_its_end, trimmed_line_feeds, blank=False),
    # What follows a lone CR is lost up to the end of its line: replicate.md section 5.2.
    "replicate": BackEnd("replicate/meta/meta-llama-3-70b-instruct", with_line_feeds, cannot="\r"),
    "cog": BackEnd("cog/"),
    "openai": BackEnd("openai_compatible/sandbox-model"),
}


class Place:
    """One server and one client of it, both of them on a loop of their own."""

    def __init__(self, name: str, runner: asyncio.Runner, sandbox: Sandbox, client: Client) -> None:
        self._back_end = BACK_ENDS[name]
        self._runner = runner
        self._server = sandbox.servers[name]
        self._client = client
        line = sandbox.servers[name].script
        assert isinstance(line, Line)
        self._line = line

    def ask(self, question: str) -> str:
        """What the model hears."""
        self._line.said = ("Yes.",)
        answer = self._client.stream(self._back_end.model, question)
        self._runner.run(answer.reply())
        return self._line.heard

    def say(self, pieces: Sequence[str], cut: int) -> tuple[str, Reply]:
        """What is streamed, and the reply, where the model says this and every write is cut."""
        self._line.said = pieces
        self._server.options = msgspec.structs.replace(self._server.options, cut=cut)
        answer = self._client.stream(self._back_end.model, "Say it.")
        reply = self._runner.run(answer.reply())
        return answer.partial, reply


@contextmanager
def place(name: str) -> Iterator[Place]:
    back_end = BACK_ENDS[name]
    provider = back_end.model.partition("/")[0]

    async def open_both() -> tuple[Sandbox, Client]:
        sandbox = Sandbox([name], script=Line(), options={name: back_end.options})
        await sandbox.__aenter__()
        settings = {"base_url": sandbox.urls[name], "api_key": sandbox.servers[name].api_key}
        return sandbox, Client(providers={provider: settings})

    async def close_both() -> None:
        await client.aclose()
        await sandbox.__aexit__(None, None, None)

    with asyncio.Runner() as runner:
        sandbox, client = runner.run(open_both())
        try:
            yield Place(name, runner, sandbox, client)
        finally:
            runner.run(close_both())


CUTS = st.sampled_from([0, 1, 2, 3, 7, 50])
SPECIAL = [
    "\r\n",
    "\n\n",
    "data: ",
    "\u2028",
    "\u0085",
    "\ufeff",
    "\ufffd",
    "e\u0301",
    "\U0001f468\u200d",
]
SPECIAL += ['"}', "\\u0000", "[DONE]", ": ", "\x1e", "</s", "id: 1", "{", " "]


def pieces_of(back_end: BackEnd) -> st.SearchStrategy[list[str]]:
    """Lists of pieces that this back end can carry."""
    letters = st.characters(codec="utf-8", exclude_characters=back_end.cannot)
    tokens = st.lists(letters | st.sampled_from(SPECIAL), min_size=1, max_size=8).map("".join)
    some = st.lists(tokens, min_size=1, max_size=8)
    return some if back_end.blank else some.filter(lambda p: bool(without_nul(p).strip(BLANKS)))


@pytest.mark.parametrize("examples", depths(50, 200))
@pytest.mark.parametrize("name", BACK_ENDS)
def test_any_text_comes_out_equal_at_any_cutting(name: str, examples: int) -> None:
    back_end = BACK_ENDS[name]
    with place(name) as here:

        @tried(examples)
        @given(pieces=pieces_of(back_end), cut=CUTS)
        def holds(pieces: list[str], cut: int) -> None:
            streamed, reply = here.say(pieces, cut)
            assert streamed == back_end.streamed(pieces)
            assert reply.text == (back_end.whole or back_end.streamed)(pieces)

        holds()


@pytest.mark.parametrize("examples", depths(50, 200))
@pytest.mark.parametrize("name", BACK_ENDS)
def test_any_question_reaches_the_model_as_it_was_asked(name: str, examples: int) -> None:
    back_end = BACK_ENDS[name]
    letters = st.characters(codec="utf-8", exclude_characters=back_end.cannot)
    questions = st.lists(letters | st.sampled_from(SPECIAL), min_size=1, max_size=30)
    with place(name) as here:

        @tried(examples)
        @given(
            question=questions.map("".join).filter(lambda said: bool(said.strip().strip(BLANKS)))
        )
        def holds(question: str) -> None:
            assert here.ask(question) == back_end.heard(question)

        holds()
