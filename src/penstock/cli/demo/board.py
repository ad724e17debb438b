"""Everything the demonstration shows: quiet, aligned, and as good in 40 columns as in 80."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from penstock.cli.demo.flow import Flow
from penstock.cli.demo.score import Row, Turn
from penstock.cli.demo.systems import System
from penstock.cli.render import harmless
from penstock.errors import PenstockError
from penstock.testing.replay import CaseResult

if TYPE_CHECKING:
    from rich.console import Console

WIDEST = 88
EXCERPT = 160
"""Characters that are shown of a recorded answer."""
NARROW = 72
"""Below this many columns the table becomes a list."""
GOOD, BAD, ASKED = "\u2713", "\u2717", "\u203a"
_MARKS = {GOOD: "green", BAD: "bold red", ASKED: "bold"}
_NEXT = "`penstock sandbox` keeps such servers running; `penstock chat` talks to them, or to yours."


class Board:
    """The terminal of one demonstration."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, WIDEST)

    # -- while it runs -------------------------------------------------------------------------

    def opening(self, count: int) -> None:
        """What is about to be seen."""
        self._console.print()
        self._console.print(Text("penstock demo", "bold"))
        word = "back end" if count == 1 else "back ends"
        self._paragraph(
            f"{count} {word} on this machine, each in its own protocol, asked through one client. "
            "No account, no network.",
            "dim",
        )

    def heading(self, title: str, *notes: str) -> None:
        """The line above a section."""
        self._console.print()
        head = Text(title, "bold cyan")
        for note in filter(None, notes):
            if head.cell_len + len(note) + 3 <= self._width - 4:
                head.append(f" \u00b7 {note}", "dim not bold")
        self._console.print(Rule(head, align="left", style="dim"), width=self._width)

    def question(self, text: str) -> None:
        """What is asked."""
        self._paragraph(text, "bold", indent=2, mark=ASKED)

    def flow(self, style: str = "") -> Flow:
        """A block of text that arrives in pieces."""
        return Flow(self._write, width=self._width, style=style)

    def note(self, text: str) -> None:
        """A remark beside the answer."""
        self._paragraph(text, "dim", indent=2)

    def facts(self, turn: Turn) -> None:
        """What is to be known of an answer that came to its end."""
        self._paragraph(", ".join(turn.facts), "dim", indent=2, mark=GOOD)

    def failure(self, error: PenstockError) -> None:
        """An error, as a caller sees it."""
        self._paragraph(f"{type(error).__name__}: {error}", "red", indent=2, mark=BAD)

    def recorded(self, result: CaseResult) -> None:
        """A recorded exchange, as it came out of the provider."""
        self._console.print(Text.assemble("  ", (result.case, "bold")))
        text = " ".join(result.text.split())
        if len(text) > EXCERPT:
            text = f"{text[: EXCERPT - 1].rstrip()}\u2026"
        self._paragraph(text, "", indent=2)
        if result.verdict != "passed":
            self.trouble("; ".join(result.differences) or result.reason)
            return
        words = f"{result.pieces} pieces, {result.finish or 'ended'}: as it was recorded"
        self._paragraph(words, "dim", indent=2, mark=GOOD)

    def trouble(self, text: str) -> None:
        """Something that should not be."""
        self._paragraph(text, "red", indent=2, mark=BAD)

    # -- at the end ----------------------------------------------------------------------------

    def table(self, rows: Sequence[tuple[System, Row]], pace: str) -> None:
        """All back ends at a glance; ``pace`` says what sets the pieces a second."""
        self.heading("All together")
        if self._console.width >= NARROW:
            self._wide(rows)
            self.note(
                "first: time to the first piece; left: conversations left behind on the server"
            )
            self.note(f"per s: pieces a second, {pace}")
        else:
            self._list(rows)
            self.note(f"/s: pieces a second, {pace}")

    def verdict(self, problems: Sequence[str], seconds: float) -> None:
        """The last words."""
        self._console.print()
        if not problems:
            words = f"All answers came whole and nothing was left behind, in {seconds:.0f} s."
            self._paragraph(words, "bold", mark=GOOD)
            self._paragraph(_NEXT, "dim", indent=2)
        for problem in problems:
            self._paragraph(problem, "red", mark=BAD)
        self._console.print()

    def _wide(self, rows: Sequence[tuple[System, Row]]) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("provider", style="cyan", no_wrap=True)
        table.add_column("dialect", no_wrap=True)
        for title in ("pieces", "chars", "first", "per s"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("finish", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True, style="green")
        for system, row in rows:
            cells = (
                str(row.pieces),
                str(row.characters),
                row.first_words,
                row.rate_words,
                row.finish or "-",
            )
            left = Text(str(row.left), "green" if row.left == 0 else "bold red")
            table.add_row(system.key, system.dialect, *cells, left)
        self._console.print(Padding(table, (0, 0, 0, 2), expand=False))

    def _list(self, rows: Sequence[tuple[System, Row]]) -> None:
        for system, row in rows:
            self._console.print(
                Text.assemble("  ", (system.key, "cyan"), (f" \u00b7 {system.dialect}", "dim"))
            )
            words = (
                f"{row.pieces} pieces, {row.characters} characters, first after {row.first_words}, "
                f"{row.rate_words}/s, {row.finish or 'ended'}, {row.left} left behind"
            )
            self._paragraph(words, "", indent=4)

    def _paragraph(self, text: str, style: str, *, indent: int = 0, mark: str = "") -> None:
        """Text that wraps; behind a mark its lines stand under the first word."""
        hang = indent + 2 if mark else indent
        flow = Flow(self._write, width=self._width, indent=indent, hang=hang, style=style)
        if mark:
            flow.style = _MARKS[mark]
            flow.feed(f"{mark} ")
            flow.style = style
        flow.feed(text)
        flow.end()

    def _write(self, text: str, style: str) -> None:
        self._console.print(Text(harmless(text), style), end="", soft_wrap=True)
