"""A conversation in the terminal: entries in, answers out, a few commands."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.cli.advice import explain
from penstock.cli.answer import Answered, answer
from penstock.cli.completion import known_models
from penstock.cli.entry import Entries, unseen_keys
from penstock.cli.history import History
from penstock.cli.render import Screen, folded
from penstock.cli.signals import Ended
from penstock.cli.thread import Thread
from penstock.cli.transcript import Transcript, Turn, messages_of, saved, shown, told
from penstock.errors import BadRequestError, PenstockError
from penstock.types import Conversation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.client import CallParameters
    from penstock.sync import Client

HELP = """/model NAME    go on with another model
/system TEXT   set the system message
/system        take it away
/retry         ask the last one again
/history       show what was said
/save FILE     write it as JSON
/save! FILE    the same over a file
               that is there
/clear         forget what was said
/quit          leave, as Ctrl-D does

Ctrl-C stops an answer; what came of it
stays. A line that ends in \\ goes on in
the next one; Alt-Enter breaks a line; a
paste of several lines is one question.
A space in front makes a question of a
line that begins with /."""

COMMANDS = ("help", "model", "system", "retry", "history", "save", "save!", "clear", "quit")
_COMMAND = re.compile(r"/([a-z?]*!?)(?:\s+(.*))?", re.DOTALL)


class Talk:
    """The loop of ``penstock chat`` without a question.

    Args:
        history: the entries of earlier chats.
        heard: what could not be undone on a server, as it is told.
    """

    def __init__(
        self,
        client: Client,
        screen: Screen,
        model: str,
        system: str | None,
        parameters: CallParameters,
        *,
        history: History,
        heard: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._screen = screen
        self._model = model
        self._system = system
        self._parameters = parameters
        self._history = history
        self._heard = heard
        self._stream = True
        self._recorded: str | None = None
        self._transcript = Transcript()
        self._thread = Thread(client)

    @property
    def left(self) -> list[str]:
        """The conversations that stand on servers now, as words."""
        return self._thread.left

    def run(self, *, stream: bool = True, recorded: str | None = None) -> None:
        """Read entries until the end of input.

        Args:
            stream: False to wait for whole answers.
            recorded: the one provider whose answers are recorded, if any.

        Raises:
            Ended: the window was closed or the program told to end.
        """
        self._stream, self._recorded = stream, recorded
        self._client.resolve(self._model)
        self._try_history(self._history.load)
        entries = Entries(self._history, self._completions)
        self._say(
            f"{self._model} - /help tells the commands, Ctrl-C stops an answer, Ctrl-D leaves"
        )
        interrupts = 0
        while True:
            try:
                entry = entries.read()
                interrupts = 0
                if not self._take(entries, entry):
                    return
            except EOFError:
                if not entries.ends_line:
                    self._screen.say("")
                return
            except Ended:
                raise
            except KeyboardInterrupt:  # what was typed is thrown away
                interrupts += 1
                self._screen.say("\nCtrl-D or /quit leaves" if interrupts > 1 else "")

    def _take(self, entries: Entries, entry: str) -> bool:
        """Do what an entry says; False to leave."""
        if entry.strip():
            self._try_history(lambda: entries.remember(entry))
        found = _COMMAND.fullmatch(entry.rstrip())
        if found is not None:
            return self._command(found.group(1), (found.group(2) or "").strip())
        if entry.strip():
            self._transcript.add(self._ask(entry.strip(), self._transcript.turns))
        return True

    # -- questions -----------------------------------------------------------------------------

    def _ask(self, question: str, before: Sequence[Turn]) -> Turn:
        """Ask after the turns ``before``; the answer is on the screen."""
        heard = len(self._heard)
        try:
            conversation = self._thread.begin(self._model, self._system, before)
            done = self._answer(question, before, conversation)
            if conversation is not None and _has_no_conversations(done):
                self._thread.refuse(self._model)
                conversation = None
                done = self._answer(question, before, None)
        except PenstockError as error:  # the provider is not set up; nothing was asked
            conversation, done = None, Answered("", "failed", error)
        turn = Turn(question, self._model, done.text, done.end, _sentence(done))
        if conversation is not None and done.end == "whole":
            self._thread.end(turn)
        if done.end == "stopped":
            kept = "what came is kept; " if done.text else ""
            where = "here" if self._heard[heard:] else "here and on the server"
            self._say(f"Stopped, {where}; {kept}/retry asks again.")
        elif done.error is not None:
            self._fail(done.error)
        for sentence in self._heard[heard:]:
            self._say(f"Not undone: {sentence}")
        if done.is_last:
            raise Ended
        return turn

    def _answer(
        self, question: str, before: Sequence[Turn], conversation: Conversation | None
    ) -> Answered:
        parameters = self._parameters.copy()
        parameters["conversation"] = conversation
        messages = messages_of(before, self._system, question)
        with unseen_keys():
            return answer(
                self._client,
                self._screen,
                self._model,
                messages,
                parameters,
                stream=self._stream,
            )

    def _retry(self) -> None:
        last = self._transcript.last
        if last is None:
            self._say("there is no question to ask again")
        elif not self._transcript.replace(self._ask(last.question, self._transcript.turns[:-1])):
            self._say("the answer that was there stays")

    # -- commands ------------------------------------------------------------------------------

    def _command(self, name: str, rest: str) -> bool:
        match name:
            case "quit" | "exit" | "q":
                return False
            case "model":
                self._switch(rest)
            case "system":
                self._system = rest or None
                self._say("the system message is set" if rest else "there is no system message")
            case "retry":
                self._retry()
            case "save" | "save!":
                self._save(rest, over=name == "save!")
            case "history":
                self._show_history()
            case "clear":
                self._transcript.clear()
                self._say("forgotten")
            case "help" | "?" | "":
                self._say(HELP)
            case _:
                self._unknown(name)
        return True

    def _unknown(self, name: str) -> None:
        close = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean /{close[0]}? " if close else ""
        self._say(f"there is no command /{name}; {hint}/help tells the commands")

    def _switch(self, model: str) -> None:
        if not model:
            self._say(f"{self._model} answers; /model NAME goes on with another")
            return
        try:
            provider, _ = self._client.resolve(model)
        except PenstockError as error:
            self._fail(error)
            return
        words = [f"now {model}"]
        if model != self._model and told(self._transcript.turns):
            words.append("the chat so far goes along with the next question")
        if self._recorded not in (None, provider):
            words.append(f"what it says is not recorded, only {self._recorded} is")
        self._model = model
        self._say("; ".join(words))

    def _show_history(self) -> None:
        if self._system:
            self._screen.say(f"[system: {self._system}]\n")
        for turn in self._transcript.turns:
            self._screen.say(shown(turn))
        if self._transcript.last is None:
            self._say("nothing was said yet")

    def _save(self, name: str, *, over: bool) -> None:
        if not name:
            self._say("/save wants the name of a file, as in /save talk.json")
            return
        file = Path(name).expanduser()
        data = msgspec.json.encode(saved(self._transcript.turns, self._system, self._model))
        try:
            with file.open("wb" if over else "xb") as out:
                out.write(msgspec.json.format(data) + b"\n")
        except FileExistsError:
            self._say(f"{file} is there already; /save! {name} writes over it")
        except OSError as error:
            self._say(f"Error: {file} cannot be written: {error.strerror}")
        else:
            self._say(f"saved to {file}")

    # -- words ---------------------------------------------------------------------------------

    def _completions(self, begun: str) -> list[str]:
        name, space, rest = begun.partition(" ")
        if not space:
            return [f"/{command} " for command in COMMANDS if f"/{command}".startswith(name or "?")]
        if name != "/model":
            return []
        models = known_models(self._client.settings)
        return [f"/model {model}" for model in models if model.startswith(rest)]

    def _try_history(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            self._history.forget_file()
            place = f"{error.filename}: " if error.filename else ""
            self._say(f"Warning: what is entered is not remembered: {place}{error.strerror}")

    def _fail(self, error: PenstockError) -> None:
        self._say(f"Error: {explain(error, self._client.settings)}")

    def _say(self, words: str) -> None:
        self._screen.say(folded(words, err=True))


def _has_no_conversations(done: Answered) -> bool:
    return (
        isinstance(done.error, BadRequestError)
        and done.error.param == "conversation"
        and not done.text
    )


def _sentence(done: Answered) -> str:
    return "" if done.error is None else str(done.error)
