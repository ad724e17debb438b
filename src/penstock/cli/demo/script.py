"""What the model behind each back end says in the demonstration.

The protocols around these words are real, the words are not a model's; with ``--backend`` they
are. Either way the script keeps what was said, so that what arrived can be compared with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from penstock.cli.demo.systems import QUESTION, SECOND_QUESTION
from penstock.sandbox.script import ModelFailure, Prompt, Said, Script, Thought, cut_tokens

FAILING_QUESTION = "And what if the model fails half way?"
"""Every script of the demonstration breaks off in its answer to this."""

_HALF = "Then half of an answer has come, and"
FAILURE = "the model ran out of memory"

ANSWERS: Mapping[str, str] = {
    "allenai": (
        "A penstock is the pipe that leads water from a reservoir down to a turbine. A gate at its "
        "head lets the water in, the fall gives it pressure, and at the bottom it meets the "
        "wheel: a river, put to work under control."
    ),
    "openassistant": (
        "A pressure pipe of a power station. Elsewhere it is called Druckrohrleitung, conduite "
        "forcée, tubería forzada, напорный водовод, 水圧鉄管 or 수압관로 \N{DROPLET} and it is one "
        "pipe all the same."
    ),
    "h2o": (
        "Three parts make one:\n\n"
        "1. an intake, with a rack that keeps branches out;\n"
        "2. the pipe itself, of steel or concrete;\n"
        "3. a valve in front of the turbine.\n\n"
        "Gravity does the rest."
    ),
    "h2o_sync": (
        "The same pipe as above, this time through the old synchronous module: no event loop in "
        "sight, and the pieces still come one by one."
    ),
    "replicate": (
        "In code it would be a generator:\n\n"
        "    def penstock(reservoir):\n"
        "        for drop in reservoir:\n"
        "            yield drop  # in order, none lost\n"
    ),
    "chatui": (
        "The word is older than electricity. Mills had penstocks, too: a stock, which is a trough "
        "of wood, beside the pen in which the water was held back."
    ),
    "cog": "Snow melts on the ridge,\na dark pipe hums down the slope:\nlights in the valley.",
    "openai": (
        "Either the gate that holds the water back or the pipe behind it. Engineers mean the pipe, "
        "and so does this program."
    ),
    "tgi": (
        "The pipe between high water and a turbine. Asked of the bare model server, without a "
        "chat application in front of it."
    ),
}
THOUGHTS: Mapping[str, str] = {"openai": "Two meanings are in use; name both, then choose."}


class Teller:
    """The model behind one back end.

    Args:
        key: whose answer it gives.
        question: what it is going to be asked.
        model: answers instead of the canned ones.

    Attributes:
        said: the visible text of each answer, in order.
    """

    def __init__(self, key: str, question: str, model: Script | None = None) -> None:
        self.said: list[str] = []
        self.question = question
        self._key = key
        self._model = model

    @property
    def last(self) -> str:
        """The visible text of the last answer; empty before the first."""
        return self.said[-1] if self.said else ""

    @property
    def is_canned(self) -> bool:
        """True where no real model answers."""
        return self._model is None

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Say the answer, and keep it."""
        number = len(self.said)
        self.said.append("")
        async for piece in self._answer(prompt):
            if isinstance(piece, str):
                self.said[number] += piece
            yield piece

    async def _answer(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        if FAILING_QUESTION in prompt.question:
            for piece in cut_tokens(_HALF):
                yield piece
            raise ModelFailure(FAILURE)
        if self._model is not None:
            async for said in self._model.pieces(prompt):
                yield said
            return
        if SECOND_QUESTION in prompt.question:
            thought, text = "", _second(prompt)
        elif self.question == QUESTION:
            thought, text = THOUGHTS.get(self._key, ""), ANSWERS[self._key]
        else:
            thought, text = "", _unknown(self.question)
        for piece in cut_tokens(thought):
            yield Thought(piece)
        for piece in cut_tokens(text):
            yield piece


def _second(prompt: Prompt) -> str:
    """What only a server can say that still knows the first turn."""
    first = next((said.content for said in prompt.messages if said.role == "user"), "")
    return f"You began with \u201c{first}\u201d, and in one sentence: water on its way to work."


def _unknown(question: str) -> str:
    return (
        f"You asked: \u201c{question}\u201d. The protocol that brings you this is the real one, "
        "the model behind it is a script; --backend and --model put one here that knows."
    )
