"""Models and presets the server lists: data (wire/openassistant.md sections 3 and 5).

Names, order and presets are those of the recorded list (oa-single-turn-en); of the
configurations behind them only two were recorded, the others follow their pattern.
"""

from __future__ import annotations

import re

_NAMES = (
    "_lorem",
    "distilgpt2",
    "OA_SFT_Pythia_12B",
    "OA_SFT_Pythia_12Bq",
    "OA_SFT_Pythia_12B_4",
    "OA_SFT_Pythia_12Bq_4",
    "OA_SFT_Llama_7B",
    "OA_SFT_Llama_13B",
    "OA_SFT_Llama_13Bq",
    "OA_SFT_Llama_30B",
    "OA_SFT_Llama_30Bq",
    "OA_SFT_Llama_30B_2",
    "OA_SFT_Llama_30Bq_2",
    "OA_SFT_Llama_30B_5",
    "OA_SFT_Llama_30Bq_5",
    "OA_SFT_Llama_30B_6",
    "OA_SFT_Llama_30Bq_6",
    "OA_SFT_Llama_30B_7",
    "OA_SFT_Llama_30Bq_7",
    "OA_SFT_Llama_30B_7e3",
    "OA_RLHF_Llama_30B_2_7k",
    "Carper_RLHF_13B_1",
    "Carper_RLHF_13Bq_1",
    "OA_SFT_Llama2_70B_10",
    "OA_SFT_CodeLlama_13B_10",
)
# Name, description, and the sampling values in the order of `PARAMETERS`.
_PRESETS: tuple[tuple[str, str, tuple[float | None, ...]], ...] = (
    ("k50", "Top-k sampling with k=50", (50, 0.95, None, 0.75, 1.2)),
    (
        "k50-Creative",
        "Top-k sampling with k=50, higher temperature",
        (50, 0.95, None, 0.85, 1.2),
    ),
    ("k50-Precise", "Top-k sampling with k=50, low temperature", (50, 0.95, None, 0.1, 1.2)),
    ("k50-Original", "Top-k sampling with k=50, highest temperature", (50, 0.95, None, 0.9, 1.2)),
    (
        "k50-Plugins",
        "Top-k sampling with k=50 and temperature=0.35",
        (50, None, None, 0.35, 1.1111111111111112),
    ),
    ("nucleus9", "Nucleus sampling with p=0.9", (None, 0.9, None, 0.8, 1.2)),
    ("typical2", "Typical sampling with p=0.2", (None, None, 0.2, 0.8, 1.2)),
    ("typical3", "Typical sampling with p=0.3", (None, None, 0.3, 0.8, 1.2)),
)
PARAMETERS = ("top_k", "top_p", "typical_p", "temperature", "repetition_penalty")
"""Names of the sampling values, in the order they are shown; ``max_new_tokens`` follows."""

_MAX_NEW_TOKENS = 1024


def known(name: str) -> bool:
    """Say whether the server's table has a model of that name."""
    return name in _NAMES


def is_llama(name: str) -> bool:
    """Say whether the worker treats a model as a llama: then it strips the final text."""
    return "Llama" in name


def config(name: str) -> dict[str, object]:
    """Give the configuration a message of that model shows."""
    small = name == "_lorem"
    parts = re.match(r"OA_SFT_Llama_(\d+B)q?_(\d+)$", name)
    model_id = (
        f"OpenAssistant/oasst-sft-{parts[2]}-llama-{parts[1].lower()}"
        if parts
        else name
        if not name.startswith("OA_")
        else "OpenAssistant/" + name.removeprefix("OA_").lower().replace("_", "-")
    )
    return {
        "model_id": model_id,
        "max_input_length": 128 if small else 1024,
        "max_total_length": 256 if small else 1792,
        "quantized": re.search(r"\dBq", name) is not None,
    }


def listed(names: tuple[str, ...]) -> list[dict[str, object]]:
    """Describe the allowed models, all where none are named: each has the same presets."""
    presets = [
        {
            "name": name,
            "description": description,
            "sampling_parameters": {
                **dict(zip(PARAMETERS, values, strict=True)),
                "max_new_tokens": _MAX_NEW_TOKENS,
            },
        }
        for name, description, values in _PRESETS
    ]
    return [
        {"name": name, "description": "", "parameter_configs": presets}
        for name in _NAMES
        if not names or name in names
    ]
