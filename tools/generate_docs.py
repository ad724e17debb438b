"""Write the parts of the documentation that the code knows better.

A page asks for such a part by name, and this program writes it between the two comments:

    <!-- generated: errors -->
    <!-- /generated -->

``--check`` writes nothing and fails, naming the pages, where a part is stale.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock import errors
from penstock.registry import ProviderEntry, Registry

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(
    r"(?P<open><!-- generated: (?P<name>[a-z-]+)(?: (?P<argument>[\w.-]+))? -->\n)"
    r"(?P<text>.*?)"
    r"(?P<close><!-- /generated -->)",
    re.DOTALL,
)


def main() -> int:
    """Renew the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the docs.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    check = parser.parse_args().check
    stale = [path for path in pages() if renew(path, write=not check)]
    for path in stale:
        print(f"docs: {path.relative_to(ROOT)} {'is stale: make fix' if check else 'renewed'}")
    return int(check and bool(stale))


def pages() -> Iterator[Path]:
    """Every page that may hold a generated part."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


def renew(path: Path, *, write: bool) -> bool:
    """Bring a page's generated parts up to date; whether they were not."""
    old = path.read_text("utf-8")
    new = PART.sub(lambda part: rendered(part, path), old)
    if new != old and write:
        path.write_text(new, "utf-8")
    return new != old


def rendered(part: re.Match[str], page: Path) -> str:
    """The part of this page with its text made anew."""
    renderer = RENDERERS.get(part["name"])
    if renderer is None:
        raise SystemExit(f"docs: no generated part is called {part['name']!r}: {[*RENDERERS]}")
    return f"{part['open']}\n{renderer(part['argument'] or '', page).strip()}\n\n{part['close']}"


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def error_tree(_: str, _page: Path) -> str:
    """The tree as the docstring of penstock.errors draws it, and each class in its words."""
    drawing = re.search(r"^ +PenstockError\n(?: +\S.*\n)+", errors.__doc__ or "", re.MULTILINE)
    if drawing is None:
        raise SystemExit("docs: the docstring of penstock.errors draws no tree")
    rows = (
        (f"`{name}`", f"`{cls.kind}`", summary(cls))
        for name, cls in vars(errors).items()
        if inspect.isclass(cls)
        and issubclass(cls, errors.PenstockError)
        and cls.__module__ == errors.__name__
    )
    tree = inspect.cleandoc("\n" + drawing[0])
    attributes = table(("attribute", "meaning"), described(errors.PenstockError))
    return f"```text\n{tree}\n```\n\n{table(('class', 'kind', 'when'), rows)}\n\n{attributes}"


def provider_table(which: str, page: Path) -> str:
    """The providers that come with Penstock: all, or one row for each protocol (``dialects``)."""
    entries = [e for e in Registry().entries.values() if not e.plugin]
    if which == "dialects":
        entries = [e for e in entries if e.dialects != ("chat-completions",) or e.needs_base_url]
    return table(
        ("name", "back end", "dialects", "needs"), (provider_row(entry, page) for entry in entries)
    )


def provider_row(entry: ProviderEntry, page: Path) -> tuple[str, ...]:
    """One line of the table of providers; linked where the provider, or its kind, has a page."""
    folder = ROOT / "docs" / "providers"
    target = folder / f"{entry.name}.md"
    if entry.dialects == ("chat-completions",):
        target = folder / "openai_compatible.md"
    link = os.path.relpath(target, page.parent)
    label = f"[{entry.label}]({link})" if target.exists() else entry.label
    needs = f"{entry.needs} (`{entry.key_env}`)" if entry.key_env else entry.needs
    dialects = ", ".join(f"`{dialect}`" for dialect in entry.dialects)
    return f"`{entry.name}`", label, dialects, needs or "nothing"


