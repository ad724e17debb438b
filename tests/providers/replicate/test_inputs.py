"""A chat as the input of a model (wire/replicate.md section 7, rules 11 to 13)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.errors import BadRequestError
from penstock.providers.replicate.dialect.inputs import plan_of, schema_inputs
from penstock.providers.replicate.models import (
    DEFAULT_MODEL,
    KNOWN,
    UNKNOWN,
    Field,
    ModelInputs,
    known_inputs,
)
from penstock.types import ChatRequest, ImagePart, Message, Sampling, TextPart
from tests.providers.replicate.reads import HEX


def planned(model: ModelInputs, *messages: Message, **more: Any) -> dict[str, Any]:
    request = ChatRequest(model="o/n", messages=messages or (Message("user", "hi"),), **more)
    return dict(plan_of(request, model).inputs)


def takes(**fields: Field) -> ModelInputs:
    return ModelInputs(fields)


PROMPT = Field("string")
CHAT = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
SYSTEM = Message("system", "be brief")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 5),
        ("max_new_tokens", 5),
        ("max_completion_tokens", 5),
        ("max_output_tokens", 5),
        ("max_length_tokens", 5),
    ],
)
def test_rule_11_the_limit_has_five_names(name: str, value: int) -> None:
    request = ChatRequest(
        model="o/n", messages=(Message("user", "hi"),), sampling=Sampling(max_tokens=5, top_k=1)
    )
    plan = plan_of(request, takes(prompt=PROMPT, **{name: Field("integer")}))
    assert plan.inputs == {"prompt": "hi", name: value}
    assert plan.limit == 5
    assert [(notice.code, "top_k" in notice.detail) for notice in plan.warnings] == [
        ("parameter_dropped", True)
    ]


def test_rule_11_raw_inputs_win() -> None:
    extra = {"max_new_tokens": 9, "prompt": "raw", "seed": 3}
    sent = planned(UNKNOWN, sampling=Sampling(seed=1), extra=extra)
    assert sent == {"prompt": "raw", "seed": 3, "max_new_tokens": 9}
    request = ChatRequest(model="o/n", messages=CHAT, extra={"max_tokens": "many"})
    assert plan_of(request, UNKNOWN).limit is None


def test_rule_11_zero_is_a_value() -> None:
    sent = planned(UNKNOWN, sampling=Sampling(temperature=0, max_tokens=0, seed=0))
    assert sent == {"prompt": "hi", "temperature": 0, "max_tokens": 0, "seed": 0}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (Field(low=1024), 10, "at least 1024"),
        (Field(high=10), 11, "at most 10"),
        (Field(low=1, high=10), 0, "within 1 to 10"),
        (Field(low=1, high=10), 10, None),
    ],
)
def test_ranges_are_checked_before_anything_is_sent(
    field: Field, value: int, words: str | None
) -> None:
    model = takes(prompt=PROMPT, max_tokens=field)
    if words is None:
        assert planned(model, sampling=Sampling(max_tokens=value))["max_tokens"] == value
        return
    with pytest.raises(BadRequestError, match=words) as failed:
        planned(model, sampling=Sampling(max_tokens=value))
    assert failed.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("stops", "sent"), [(("a,b", "c"), "c"), (("a,b",), None), (("c", "\n"), "c,\n"), ((), None)]
)
def test_rule_12_stop_strings_are_sent_where_they_can_be(
    stops: tuple[str, ...], sent: str | None
) -> None:
    sampling = Sampling(stop=stops)
    known = takes(prompt=PROMPT, stop_sequences=Field("string"))
    for model in (UNKNOWN, known):
        assert planned(model, sampling=sampling).get("stop_sequences") == sent
    request = ChatRequest(model="o/n", messages=CHAT, sampling=sampling)
    unknowing = plan_of(request, takes(prompt=PROMPT))
    assert "stop_sequences" not in unknowing.inputs
    assert (unknowing.stops, unknowing.warnings) == (stops, ())


def test_rule_13_the_system_text_goes_to_one_place() -> None:
    with_field = takes(prompt=PROMPT, system_prompt=Field("string"))
    assert planned(with_field, SYSTEM, *CHAT) == {
        "system_prompt": "be brief",
        "prompt": "User: a\nAssistant: b\nUser: c\nAssistant:",
    }
    folded = "System: be brief\nUser: a\nAssistant: b\nUser: c\nAssistant:"
    assert planned(takes(prompt=PROMPT), SYSTEM, *CHAT) == {"prompt": folded}
    assert planned(UNKNOWN, SYSTEM, *CHAT) == {"prompt": folded}
    assert planned(with_field, SYSTEM) == {"prompt": "be brief"}


def test_rule_13_a_list_of_messages_where_the_model_takes_one() -> None:
    listed = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    both = {"prompt": PROMPT, "system_prompt": Field("string")}
    model = takes(messages=Field("array"), **both)
    assert planned(model, SYSTEM, *CHAT) == {"messages": listed}
    as_text = planned(takes(messages=Field("string"), **both), SYSTEM, *CHAT)["messages"]
    assert json.loads(as_text) == listed
    assert planned(model, SYSTEM, CHAT[0]) == {"prompt": "a", "system_prompt": "be brief"}
    assert "messages" in planned(takes(messages=Field("array")), CHAT[0])


def test_a_model_that_takes_no_text_is_refused_unless_its_inputs_are_given() -> None:
    model = takes(audio=Field("string"))
    with pytest.raises(BadRequestError, match="neither a prompt nor messages"):
        planned(model)
    assert planned(model, extra={"audio": "https://x"})["audio"] == "https://x"


PICTURE = ImagePart(data=b"\x89PNG", media_type="image/png")
LINKED = ImagePart(url="https://example.org/a.png")


def test_rule_13_images_go_where_the_model_takes_them() -> None:
    one = Message("user", (TextPart("what?"), PICTURE))
    two = Message("user", (TextPart("what?"), PICTURE, LINKED))
    inline = "data:image/png;base64,iVBORw=="
    assert planned(takes(prompt=PROMPT, image=Field("string")), one)["image"] == inline
    several = takes(prompt=PROMPT, images=Field("array"), messages=Field("array"))
    assert planned(several, two) == {"prompt": "what?", "images": [inline, LINKED.url]}
    with pytest.raises(BadRequestError, match="one image only"):
        planned(takes(prompt=PROMPT, image=Field("string")), two)
    for model in (takes(prompt=PROMPT), UNKNOWN):
        with pytest.raises(BadRequestError, match="not known to take images"):
            planned(model, one)


def test_the_table_stands_in_for_the_schema() -> None:
    assert known_inputs(None) == UNKNOWN
    assert known_inputs("o/n") == UNKNOWN
    assert known_inputs(DEFAULT_MODEL).has("max_tokens")
    assert not known_inputs(DEFAULT_MODEL).has("max_new_tokens")
    assert known_inputs("openai/gpt-5-mini").has("max_completion_tokens")
    claude = known_inputs("anthropic/claude-4-sonnet")
    assert not claude.has("temperature")
    with pytest.raises(BadRequestError, match="within 1024 to 64000"):
        planned(claude, sampling=Sampling(max_tokens=100))
    assert all(inputs.has("prompt") for inputs in KNOWN.values())


def schema(properties: object, version: object = "v") -> bytes:
    parts = {"components": {"schemas": {"Input": {"properties": properties}}}}
    return json.dumps({"latest_version": {"id": version, "openapi_schema": parts}}).encode()


def test_a_schema_gives_names_types_and_ranges() -> None:
    body = schema(
        {
            "prompt": {"type": "string"},
            "top_k": {"type": "integer", "minimum": -1, "maximum": True},
            "mode": {"allOf": [{"$ref": "#/x"}], "type": ["a"]},
            "odd": 3,
        }
    )
    found = schema_inputs(body, None)
    assert found == takes(prompt=PROMPT, top_k=Field("integer", low=-1), mode=Field(), odd=Field())
    assert schema_inputs(body, "v") == found
    assert schema_inputs(body, HEX) is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"latest_version":null}',
        b'{"latest_version":{"openapi_schema":{}}}',
        schema([]),
        schema({}),
    ],
)
def test_a_schema_that_is_none_is_not_used(body: bytes) -> None:
    assert schema_inputs(body, None) is None
