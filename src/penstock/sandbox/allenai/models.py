"""Models the server lists and answers for: data (wire/allenai.md sections 3.8 and 4.6).

The first entries of each list are those of the recorded lists (allenai-2025-models-list,
allenai-2026-models-list); the others are the ids known from spring 2025.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class FileRules(msgspec.Struct, frozen=True, kw_only=True):
    """What files a model takes."""

    types: tuple[str, ...]
    most: int
    total_size: int = 65536
    required: Literal["first_message", "all_messages", "no_requirement"] = "first_message"
    in_followups: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Range of one sampling value in the newer list."""

    default: float
    lower: float
    upper: float
    step: float


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model of one host."""

    id: str
    host: str
    name: str
    family: tuple[str, str]
    description: str
    system_prompt: str | None = None
    model_type: Literal["chat", "base"] = "chat"
    retired: bool = False
    files: FileRules | None = None
    tools: bool = False
    thinks: bool = False
    internal: bool = False


LIMITS: dict[str, Limits] = {
    "temperature": Limits(default=0.7, lower=0.0, upper=1.0, step=0.01),
    "top_p": Limits(default=1.0, lower=0.0, upper=1.0, step=0.01),
    "max_tokens": Limits(default=2048, lower=1, upper=2048, step=1),
}

_SYSTEM = "Answer briefly and politely. (sandbox system prompt) \N{SLIGHTLY SMILING FACE}"
_TULU = ("tulu", "T\N{LATIN SMALL LETTER U WITH DIAERESIS}lu")
_OLMO = ("olmo", "OLMo")
_OLMO_3 = ("olmo", "Olmo")
_MOLMO = ("molmo", "Molmo")

_LARGE = Model(
    id="tulu3-405b",
    host="inferd",
    name=f"Llama {_TULU[1]} 3 405B",
    family=_TULU,
    description="Large chat model (sandbox entry).",
)

MODELS_2025: tuple[Model, ...] = (
    _LARGE,
    Model(
        id="OLMo-2-1124-13B-Instruct",
        host="modal",
        name="OLMo 2 13B Instruct",
        family=_OLMO,
        description="Mid-size chat model (sandbox entry).",
        system_prompt=_SYSTEM,
    ),
    Model(
        id="tulu-3-1-8b",
        host="modal",
        name=f"{_TULU[1]} 3.1 8B",
        family=_TULU,
        description="Small chat model (sandbox entry).",
    ),
    Model(
        id="Llama-3-1-Tulu-3-70B",
        host="modal",
        name=f"Llama {_TULU[1]} 3 70B",
        family=_TULU,
        description="Chat model (sandbox entry).",
    ),
    Model(
        id="olmoe-0125",
        host="modal",
        name="OLMoE 0125",
        family=_OLMO,
        description="Small mixture of experts (sandbox entry).",
    ),
    Model(
        id="olmo-2-0325-32b-instruct",
        host="modal",
        name="OLMo 2 32B Instruct",
        family=_OLMO,
        description="Chat model (sandbox entry).",
    ),
    Model(
        id="olmo-7b-base",
        host="inferd",
        name="OLMo 7B base (retired)",
        family=_OLMO,
        description="Retired base model (sandbox entry).",
        model_type="base",
        retired=True,
    ),
    Model(
        id="mm-olmo-uber-model-v4-synthetic",
        host="modal",
        name="Molmo",
        family=_MOLMO,
        description="Image chat model (sandbox entry).",
        files=FileRules(types=("image/*",), most=1),
    ),
)

MODELS_2026: tuple[Model, ...] = (
    _LARGE,
    Model(
        id="Olmo-3-7B-Instruct",
        host="ai2_model_hub",
        name="Olmo 3 7B Instruct",
        family=_OLMO_3,
        description="Small instruct model (sandbox entry).",
        tools=True,
    ),
    Model(
        id="Olmo-3-32B-Think",
        host="modal_openai",
        name="Olmo 3 32B Think",
        family=_OLMO_3,
        description="Reasoning model (sandbox entry).",
        system_prompt=_SYSTEM,
        tools=True,
        thinks=True,
    ),
    Model(
        id="Molmo2-8B",
        host="ai2_model_hub",
        name="Molmo 2 8B",
        family=_MOLMO,
        description="Image and video model (sandbox entry).",
        files=FileRules(types=("image/*", "video/*"), most=2),
    ),
)

_TOOL = {
    "description": "Generates a random number between 1 and 10",
    "mcpServerId": None,
    "name": "create_random_number",
}


def listed_2025(model: Model) -> dict[str, object]:
    """Describe a model as ``GET /v3/models`` does; the writer sorts the keys."""
    return {**_common(model), "system_prompt": model.system_prompt}


def listed_2026(model: Model) -> dict[str, object]:
    """Describe a model as ``GET /v4/models/`` does; its system prompt is never shown."""
    described = {
        **_common(model),
        "available_tools": [_TOOL] if model.tools else [],
        "can_call_tools": model.tools,
        "can_think": model.thinks,
        "infini_gram_index": None,
        "information_url": None,
        "internal": model.internal,
        "prompt_type": "multi_modal" if model.files else "text_only",
        "stop_default": None,
        "system_prompt": None,
    }
    for name, limits in LIMITS.items():
        built: dict[str, object] = msgspec.to_builtins(limits)
        described |= {f"{name}_{part}": value for part, value in built.items()}
    return described


def _common(model: Model) -> dict[str, object]:
    described: dict[str, object] = {
        "accepts_files": model.files is not None,
        "description": model.description,
        "family_id": model.family[0],
        "family_name": model.family[1],
        "host": model.host,
        "id": model.id,
        "is_deprecated": model.retired,
        "is_visible": not model.retired,
        "model_type": model.model_type,
        "name": model.name,
    }
    if model.files is not None:
        described |= {
            "accepted_file_types": list(model.files.types),
            "allow_files_in_followups": model.files.in_followups,
            "max_files_per_message": model.files.most,
            "max_total_file_size": model.files.total_size,
            "require_file_to_prompt": model.files.required,
        }
    return described
