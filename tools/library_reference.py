"""The page of the library: every public name in the words of its own docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

import penstock
from tools.generate_docs import fenced, fields_of, markdown, summary

WIDTH = 90

_SECTION = re.compile(r"^(Args|Raises|Returns|Attributes)(?: \([^)]*\))?:$", re.MULTILINE)


def library(_: str, _page: Path) -> str:
    """Each public class: what it is, its fields or attributes, its methods."""
    classes = {name: getattr(penstock, name) for name in penstock.__all__}
    parts = [part(name, cls) for name, cls in classes.items() if inspect.isclass(cls)]
    return "\n\n".join([*parts, event_union()])


def part(name: str, cls: type) -> str:
    """One class."""
    struct = issubclass(cls, msgspec.Struct) and bool(msgspec.structs.fields(cls))
    lines = [f"## `{name}`", *([summary(cls), fields_of(cls)] if struct else told(cls))]
    if not struct and "__init__" in vars(cls) and not getattr(cls, "_is_protocol", False):
        lines.insert(2, called(name, vars(cls)["__init__"]))
    for method, function in methods(cls):
        lines.append(f"### `{name}.{method}`")
        if not isinstance(vars(cls)[method], property):
            waited = "await " if inspect.iscoroutinefunction(function) else ""
            lines.append(called(waited + method, function))
        lines += told(function)
    return "\n\n".join(lines)


def event_union() -> str:
    """What a stream yields."""
    names = [cls.__name__ for cls in penstock.Event.__args__]
    listed = " | ".join(f"`{name}`" for name in names)
    return f"## `Event`\n\nWhat a stream yields, one of: {listed}."


def methods(cls: type) -> Iterator[tuple[str, Callable[..., object]]]:
    """The public methods and properties that the class itself documents."""
    for name, found in vars(cls).items():
        target = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if not name.startswith("_") and inspect.isfunction(target) and target.__doc__:
            yield name, target


def called(name: str, function: Callable[..., object]) -> str:
    """How it is called, a line for each parameter where one line is too short."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    bare = signature.replace(parameters=own, return_annotation=inspect.Signature.empty)
    shown = re.sub(r"'([^']*)'", r"\1", f"{name}{bare}")
    if len(shown) > WIDTH:
        star = [str(each) for each in own]
        keyword = [each.kind is each.KEYWORD_ONLY for each in own]
        if any(keyword) and not any(each.kind is each.VAR_POSITIONAL for each in own):
            star.insert(keyword.index(True), "*")
        listed = "".join(f"    {each},\n" for each in star)
        shown = re.sub(r"'([^']*)'", r"\1", f"{name}(\n{listed})")
    return fenced(shown)


def told(thing: object) -> Iterator[str]:
    """A docstring as paragraphs and lists."""
    pieces = _SECTION.split(inspect.cleandoc(inspect.getdoc(thing) or ""))
    for paragraph in pieces[0].split("\n\n"):
        if paragraph.strip():
            yield markdown(paragraph)
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        items = re.split(r"\n(?= {4}\S)", body.strip("\n"))
        yield f"{title}:"
        yield "\n".join(f"- {markdown(item)}" for item in items if item.strip())