def command_help(name: str, _page: Path) -> str:
    """What ``--help`` says: of one command, or of the program and all its commands."""
    program: click.Command = import_from("penstock.cli.main.cli")
    context = click.Context(
        program, info_name="penstock", terminal_width=80, help_option_names=["-h", "--help"]
    )
    if not isinstance(program, click.Group):
        raise SystemExit("docs: penstock.cli.main.cli is no group of commands")
    names = [name] if name else program.list_commands(context)
    parts = [] if name else [fenced(program.get_help(context))]
    for each in names:
        command = program.get_command(context, each)
        if command is None:
            raise SystemExit(f"docs: no command is called {each!r}")
        parts.append(
            f"## `penstock {each}`\n\n" * (not name) + "\n\n".join(helps(command, context))
        )
    return "\n\n".join(parts)


def helps(command: click.Command, parent: click.Context) -> Iterator[str]:
    """The help of a command and of the commands below it."""
    context = click.Context(command, info_name=command.name, parent=parent, terminal_width=80)
    yield fenced(command.get_help(context))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from helps(below, context)


def fields(path: str, page: Path) -> str:
    """The fields of a struct: name, type, default, meaning."""
    return fields_of(import_from(path), in_a_file=page.name == "configuration.md")


def fields_of(
    struct: type[msgspec.Struct], own: type | None = None, *, in_a_file: bool = False
) -> str:
    """A table of the fields; with ``own`` only of those that this class itself declares.

    ``in_a_file`` tells types and defaults as they stand in TOML instead of Python.
    """
    told = dict(described(struct))
    kind, default = (toml_kind, toml_default) if in_a_file else (kind_of, default_of)
    rows = (
        (f"`{field.name}`", kind(field.type), default(field), told.get(f"`{field.name}`", ""))
        for field in msgspec.structs.fields(struct)
        if own is None or field.name in own.__annotations__
    )
    return table(("name", "type", "default", "meaning"), rows)


def sandbox_options(_: str, _page: Path) -> str:
    """The options of every sandbox server, each in a table of its own, those of all first."""
    shared = import_from("penstock.sandbox.server.Options")
    parts = [f"### Every server\n\n{fields_of(shared, shared)}"]
    for kind, path in import_from("penstock.sandbox._SERVERS").items():
        options = import_from(path.replace(":", ".")).options_type
        if options is not shared:
            parts.append(f"### `{kind}`\n\n{fields_of(options, options)}")
    return "\n\n".join(parts)


def sandbox_faults(_: str, _page: Path) -> str:
    """The faults that a sandbox server makes, by the stage at which they strike."""
    kinds = import_from("penstock.sandbox.faults.FAULTS")
    titles = import_from("penstock.sandbox.faults.STAGES")
    parts = []
    for stage, title in titles.items():
        common = {
            name: kind for name, kind in kinds.items() if kind.stage == stage and not kind.servers
        }
        rows = (
            (f"`{name}`", "" if kind.default is None else f"`{kind.default}`", kind.meaning)
            for name, kind in common.items()
        )
        if common:
            parts.append(f"**{title}**\n\n{table(('fault', 'value', 'meaning'), rows)}")
    return "\n\n".join(parts)


def sandbox_own_faults(_: str, _page: Path) -> str:
    """The faults of each protocol's own lists, by server."""
    kinds = import_from("penstock.sandbox.faults.FAULTS")
    failures = import_from("penstock.sandbox.fault_table.FAILURES")
    parts = []
    for server in import_from("penstock.sandbox._SERVERS"):
        own = [(name, kind) for name, kind in kinds.items() if server in kind.servers]
        rows = [
            (f"`{name}={value}`" if value else f"`{name}`", meaning)
            for name, kind in own
            for value, meaning in (kind.values or {"": kind.meaning}).items()
        ]
        rows += [(f"`fails-as={name}`", told) for name, told in failures.get(server, {}).items()]
        if rows:
            parts.append(f"**`{server}`**\n\n{table(('fault', 'meaning'), iter(rows))}")
    return "\n\n".join(parts)


