"""Exchanges with the chat-ui of mid-2023, and frames of its router (wire/h2o.md 1 to 4)."""

from __future__ import annotations

import json
from typing import Any

from tests.testing.constructed.build import JSON, Headers, Raw, answer, compact, exchange

HOST = "gpt-gm.h2o.ai"
FALCON = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
LLAMA = "h2oai/h2ogpt-gm-oasst1-en-2048-open-llama-13b"
CHAT = "6b00e646eb3580645cb56ce2"
COOKIE = "hf-chat=b31e01f5-b646-4de5-97af-38854b6c4cbe"
SET = [("set-cookie", f"{COOKIE}; Path=/; HttpOnly; Secure; SameSite=None")]
PARAMETERS = {
    "temperature": 0.4,
    "truncate": 2048,
    "max_new_tokens": 1024,
    "do_sample": True,
    "repetition_penalty": 1.2,
    "return_full_text": False,
}
EOS = "<|endoftext|>"


# -- exchanges -----------------------------------------------------------------------------------


def call(
    method: str,
    path: str,
    response: Raw,
    body: str = "",
    content_type: str | None = None,
    headers: Headers = (),
) -> Raw:
    """One call with Referer and cookie."""
    sent = [("Accept", "*/*"), ("Referer", f"https://{HOST}/"), *headers]
    if path != "/settings":
        sent.append(("Cookie", COOKIE))
    return exchange(
        method, path, response, host=HOST, headers=sent, body=body, content_type=content_type
    )


def settings(response: Raw | None = None, model: str = FALCON, **more: Any) -> Raw:
    """POST /settings in its shortest form with a model."""
    redirect = compact({"type": "redirect", "status": 303, "location": f"https://{HOST}/"})
    return call(
        "POST",
        "/settings",
        response or answer(redirect, headers=SET),
        f"ethicsModalAccepted=true&activeModel={model.replace('/', '%2F')}",
        "application/x-www-form-urlencoded",
        **more,
    )


def opened(response: Raw | None = None, model: str = FALCON) -> Raw:
    """POST /conversation."""
    given = response or answer(compact({"conversationId": CHAT}), headers=SET)
    return call("POST", "/conversation", given, compact({"model": model}), JSON)


def asked(
    *frames: str | bytes,
    response: Raw | None = None,
    text: str = "Hi",
    closed: str = "clean",
    parameters: Raw | None = None,
    **body: Any,
) -> Raw:
    """POST of a message."""
    given = response or answer(
        *frames, content_type="text/event-stream", headers=SET, closed=closed
    )
    sent = {
        "inputs": text,
        "parameters": PARAMETERS if parameters is None else parameters,
        "stream": True,
        "options": {"id": "2bd0099c-55a9-4421-a8af-b8321e15642f", "is_retry": False},
        **body,
    }
    return call("POST", f"/conversation/{CHAT}", given, json.dumps(sent, ensure_ascii=False), JSON)


def deleted(status: int = 200) -> Raw:
    """DELETE of the conversation."""
    return call("DELETE", f"/conversation/{CHAT}", answer(status=status, content_type=None))


def visit(*asks: Raw, model: str = FALCON) -> list[Raw]:
    """Settings, conversation, messages, DELETE."""
    return [settings(model=model), opened(model=model), *asks, deleted()]


# -- frames --------------------------------------------------------------------------------------


def data(
    text: str,
    whole: str | None = None,
    *,
    special: bool = False,
    details: Raw | None = None,
    **more: Any,
) -> str:
    """The JSON of one frame."""
    token = {"id": 300, "text": text, "logprob": -0.0123, "special": special}
    return compact({**more, "token": token, "generated_text": whole, "details": details})


def frame(text: str, whole: str | None = None, **more: Any) -> str:
    """A frame as TGI up to 2.0.4 writes it: no space after the colon."""
    return f"data:{data(text, whole, **more)}\n\n"


def last(whole: str, **more: Any) -> str:
    """The last frame at the end-of-text token."""
    return frame(EOS, whole, special=True, **more)


def stopped(reason: str, **more: Any) -> Raw:
    """``details`` of a last frame."""
    return {"finish_reason": reason, "generated_tokens": 3, "seed": 18446744073709551557, **more}


def trouble(text: str, kind: str) -> str:
    """An error frame."""
    return f"data:{compact({'error': text, 'error_type': kind})}\n\n"
