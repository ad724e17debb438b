"""What is refused before anything is sent, with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import BadRequestError, ModelNotFoundError
from penstock.providers.checks import check_model, check_options, check_request, check_sampling
from penstock.types import (
    Capabilities,
    ChatRequest,
    Conversation,
    ImagePart,
    Message,
    Sampling,
    Tool,
)

PLAIN = Capabilities(sampling={"temperature": (0.0, 1.0), "top_k": None, "stop": None})
EVERYTHING = Capabilities(images=True, tools=True, conversations=True, extra=None)


def request(**changes: Any) -> ChatRequest:
    fields: dict[str, Any] = {"model": "m", "messages": (Message("user", "hi"),), **changes}
    return ChatRequest(**fields)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": ()}, "messages"),
        ({"tools": (Tool("f"),)}, "tools"),
        ({"conversation": Conversation("m")}, "conversation"),
        ({"messages": (Message("user", (ImagePart(b"x"),)),)}, "messages"),
        ({"extra": {"odd": 1}}, "odd"),
        ({"sampling": Sampling(temperature=1.5)}, "temperature"),
        ({"sampling": Sampling(temperature=float("nan"))}, "temperature"),
        ({"sampling": Sampling(temperature=True)}, "temperature"),
        ({"sampling": Sampling(temperature="1")}, "temperature"),  # type: ignore[arg-type]
        ({"sampling": Sampling(top_k=1.5)}, "top_k"),  # type: ignore[arg-type]
        ({"sampling": Sampling(top_p=0.5)}, "top_p"),
        ({"sampling": Sampling(stop=("a", ""))}, "stop"),
        ({"sampling": Sampling(stop=(b"END",))}, "stop"),  # type: ignore[arg-type]
    ],
)
def test_refusals_name_the_parameter(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        check_request(request(**changes), PLAIN, "p")
    assert (caught.value.param, caught.value.provider) == (param, "p")


def test_what_can_be_honoured_passes() -> None:
    sampling = Sampling(temperature=1, top_k=5, stop=("a",))
    check_request(request(sampling=sampling), PLAIN, "p")
    check_request(
        request(
            tools=(Tool("f"),),
            conversation=Conversation("m"),
            messages=(Message("user", (ImagePart(b"x"),)),),
            extra={"anything": 1},
        ),
        EVERYTHING,
        "p",
    )


def test_refusals_say_the_range_and_the_nearest_name() -> None:
    with pytest.raises(BadRequestError, match=r"within 0 to 1, not 1\.5"):
        check_sampling({"temperature": 1.5}, PLAIN.sampling, "p")
    with pytest.raises(BadRequestError, match=r"temprature.*did you mean temperature\?"):
        check_sampling({"temprature": 1}, PLAIN.sampling, "p")
    with pytest.raises(BadRequestError, match=r"zzz is not a parameter of this provider$"):
        check_sampling({"zzz": 1}, PLAIN.sampling, "p")


def test_unknown_models_come_with_close_ones() -> None:
    assert check_model("falcon-7b", ("falcon-7b",), "p") == "falcon-7b"
    with pytest.raises(ModelNotFoundError, match=r"no model 'falcon-7'; did you mean falcon-7b\?$"):
        check_model("falcon-7", ("falcon-7b", "llama-13b"), "p")
    with pytest.raises(ModelNotFoundError, match="known are alpha, beta"):
        check_model("zzzzzz", ("alpha", "beta"), "p")
    with pytest.raises(ModelNotFoundError, match="`penstock models p` lists"):
        check_model("zzzzzz", tuple("abcdefgh"), "p")


def test_unknown_options_are_refused() -> None:
    check_options({"host": "x"}, frozenset({"host"}), "p")
    with pytest.raises(BadRequestError, match="did you mean host"):
        check_options({"hots": "x"}, frozenset({"host"}), "p")


def test_a_range_without_an_end_is_told_as_that() -> None:
    with pytest.raises(BadRequestError, match=r"top_k must be at least 1, not 0"):
        check_sampling({"top_k": 0}, {"top_k": (1, float("inf"))}, "p")