def vendor_table(_: str, _page: Path) -> str:
    """The rows of OpenAI-compatible vendors."""
    vendors = import_from("penstock.providers.openai_compatible.vendors.VENDORS")
    keys = {name: entry.key_env for name, entry in Registry().entries.items()}
    usual = set(vendors["openai"].sampling)
    return table(
        ("name", "address", "key", "limit of tokens", "usage", "beyond the usual"),
        (
            (
                f"`{name}`",
                f"`{vendor.base_url}`",
                f"`{keys[name]}`" if vendor.key_env else "none",
                f"`{vendor.max_tokens}`",
                "asked for" if vendor.stream_usage else "as it comes",
                ", ".join(f"`{one}`" for one in vendor.sampling if one not in usual),
            )
            for name, vendor in vendors.items()
        ),
    )


def library(argument: str, page: Path) -> str:
    """Every public name of the library."""
    rendered_by: Callable[[str, Path], str] = import_from("tools.library_reference.library")
    return rendered_by(argument, page)


def metric_table(_: str, _page: Path) -> str:
    """The metrics of the gateway."""
    every = import_from("tools.metrics_reference.told")()
    return table(
        ("metric", "type", "labels", "meaning"),
        (
            (
                f"`{one.name}`",
                one.kind,
                ", ".join(f"`{label}`" for label in one.labels),
                one.meaning,
            )
            for one in every
        ),
    )


def kind_of(annotation: object) -> str:
    """A type as a reader of the configuration would say it."""
    text = getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"('[^']*')|\b(?:\w+\.)+(\w+)", lambda found: found[1] or found[2], text)
    text = text.replace(" | None", "")
    return f"`{text}`".replace("|", "\\|")


def toml_kind(annotation: object) -> str:
    """A type in the words of TOML."""
    text = kind_of(annotation).strip("`")
    if text.startswith("Literal["):
        return (
            text.removeprefix("Literal[").removesuffix("]").replace("'", "`").replace(", ", " or ")
        )
    return TOML_WORDS.get(text, "table")


def toml_default(field: msgspec.structs.FieldInfo) -> str:
    """A default as it would be written in TOML, or nothing."""
    default = default_of(field)
    if not default.startswith("`") or toml_kind(field.type) == "table":
        return ""
    return f"`{json.dumps(field.default)}`"


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """A default as it would be written, or nothing."""
    if field.default_factory is not msgspec.NODEFAULT:
        return ""
    value = field.default
    if isinstance(value, msgspec.Struct):
        return "its defaults"
    return "" if value in (None, msgspec.NODEFAULT, (), "") else f"`{value!r}`"


def described(thing: object) -> Iterator[tuple[str, str]]:
    """The attributes that a docstring in Google's form describes."""
    doc = inspect.cleandoc(thing.__doc__ or "")
    _, _, section = doc.partition("Attributes:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    for name, text in re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", section, re.MULTILINE):
        yield f"`{name}`", markdown(text)


def summary(thing: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return markdown(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0])


def markdown(text: str) -> str:
    """A docstring's words as one line of Markdown."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def fenced(text: str) -> str:
    """Text shown as it is."""
    return f"```text\n{text.strip()}\n```"


def import_from(path: str) -> Any:
    """The object at ``package.module.name``."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


TOML_WORDS = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "tuple[str, ...]": "list of strings",
}
"""What Python's types are called in a file; every other one is a table."""

RENDERERS: dict[str, Callable[[str, Path], str]] = {
    "errors": error_tree,
    "providers": provider_table,
    "cli": command_help,
    "fields": fields,
    "library": library,
    "metrics": metric_table,
    "sandbox-faults": sandbox_faults,
    "sandbox-own-faults": sandbox_own_faults,
    "sandbox-options": sandbox_options,
    "vendors": vendor_table,
}

if __name__ == "__main__":
    sys.exit(main())
