"""The models on offer: data, and the shape they have in the API.

Input parameters are those of wire/replicate.md section 7; ``replicate/hello-world`` is the
model of Replicate's own documentation, ``sandbox/pictures`` stands for models that give files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

OutputKind = Literal["stream", "list", "text", "files"]
"""How a model's output comes: ``stream`` is a list with a stream of its own, ``list`` grows
while it runs but cannot be streamed, ``text`` is one string at the end, ``files`` are URLs."""

LIMIT_NAMES = (
    "max_tokens",
    "max_new_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_length_tokens",
)


class Parameter(msgspec.Struct, frozen=True):
    """One input of a model; an empty kind takes any JSON value."""

    name: str
    kind: Literal["string", "integer", "number", "boolean", "array", ""] = "string"
    low: float | None = None
    high: float | None = None
    default: str | float | bool | None = None
    choices: tuple[str, ...] = ()
    required: bool = False


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model; an official one is called by its name, another only at a version."""

    owner: str
    name: str
    description: str
    inputs: tuple[Parameter, ...]
    official: bool = True
    output: OutputKind = "stream"
    pinned: str | None = None

    @property
    def id(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"

    @property
    def version(self) -> str:
        """64 hexadecimal digits."""
        return self.pinned or hashlib.sha256(self.id.encode()).hexdigest()

    def parameter(self, name: str) -> Parameter | None:
        """The input of that name."""
        return next((one for one in self.inputs if one.name == name), None)


PROMPT = Parameter("prompt", required=True)
SYSTEM = Parameter("system_prompt", default="")
STOP = Parameter("stop_sequences")


def _number(
    name: str, low: float | None = None, high: float | None = None, default: float | None = None
) -> Parameter:
    return Parameter(name, "number", low, high, default)


def _whole(
    name: str, low: int | None = None, high: int | None = None, default: int | None = None
) -> Parameter:
    return Parameter(name, "integer", low, high, default)


_SAMPLING = (_number("temperature", 0, 5, 0.6), _number("top_p", 0, 1, 0.9), _whole("top_k", 0))
_PENALTIES = (_number("presence_penalty", default=1.15), _number("frequency_penalty", default=0.2))
_TEMPLATE = Parameter("prompt_template", default="{prompt}")
# The public schema of 2024-07: no system_prompt, no stop_sequences (section 7, first row).
_LLAMA_3 = (
    *(PROMPT, _whole("min_tokens", 0), _whole("max_tokens", 1, default=512)),
    *_SAMPLING,
    *_PENALTIES,
    _TEMPLATE,
)
_O_SERIES = (
    PROMPT,
    SYSTEM,
    _whole("max_completion_tokens", 1, default=4096),
    Parameter("reasoning_effort", choices=("low", "medium", "high"), default="medium"),
)

CATALOGUE: tuple[Model, ...] = (
    Model(
        owner="meta",
        name="meta-llama-3-70b-instruct",
        description="A 70 billion parameter language model, fine tuned for chat completions",
        inputs=_LLAMA_3,
    ),
    Model(
        owner="meta",
        name="meta-llama-3-8b-instruct",
        description="An 8 billion parameter language model, fine tuned for chat completions",
        inputs=_LLAMA_3,
    ),
    Model(
        owner="meta",
        name="meta-llama-3.1-405b-instruct",
        description="A 405 billion parameter language model, fine tuned for chat completions",
        inputs=(*_LLAMA_3, SYSTEM, STOP),
    ),
    Model(
        owner="meta",
        name="llama-4-maverick-instruct",
        description="A mixture of experts for chat",
        inputs=(PROMPT, SYSTEM, _whole("max_tokens", 1, default=1024), _SAMPLING[0]),
    ),
    Model(
        owner="anthropic",
        name="claude-4-sonnet",
        description="A language model with extended thinking",
        inputs=(
            PROMPT,
            SYSTEM,
            _whole("max_tokens", 1024, 64000, 8192),
            Parameter("image"),
            _number("max_image_resolution", 0.001, 2, 0.5),
            Parameter("extended_thinking", "boolean", default=False),
            _whole("thinking_budget_tokens", 1024, 64000, 1024),
        ),
    ),
    Model(
        owner="openai",
        name="gpt-5",
        description="A language model that takes a prompt or messages",
        inputs=(
            Parameter("prompt"),
            SYSTEM,
            Parameter("messages", ""),
            Parameter("image_input", "array"),
            _whole("max_completion_tokens", 1),
            Parameter("reasoning_effort", choices=("minimal", "low", "medium", "high")),
            Parameter("verbosity", choices=("low", "medium", "high")),
        ),
    ),
    Model(
        owner="openai",
        name="o4-mini",
        description="A small language model that reasons",
        inputs=_O_SERIES,
    ),
    Model(
        owner="google",
        name="gemini-2.5-flash",
        description="A language model that speaks in long pieces",
        inputs=(
            PROMPT,
            Parameter("images", "array"),
            Parameter("videos", "array"),
            _whole("max_output_tokens", 1, 65535, 65535),
            _number("temperature", 0, 2, 1),
            _number("top_p", 0, 1, 0.95),
            Parameter("dynamic_thinking", "boolean", default=False),
        ),
    ),
    Model(
        owner="deepseek-ai",
        name="deepseek-v3.1",
        description="A language model whose thinking can be chosen",
        inputs=(
            *(PROMPT, _whole("max_tokens", 1, default=1024), _number("top_p", 0, 1, 1)),
            *_PENALTIES,
            Parameter("thinking", choices=("None", "medium"), default="None"),
        ),
    ),
    Model(
        owner="meta",
        name="llama-2-70b-chat",
        description="A 70 billion parameter language model, fine tuned for chat completions",
        official=False,
        pinned="02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3",
        inputs=(
            PROMPT,
            Parameter("system_prompt", default="You are a helpful assistant."),
            _whole("max_new_tokens", 1, default=128),
            _whole("min_new_tokens", -1, default=-1),
            _number("temperature", 0.01, 5, 0.75),
            _number("top_p", 0, 1, 0.9),
            _whole("top_k", 0, default=50),
            STOP,
            _whole("seed"),
        ),
    ),
    Model(
        owner="deepseek-ai",
        name="deepseek-67b-base",
        description="A base model: it goes on with the text it is given",
        official=False,
        inputs=(
            PROMPT,
            _whole("max_new_tokens", 1, 4096, 512),
            _number("temperature", 0, 5, 0.75),
            _number("top_p", 0, 1, 0.9),
            _whole("top_k", 0),
            _number("repetition_penalty", 0, default=1),
        ),
    ),
    Model(
        owner="deepseek-ai",
        name="deepseek-vl2",
        description="A model that looks at a picture; its output is one string",
        official=False,
        output="text",
        inputs=(
            PROMPT,
            Parameter("image", required=True),
            _whole("max_length_tokens", 1, default=2048),
        ),
    ),
    Model(
        owner="replicate",
        name="hello-world",
        description="A tiny model that says hello",
        official=False,
        output="text",
        pinned="5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
        inputs=(Parameter("text", required=True),),
    ),
    Model(
        owner="sandbox",
        name="pictures",
        description="Stands for models whose output is files",
        official=False,
        output="files",
        inputs=(PROMPT, _whole("seed")),
    ),
)

DEPLOYMENTS: Mapping[str, str] = {"sandbox/chat": "meta/llama-2-70b-chat"}
"""Deployment -> the model it serves."""


def find_model(name: str) -> Model | None:
    """The model ``owner/name``."""
    return next((one for one in CATALOGUE if one.id == name), None)


def find_version(text: str) -> Model | None:
    """The model a ``version`` of a request means: section 3, rows 1 and 2."""
    name, _, version = text.rpartition(":")
    if "/" in version:
        named = find_model(version)
        return named if named is not None and named.official else None
    found = next((one for one in CATALOGUE if one.version == version), None)
    return found if found is not None and name in ("", found.id) else None


def listed(model: Model, output: OutputKind) -> dict[str, object]:
    """The model object, keys in the order of the recorded list of 2023-11."""
    return {
        "url": f"https://replicate.com/{model.id}",
        "owner": model.owner,
        "name": model.name,
        "description": model.description,
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 1000,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_object(model, output),
        "is_official": model.official,
    }


def version_object(model: Model, output: OutputKind) -> dict[str, object]:
    """A version with the schema of its inputs and outputs."""
    return {
        "id": model.version,
        "created_at": "2024-07-23T15:41:34.688650Z",
        "cog_version": "0.9.10",
        "openapi_schema": {
            "info": {"title": "Cog", "version": "0.1.0"},
            "paths": {},
            "openapi": "3.0.2",
            "components": {
                "schemas": {"Input": _input_schema(model.inputs), "Output": _OUTPUTS[output]}
            },
        },
    }


_ITERATOR = {"type": "array", "items": {"type": "string"}, "title": "Output"}
_OUTPUTS: Mapping[OutputKind, Mapping[str, object]] = {
    "stream": {
        **_ITERATOR,
        "x-cog-array-type": "iterator",
        "x-cog-array-display": "concatenate",
    },
    "list": _ITERATOR,
    "text": {"type": "string", "title": "Output"},
    "files": {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"},
}


def _input_schema(inputs: Sequence[Parameter]) -> dict[str, object]:
    required = [one.name for one in inputs if one.required]
    properties = {one.name: _property(one, order) for order, one in enumerate(inputs)}
    return {
        "type": "object",
        "title": "Input",
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _property(one: Parameter, order: int) -> dict[str, Any]:
    said: dict[str, Any] = {"type": one.kind} if one.kind else {}
    said["title"] = one.name.replace("_", " ").title()
    if one.choices:
        said["enum"] = list(one.choices)
    if one.kind == "array":
        said["items"] = {"type": "string", "format": "uri"}
    bounds = {"default": one.default, "maximum": one.high, "minimum": one.low}
    said |= {key: value for key, value in bounds.items() if value is not None}
    said["x-order"] = order
    return said
