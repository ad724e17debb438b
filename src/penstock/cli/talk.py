"""A conversation in the terminal: lines in, answers out, a few commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.cli.chat import ask
from penstock.cli.render import Screen, folded
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.sync import Client

_HELP = """/model NAME   go on with another model
/system TEXT  set the system message
/system       take it away
/retry        ask the question again
/save FILE    write the messages as JSON
/history      show the messages
/clear        forget the messages
/quit         leave (or Ctrl-D)"""


class Talk:
    """The loop of ``penstock chat`` without a question."""

    def __init__(
        self,
        client: Client,
        screen: Screen,
        model: str,
        system: str | None,
        parameters: dict[str, Any],
    ) -> None:
        self._client = client
        self._screen = screen
        self._model = model
        self._system = system
        self._parameters = parameters
        self._messages: list[dict[str, str]] = []

    def run(self) -> None:
        """Read lines until the end of input."""
        _history_keys()
        self._client.resolve(self._model)
        greeting = f"{self._model} - /help for commands, Ctrl-C stops an answer"
        self._screen.say(folded(greeting, err=True))
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                self._screen.say("")
                return
            except KeyboardInterrupt:
                self._screen.say("")  # the line is thrown away; Ctrl-D or /quit leave
                continue
            if line.startswith("/"):
                if not self._command(*line[1:].split(" ", 1)):
                    return
            elif line:
                self._turn(line)

    def _turn(self, question: str) -> bool:
        self._messages.append({"role": "user", "content": question})
        system = [{"role": "system", "content": self._system}] if self._system else []
        try:
            text = ask(
                self._client,
                self._screen,
                self._model,
                system + self._messages,
                self._parameters,
            )
        except KeyboardInterrupt:
            self._messages.pop()
            return False
        except PenstockError as error:
            self._messages.pop()
            self._screen.say(folded(f"Error: {error}", err=True))
            return False
        self._messages.append({"role": "assistant", "content": text})
        return True

    def _command(self, name: str, rest: str = "") -> bool:
        rest = rest.strip()
        if name in ("quit", "exit", "q"):
            return False
        if name == "model" and rest:
            self._switch(rest)
        elif name == "system":
            self._system = rest or None
        elif name == "retry":
            self._retry()
        elif name == "save" and rest:
            self._save(Path(rest).expanduser())
        elif name == "history":
            for message in self._messages:
                self._screen.say(f"{message['role']}: {message['content']}")
        elif name == "clear":
            self._messages.clear()
        else:
            self._screen.say(folded(_HELP, err=True))
        return True

    def _switch(self, model: str) -> None:
        try:
            self._client.resolve(model)
        except PenstockError as error:
            self._screen.say(folded(f"Error: {error}", err=True))
            return
        self._model = model
        self._screen.say(f"now {model}")

    def _retry(self) -> None:
        before = list(self._messages)
        if not before:
            self._screen.say("there is no question to ask again")
            return
        del self._messages[-2:]
        if not self._turn(before[-2]["content"]):
            self._messages = before  # the answer that was there stays

    def _save(self, file: Path) -> None:
        data = {"model": self._model, "system": self._system, "messages": self._messages}
        try:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(data)) + b"\n")
        except OSError as error:
            self._screen.say(f"Error: {file} cannot be written: {error.strerror}")
            return
        self._screen.say(f"saved to {file}")


def _history_keys() -> None:
    try:
        import readline  # noqa: F401 - gives input() its history and editing
    except ImportError:
        return  # not on every platform; input() works without
