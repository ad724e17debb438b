"""One answer of today's chat-ui: what it streams, logs and stores (wire/h2o.md section 9).

Laws:
1. The generation goes on whoever reads it; its updates are kept in order.
2. If the model fails, the whole answer is generated once more without a word; tokens of
   the failed try stay in the stream, only ``finalAnswer`` is right. A second failure is
   the error line.
3. The log is what ``GET .../stream`` shows: the same updates, neighbouring tokens merged
   as long as no reader has seen them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal, TypeAlias

from penstock.sandbox.chatui_state import units
from penstock.sandbox.javascript import BLANKS
from penstock.sandbox.run import Feed, Run
from penstock.sandbox.script import Piece, Prompt, Thought

Update: TypeAlias = dict[str, object]
Status = Literal["running", "completed", "interrupted", "error"]
_TITLE_AFTER = 2


class Generation:
    """The updates of one answer.

    Attributes:
        ident: The id the client chose.
        text: The answer so far, of the present try.
        stored: Updates as the message keeps them, tokens replaced by their length.
    """

    def __init__(
        self,
        ident: str,
        start: Callable[[], Run],
        *,
        title: str | None,
        whole_only: bool = False,
    ) -> None:
        """Prepare a generation.

        Args:
            ident: Its id.
            start: Starts a run of the model: a try.
            title: Title to announce, in the first turn.
            whole_only: The last piece comes in the model's chunk that also says how it
                finished: such text is never streamed.
        """
        self.ident = ident
        self.status: Status = "running"
        self.text = ""
        self.stored: list[Update] = []
        self._start = start
        self._title = title
        self._whole_only = whole_only
        self._feed: Feed[Update] = Feed()
        self._log: list[Update] = []
        self._seen = 0
        self._run: Run | None = None
        self._stopped = False
        self._stop_at: int | None = None
        self._tokens = 0
        self._thinking = False

    @property
    def log_length(self) -> int:
        """Number of the last log entry."""
        return len(self._log)

    def follow(self, beat: float) -> AsyncIterator[Update | None]:
        """Yield the updates as they come, `None` after `beat` seconds of silence."""
        return self._feed.follow(beat=beat)

    def entries(self, after: int) -> list[tuple[int, Update]]:
        """Give the log entries after a number; what was given is not merged any more."""
        self._seen = len(self._log)
        return list(enumerate(self._log[after:], after + 1))

    def stop(self, seen: int | None) -> None:
        """End the answer now; its text is cut to the `seen` characters."""
        if self.status == "running" and self._run is not None:
            self._stopped, self._stop_at = True, seen
            self._run.cancel()

    async def speak(self) -> None:
        """Generate the answer to its end."""
        self._add({"type": "status", "status": "started"})
        run = await self._try()
        if run.state == "failed":
            run = await self._try()
        self._finish(run)
        self._feed.end()

    async def _try(self) -> Run:
        self._run = run = self._start()
        self.text, self._thinking = "", False
        async for piece in run.follow():
            if piece is None:
                continue
            token = self._token(piece)
            self.text += token
            held_back = self._whole_only and run.ended and piece is run.pieces[-1]
            if token and not held_back:
                self._stream(token)
        return run

    def _token(self, piece: Piece) -> str:
        """Put reasoning between marks inside the text (chatui-reasoning)."""
        if isinstance(piece, Thought):
            mark, self._thinking = "" if self._thinking else "<think>", True
            return mark + piece.text
        mark, self._thinking = "</think>" if self._thinking else "", False
        return mark + piece

    def _stream(self, token: str) -> None:
        self._add({"type": "stream", "token": token})
        self._tokens += 1
        if self._tokens == _TITLE_AFTER:
            self._announce()

    def _announce(self) -> None:
        if self._title is not None:
            title, self._title = self._title, None
            self._add({"type": "title", "title": title})

    def _finish(self, run: Run) -> None:
        if run.state == "failed" and run.failure is not None:
            if self._tokens:
                self._announce()
            status = run.failure.status
            words = "terminated" if run.failure.kind == "terminated" else run.failure.message
            told = words if status is None else f"{status} {words}"
            self._fail(told, status)
            return
        if self._stopped and self._stop_at is not None:
            self.text = self.text[: self._stop_at]
        if self._tokens != 1:
            self._announce()
        if not self.text and not self._stopped:
            self._fail("No output was generated. Something went wrong.", None)
            return
        if run.state == "cancelled" or run.finish in ("stop", "length"):
            self._answer(interrupted=run.state == "cancelled")
        if not self.text.strip(BLANKS) and not self._stopped:
            self._fail("No output was generated. Something went wrong.", None)
            return
        self._announce()
        self.status = "interrupted" if run.state == "cancelled" else "completed"
        self._add({"type": "status", "status": "finished"})

    def _answer(self, *, interrupted: bool) -> None:
        self.text = self.text.rstrip(BLANKS)
        self._add({"type": "finalAnswer", "text": self.text, "interrupted": interrupted})

    def _fail(self, message: str, status: int | None) -> None:
        self.status = "error"
        line: Update = {"type": "status", "status": "error", "message": message}
        self._add(line if status is None else {**line, "statusCode": status})

    def _add(self, update: Update) -> None:
        token = update.get("token")
        if isinstance(token, str):
            self.stored.append({"type": "stream", "token": "", "len": units(token)})
        else:
            self.stored.append(update)
        self._record(update, token)
        self._feed.add(update)

    def _record(self, update: Update, token: object) -> None:
        last = self._log[-1] if len(self._log) > self._seen else {}
        if isinstance(token, str) and isinstance(last.get("token"), str):
            self._log[-1] = {**last, "token": f"{last['token']}{token}"}
        else:
            self._log.append(update)


def first_words(prompt: Prompt) -> str:
    """Give a title: the question's first words."""
    return " ".join(prompt.question.split()[:5]) or "New Chat"
