"""A prediction and the two ways it is written (wire/replicate.md section 4).

The edge writes what is under way: ``id`` first, ``<`` escaped. The web part writes what is over:
``completed_at`` first. Which of the two speaks follows the recorded answers.
"""

from __future__ import annotations

import secrets
import time
from base64 import b32encode
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from penstock.sandbox.replicate.channel import Channel
from penstock.sandbox.replicate.models import Model, OutputKind
from penstock.sandbox.run import Run
from penstock.sandbox.script import cut_tokens

_IDENT = "0123456789abcdefghjkmnpqrstvwxyz"
_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}
LOGS = "Random seed: 4711\n"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a create asked for."""

    model: Model
    output: OutputKind
    input: Mapping[str, object]
    deployment: str | None = None
    deadline: float | None = None


class Origins(msgspec.Struct, frozen=True):
    """Where the two ports are for the client that asks."""

    api: str
    stream: str


class Prediction:
    """A prediction.

    Attributes:
        ident: Its id, 26 characters.
        number: Its place among all predictions, from 1.
        created: Unix time, as `begins` (the model has loaded) and `ended`.
        token: The unguessable part of its stream URL; None where it has no stream.
        first_piece: Unix time of the first piece, once there is one.
        aborted: Whether its deadline passed before it ran.
        oddity: What a fault makes of it, by its name among the values of ``prediction``.
    """

    def __init__(self, asked: Asked, number: int, boot: float, logs: str, oddity: str = "") -> None:
        self.ident = "".join(secrets.choice(_IDENT) for _ in range(22)) + "c0"
        self.ident += "".join(secrets.choice(_IDENT) for _ in range(2))
        self.asked = asked
        self.number = number
        self.created = time.time()
        self.begins = self.created + boot
        self.ended = self.created
        self.first_piece: float | None = None
        self.aborted = False
        self.channel = Channel()
        self.oddity = oddity
        self.token = None if oddity == "no-stream" else stream_token(asked.output)
        self._logs = logs
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """Its generation."""
        assert self._run is not None
        return self._run

    @run.setter
    def run(self, run: Run) -> None:
        self._run = run

    @property
    def status(self) -> str:
        """The status now."""
        words = {"finished": "succeeded", "failed": "failed", "cancelled": "canceled"}
        if self.oddity == "failed":
            return "failed"
        if self.aborted:
            return "aborted"
        if self.run.state != "running":
            return words[self.run.state]
        return "starting" if time.time() < self.begins else "processing"

    @property
    def texts(self) -> list[str]:
        """The visible pieces so far: the protocol has no place for reasoning."""
        return [piece for piece in self.run.pieces if isinstance(piece, str)]

    def output(self, origins: Origins) -> list[str] | str | None:
        """The output now."""
        if self.oddity == "null-output":
            return None
        over = self.run.state == "finished"
        match self.asked.output:
            case "text":
                return "".join(self.texts) if over else None
            case "files":
                return [self.file_url(origins)] if over else None
            case _:
                return self.texts or ([] if over else None)

    def file_url(self, origins: Origins) -> str:
        """Where the file is that a model of files has made."""
        return f"{origins.stream}/files/{self.ident}/out-0.png"

    def edge(
        self,
        origins: Origins,
        *,
        status: str | None = None,
        source: bool = True,
        sparse: bool = False,
    ) -> bytes:
        """The object as the edge writes it.

        Args:
            origins: Where its URLs lead.
            status: Said in the place of the real one; ``starting`` has no output yet.
            source: Whether it says that it came by the API; blocking answers do not.
            sparse: As in 2023 and 2024: neither output nor what was added later.
        """
        said = status or self.status
        begun = said != "starting"
        written: dict[str, object] = {
            "id": self.ident,
            "model": self.asked.model.id,
            "version": self._version,
            "input": self.asked.input,
            "logs": self._logs if begun else "",
        }
        if not sparse:
            written["output"] = self.output(origins) if begun else None
            written["data_removed"] = False
        written["error"] = self._error if begun else None
        if source and not sparse:
            written["source"] = "api"
        written |= {"status": said, "created_at": _moment(self.created, "milliseconds")}
        urls = self._urls(origins, "cancel", "get", "stream", "web")
        written |= {**self._optional(), "urls": urls}
        text = msgspec.json.encode(self._shown(written)).decode()
        for character, escape in _ESCAPES.items():
            text = text.replace(character, escape)
        return text.encode() + (b"\n" if sparse else b"")

    def web(self, origins: Origins, *, removed: bool = False) -> dict[str, object]:
        """The object as the web part writes it.

        Args:
            origins: Where its URLs lead.
            removed: What was said has been deleted, as it is an hour after.
        """
        over = self.run.ended
        begun = self.begins <= (self.ended if over else time.time())
        written: dict[str, object] = {
            "completed_at": _moment(self.ended) if over else None,
            "created_at": _moment(self.created),
            "data_removed": removed,
            "error": self._error,
            "id": self.ident,
            "input": {} if removed else self.asked.input,
            "logs": self._logs if begun and not removed else "",
            "metrics": self._metrics(begun) if over else {},
            "output": None if removed else self.output(origins),
            "started_at": _moment(self.begins) if begun else None,
            "status": self.status,
            "urls": self._urls(origins, "stream", "get", "cancel", "web"),
            "version": self._version,
            "model": self.asked.model.id,
            "source": "api",
            **self._optional(),
            "webhook_completed": None,
        }
        return self._shown(written)

    def _shown(self, written: dict[str, object]) -> dict[str, object]:
        if self.oddity == "no-output":
            return {name: value for name, value in written.items() if name != "output"}
        return written

    @property
    def _version(self) -> str:
        return "hidden" if self.asked.model.official else self.asked.model.version

    @property
    def _error(self) -> str | None:
        if self.oddity == "failed":
            return "Prediction failed to start: out of memory"
        if self.run.failure is not None:
            return self.run.failure.message
        return "" if self.oddity == "empty-error" else None

    def _optional(self) -> dict[str, object]:
        asked = self.asked
        said = {} if asked.deployment is None else {"deployment": asked.deployment}
        if asked.deadline is not None:
            said["deadline"] = _moment(self.created + asked.deadline, "milliseconds")
        return {**said}

    def _metrics(self, begun: bool) -> dict[str, object]:
        """Times, and for models of text the counts: keys as recorded, in order."""
        total = round(self.ended - self.created, 6)
        if not begun:
            return {"total_time": total}
        spent = round(self.ended - self.begins, 6)
        if self.asked.output == "files" or self.first_piece is None:
            return {"predict_time": spent, "total_time": total}
        asked = "".join(message.content for message in self.run.prompt.messages)
        return {
            "input_token_count": len(cut_tokens(asked)),
            "output_token_count": len(self.texts),
            "predict_time": spent,
            "time_to_first_token": round(max(0.0, self.first_piece - self.begins), 6),
            "tokens_per_second": round(len(self.texts) / max(spent, 0.001), 3),
            "total_time": total,
        }

    def _urls(self, origins: Origins, *order: str) -> dict[str, str]:
        own = f"{origins.api}/v1/predictions/{self.ident}"
        urls = {
            "cancel": f"{own}/cancel",
            "get": own,
            "web": f"https://replicate.com/p/{self.ident}",
        }
        if self.token is not None:
            kind = "files" if self.asked.output == "files" else "streams"
            urls["stream"] = f"{origins.stream}/v1/{kind}/{self.token}"
        return {name: urls[name] for name in order if name in urls}


def stream_token(output: OutputKind) -> str | None:
    """The last part of a stream URL: section 2."""
    if output not in ("stream", "files"):
        return None
    unguessable = b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    return f"bcwr-{unguessable}" if output == "files" else unguessable


def _moment(unix: float, precision: str = "microseconds") -> str:
    text = datetime.fromtimestamp(unix, UTC).isoformat(timespec=precision)
    return text.replace("+00:00", "Z")
