"""What a writer makes of an answer, as bytes and as the events that a client reads in them."""

from __future__ import annotations

import json
from typing import Any

from penstock.gateway.surfaces.surface import Writer
from penstock.types import Event, Finished


def written(made: Writer, *batches: list[Event], choice: int = 0) -> bytes:
    """A whole stream; the last batch ends with its end."""
    data = made.opening()
    for batch in batches:
        data += made.events(batch, choice)
    end = batches[-1][-1]
    assert isinstance(end, Finished)
    return data + made.finished(end, choice) + made.closing([end])


def named_frames(data: bytes) -> list[Any]:
    """The events, each checked for its mandatory name; comments as they are."""
    made: list[Any] = []
    for part in data.decode().split("\n\n")[:-1]:
        if part.startswith(":"):
            made.append(part)
            continue
        name, payload = part.split("\n")
        event = json.loads(payload.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        made.append(event)
    return made
