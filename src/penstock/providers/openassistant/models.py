"""What is known of Open-Assistant's models and parameters (``wire/openassistant.md`` section 5)."""

from __future__ import annotations

from collections.abc import Mapping

BASE_URL = "https://open-assistant.io"
"""The public site, closed since October 2023."""

DEFAULT_MODEL = "OA_SFT_Llama_30B_6"

MODELS: tuple[str, ...] = (
    "OA_SFT_Llama_30B_6",
    "OA_SFT_Llama_30B_7",
    "OA_SFT_Llama2_70B_10",
    "OA_SFT_CodeLlama_13B_10",
    "OA_SFT_Pythia_12B_4",
)
"""Names seen on the public site. The list is open: a server's own table decides."""

_OPEN_UNIT = (0.000001, 0.999999)

SAMPLING: Mapping[str, tuple[float, float] | None] = {
    "temperature": (0.01, 2.0),
    "top_p": _OPEN_UNIT,
    "top_k": (1, 2000),
    "typical_p": _OPEN_UNIT,
    "repetition_penalty": (0.01, 3.0),
    "max_tokens": (1, 1024),
}
"""Ranges that the model server takes; above, those of the site's own page."""
