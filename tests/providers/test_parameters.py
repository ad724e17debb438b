"""What a provider cannot honour is said in the same words by all of them, and nothing is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.errors import BadRequestError
from penstock.provider import Provider, ProviderConfig
from penstock.registry import Registry
from penstock.transport import Session
from penstock.types import ChatRequest, Conversation, Message, Notice, Sampling, Tool

NAMES = sorted(name for name, entry in Registry().entries.items() if not entry.plugin)
VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "typical_p": 0.5,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "max_tokens": 5,
    "seed": 5,
    "stop": ("x",),
}
NOBODY = "http://127.0.0.1:9"
"""Nothing listens there: what is sent ends as a network error."""


@pytest.fixture(params=NAMES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    async with Session() as session:
        config = ProviderConfig(name=request.param, base_url=NOBODY, api_key="key-of-a-test")
        yield Registry().make(session, config)


async def refusal(provider: Provider, **given: Any) -> BadRequestError:
    """The refusal of a request with these members."""
    request = ChatRequest(model="owner/model", messages=(Message("user", "hi"),), **given)
    with pytest.raises(BadRequestError) as caught:
        await provider.stream(request).__aenter__()
    assert caught.value.provider == provider.name
    return caught.value


def test_all_sampling_parameters_are_tried() -> None:
    assert set(VALUES) == set(Sampling.__struct_fields__)


async def test_a_parameter_that_cannot_be_honoured_is_refused(provider: Provider) -> None:
    known = provider.capabilities.sampling
    takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none such"
    for name in VALUES.keys() - known.keys():
        error = await refusal(provider, sampling=Sampling(**{name: VALUES[name]}))
        assert error.message == f"{name} cannot be set with this provider; {takes}"
        assert error.param == name


async def test_what_else_cannot_be_honoured_is_refused(provider: Provider) -> None:
    can = provider.capabilities
    if not can.tools:
        error = await refusal(provider, tools=(Tool("clock"),))
        assert error.message == "tools are not supported by this provider"
    if not can.conversations:
        error = await refusal(provider, conversation=Conversation("m"))
        assert error.message == "this provider has no native conversations"
    if can.extra is not None:
        error = await refusal(provider, extra={"qqqqq": 1})
        assert error.message == "qqqqq is not a parameter of this provider"


def test_a_dropped_parameter_is_told_in_one_form() -> None:
    notice = Notice.dropped("top_k", "m has no such parameter")
    assert notice == Notice("parameter_dropped", "top_k was not obeyed: m has no such parameter")
