"""The form of an answer: what two answers must share whose texts differ.

`body_form` reduces a whole body, `stream_form` a streamed one. JSON becomes its shape
(keys in order, kinds of values), a stream the sequence of its frames with repeats
collapsed, each frame with its framing bytes.
"""

import json
import re
from collections.abc import Iterable, Sequence

import msgspec

JSON = object
_STYLES: dict[str, tuple[tuple[str, str], bool]] = {
    "compact": ((",", ":"), False),
    "compact ascii": ((",", ":"), True),
    "spaced": ((", ", ": "), False),
    "spaced ascii": ((", ", ": "), True),
}


class Form(msgspec.Struct, frozen=True):
    """Form of one body.

    Attributes:
        frames: Kinds of the frames, neighbouring repeats collapsed; one for a whole body.
        floating: Kinds of the frames that may stand anywhere, in no order.
        styles: Ways to write JSON that all of its documents are consistent with; empty
            where numbers or other details make that undecidable.
        count: Number of frames before collapsing, without the floating ones.
    """

    frames: tuple[str, ...]
    floating: frozenset[str] = frozenset()
    styles: frozenset[str] = frozenset()
    count: int = 1


def shape(value: JSON, tags: Sequence[str] = (), loose: Sequence[str] = (), at: str = "") -> str:
    """Describe the shape of a JSON value.

    Args:
        value: The value.
        tags: Keys whose text or truth is part of the kind, such as ``type``.
        loose: Regular expressions of paths (``a.b[].c``) whose values are not looked at.
        at: Path of the value.
    """
    if any(re.fullmatch(pattern, at) for pattern in loose):
        return "any"
    if isinstance(value, dict):
        parts = (
            f"{key}={member}"
            if key in tags and isinstance(member, str | bool)
            else f"{key}:{shape(member, tags, loose, f'{at}.{key}'.lstrip('.'))}"
            for key, member in value.items()
        )
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        members = collapsed(shape(one, tags, loose, f"{at}[]") for one in value)
        return "[" + ",".join(members) + "]"
    if isinstance(value, str):
        inner = _document(value)
        return f"text of {shape(inner, tags, loose, f'{at}()')}" if inner is not None else "text"
    if isinstance(value, bool):
        return "bool"
    return "null" if value is None else "number"


def collapsed(kinds: Iterable[str]) -> tuple[str, ...]:
    """Leave one of each run of equal kinds."""
    kept: list[str] = []
    for kind in kinds:
        if not kept or kept[-1] != kind:
            kept.append(kind)
    return tuple(kept)


def body_form(body: bytes, content_type: str, tags: Sequence[str], loose: Sequence[str]) -> Form:
    """Give the form of a whole body of that content type."""
    text = body.decode("utf-8", "replace")
    if not text:
        return Form(frames=("nothing",))
    if "html" in content_type:
        return Form(frames=("html",))
    value = _document(text)
    if value is None:
        return Form(frames=("words",))
    return Form(frames=(shape(value, tags, loose),), styles=_styles(text))


def stream_form(
    body: bytes, content_type: str, tags: Sequence[str], loose: Sequence[str], floating: str
) -> Form:
    """Give the form of a streamed body: server-sent events, or one JSON value a line.

    Args:
        body: The bytes; an unfinished last line counts as a line of its own kind.
        content_type: Tells the two kinds of stream apart.
        tags: See `shape`.
        loose: See `shape`.
        floating: Regular expression, searched in kinds that may stand anywhere.
    """
    text = body.decode("utf-8", "replace")
    lines = [line for line in re.split(r"(?<=\n)", text) if line]
    documents: list[str] = []
    kinds = [_line_kind(line, tags, loose, documents) for line in lines]
    frames = _blocks(kinds) if "event-stream" in content_type else kinds
    moving = frozenset(one for one in frames if floating and re.search(floating, one))
    fixed = [one for one in frames if one not in moving]
    common = frozenset(_STYLES)
    for document in documents:
        common &= _styles(document) or common
    return Form(
        frames=collapsed(fixed),
        floating=moving,
        styles=common if documents else frozenset(),
        count=len(fixed),
    )


def _line_kind(line: str, tags: Sequence[str], loose: Sequence[str], documents: list[str]) -> str:
    text = line.rstrip("\r\n")
    end = {"": "(cut)", "\n": "", "\r\n": "(crlf)"}.get(line[len(text) :], "(odd end)")
    field = re.match(r"(data|event|id|retry):( ?)|:", text)
    head = field.group() if field else ""
    rest = text[len(head) :]
    blanks = len(rest) - len(rest.lstrip(" "))
    value = _document(rest)
    if value is not None:
        documents.append(rest.strip())
        padding = f"<{blanks} blanks>" if blanks else ""
        return f"{head}{padding}{shape(value, tags, loose)}{end}"
    if head.startswith("id:"):
        return f"{head}*{end}"
    if head.startswith("data:"):
        return f"{head}text{end}"
    if head == ":":
        rest = re.sub(r"\d+", "0", rest)  # comments may name the time
    return f"{head}{rest}{end}"


def _blocks(kinds: Sequence[str]) -> list[str]:
    """Join the lines of each server-sent event; repeated lines of one count once."""
    blocks: list[str] = []
    lines: list[str] = []
    for kind in kinds:
        lines.append(kind)
        if kind in ("", "(crlf)"):
            blocks.append("|".join(collapsed(lines)))
            lines = []
    return [*blocks, "|".join(collapsed(lines)) + "(open)"] if lines else blocks


def _document(text: str) -> JSON | None:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value: JSON = json.loads(text)
    except ValueError:
        return None
    return value


def _styles(text: str) -> frozenset[str]:
    try:
        value = json.loads(text)
    except ValueError:
        return frozenset()
    return frozenset(
        name
        for name, (separators, ascii_only) in _STYLES.items()
        if json.dumps(value, separators=separators, ensure_ascii=ascii_only) == text.rstrip("\n")
    )
