"""The answer: one JSON object a line (``wire/h2o.md`` section 9, "The answer").

Laws of the stream:
* tokens are padded with NUL; all NUL go, and an empty token is none;
* ``finalAnswer`` has the whole text, end-trimmed. What of it was not streamed (the text beside the
  finish reason) is sent then; where it does not begin with what was streamed, both are kept and a
  notice says so, because the server runs a failed generation again without a word;
* the last line of a good run is the status ``finished``, after which nothing counts; an error
  line may come instead, even after ``finalAnswer``;
* a run whose finish reason the server does not know has no ``finalAnswer``, so its finish is not
  known here either; an interrupted one is cancelled.
"""

from __future__ import annotations

import msgspec

from penstock.providers.chatui.dialect.errors import line_error
from penstock.types import Event, Finished, Notice, Reasoning, Text
from penstock.wire.decoder import JSON_ERRORS, AnswerDecoder, bad_payload
from penstock.wire.ndjson import NDJSONDecoder

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""White space to the server's language, which trims the final text, but not to ours."""


class _Line(msgspec.Struct, gc=False):
    type: str
    token: str = ""
    text: str = ""
    interrupted: bool = False
    status: str = ""
    message: str = ""
    statusCode: int | None = None


_LINE = msgspec.json.Decoder(_Line)


class LinesDecoder(AnswerDecoder):
    """Bytes of an answer to events."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self._provider = provider
        self._lines = NDJSONDecoder()
        self._streamed: list[str] = []
        self._final: str | None = None
        self._interrupted = False
        self._notices: tuple[Notice, ...] = ()

    def _decode(self, data: bytes, events: list[Event]) -> None:
        decode = _LINE.decode
        for text in self._lines.feed(data):
            try:
                line = decode(text)
            except JSON_ERRORS as error:
                raise bad_payload(error, text) from None
            if line.type == "stream":
                token = line.token.replace("\0", "")
                if token:
                    self._streamed.append(token)
                    events.append(Text(token))
            else:
                self._other(line, events)
                if self.done:
                    return

    def _end(self, events: list[Event]) -> None:
        rest = self._lines.eof()
        if rest:
            try:
                line = _LINE.decode(rest)
            except JSON_ERRORS:
                line = _Line("")  # cut
            if line.type != "stream":
                self._other(line, events)
        if self.whole and not self.done:
            self._finish(events)

    def _other(self, line: _Line, events: list[Event]) -> None:
        if line.type == "finalAnswer":
            self._reconcile(line, events)
        elif line.type == "status" and line.status == "error":
            raise line_error(line.message, line.statusCode, self._provider)
        elif line.type == "status" and line.status == "finished":
            self._finish(events)
        elif line.type == "reasoning" and (token := line.token.replace("\0", "")):
            events.append(Reasoning(token))

    def _reconcile(self, line: _Line, events: list[Event]) -> None:
        streamed, final = "".join(self._streamed), line.text.replace("\0", "")
        self._final, self._interrupted = final, line.interrupted
        # White space alone counts as no answer and an error line follows, so the text is needed.
        self.whole = bool(final)
        if final.startswith(streamed):
            if rest := final[len(streamed) :]:
                self._streamed.append(rest)
                events.append(Text(rest))
        elif not (streamed.startswith(final) and (line.interrupted or _blank(streamed, final))):
            self._notices = (Notice("text_differs", difference(streamed, final)),)

    def _finish(self, events: list[Event]) -> None:
        reason = None if self._final is None else "cancelled" if self._interrupted else "stop"
        events.append(Finished(reason, final_text=self._final, warnings=self._notices))
        self.done = True


def _blank(streamed: str, final: str) -> bool:
    return not streamed[len(final) :].replace(_BOM, "").strip()


def difference(streamed: str, final: str) -> str:
    """How the streamed text differs from the final one, in words.

    The server repeats a generation that failed in its middle and goes on with the same stream
    (chatui-flaky-upstream): then what was streamed is a broken try and the whole answer after it.
    """
    again = streamed.rstrip()
    if final and again.endswith(final):
        broken = len(again) - len(final)
    else:  # the last words of the second try may not have been streamed
        broken = streamed.rfind(final[:8]) if len(final) >= 8 else -1
        if broken > 0 and not final.startswith(streamed[broken:].rstrip()):
            broken = -1
    if broken > 0:
        return (
            f"the server's model failed and answered again: the first {broken} characters that "
            "were streamed are the failed try; the final text is the answer"
        )
    return "the final text is not what was streamed; the final one is the server's answer"
