"""What is asked, and how an answer to it may end. Pure: everything follows from a number.

The back ends repeat the question, so that each answer can be checked to the byte, whoever gave it
and however it was cut on its way.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

Surface = Literal["chat", "responses", "messages"]

ONE_SLOT = "cog/"
"""A server that refuses whoever comes while it answers: one caller has it for himself."""
ONE_ACCOUNT = "openassistant/OA_SFT_Llama_30B_6"
"""A server that answers the questions of an account one after another: few callers wait there."""
MODELS = (
    "allenai/Olmo-3-7B-Instruct",
    "h2o/falcon-40b",
    "tgi/",
    "chatui/Qwen/Qwen3-8B",
    "replicate/meta/meta-llama-3-70b-instruct",
    "openai_compatible/sandbox-model",
)
SECOND_TRY = "chatui/"
"""A server that silently has a failed answer made again; its pieces follow the first ones
(wire/h2o.md section 9)."""
SURFACES: tuple[Surface, ...] = ("chat", "responses", "messages")
BREAKS_OFF = "<the model breaks off>"
"""At the end of a question: the model fails when it has said it."""
FAULTS = (
    "status=503",
    "break-after=3",
    "garbage-after=2",
    "reset",
    "reset-after=3",
    "end-after=3",
    "close",
    "stall-after=2",
)
"""What the servers do to every fortieth stream, in turn; beside as many models that break off."""
ONE_IN = 40
_WORDS = (
    *(
        "the stream",
        "runs",
        "on",
        "and\non",
        "under  the",
        "old\n\nmill",
        "def f(x):\n    return x",
    ),
    *(
        "Wasser",
        "наступает",
        "утро",
        "早上好",
        "おはよう",
        "👩‍👩‍👧",
        "é",
        "q̣̇",
        "שלום",
        "x\u2028y",
        "`a`",
    ),
    *("data: {}", '"quoted"', "back\\slash", "</s>", "a\tb", "[DONE]", "1,234.5", "\U0001d518"),
)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question of the soak.

    Attributes:
        text: what is asked; the answer repeats it.
        leaves: the caller leaves when this part of the answer has come, or of a whole answer this
            part of a second is over; None stays to the end.
    """

    model: str
    surface: Surface
    stream: bool
    text: str
    leaves: float | None

    @property
    def breaks_off(self) -> bool:
        """Whether the model fails after it has repeated the question."""
        return self.text.endswith(BREAKS_OFF)


class Heard(msgspec.Struct, kw_only=True):
    """What the caller got.

    Attributes:
        text: all the text that came.
        ended: the answer ended well, by the words of its surface.
        error: the sentence of the error that ended it.
        left: the caller left before the end.
    """

    text: str = ""
    ended: bool = False
    error: str | None = None
    left: bool = False


def model_of(caller: int) -> str:
    """The model that a caller asks."""
    if caller == 0:
        return ONE_SLOT
    return ONE_ACCOUNT if caller % 20 == 1 else MODELS[caller % len(MODELS)]


def question(seed: int, number: int, model: str) -> Question:
    """The question of that number, for ``model``."""
    chance = random.Random(seed * 1_000_003 + number)  # noqa: S311 - the same questions each time
    words = [chance.choice(_WORDS) for _ in range(chance.randrange(8, 60))]
    text = f"No. {number}: {' '.join(words)} end"
    if chance.randrange(ONE_IN) == 0:
        text += BREAKS_OFF
    return Question(
        model=model,
        surface=chance.choice(SURFACES),
        stream=chance.random() < 0.75,
        text=text,
        leaves=chance.random() if chance.random() < 0.1 else None,
    )


def wrong(asked: Question, heard: Heard) -> str | None:
    """What is wrong with an answer; None where all is right. A failure that is told is right."""
    if heard.ended and asked.breaks_off:
        return "ended well although the model broke off"
    if heard.ended and heard.text != asked.text:
        return f"ended well with another text: {heard.text!r}, not {asked.text!r}"
    said = asked.text
    if asked.breaks_off and asked.model.startswith(SECOND_TRY):
        said += asked.text
    if not said.startswith(heard.text):
        return f"said what nobody said: {heard.text!r}, not {asked.text!r}"
    if not (heard.ended or heard.left or heard.error is not None):
        return "just stopped: no end, no error"
    return None
