"""File rules of the models (wire/allenai.md sections 3.5 and 4.5).

Texts that no recorded case shows are this server's own; their order is the document's.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.sandbox.allenai.fields import Upload
from penstock.sandbox.allenai.models import FileRules, Model
from penstock.sandbox.allenai.refusals import Complaint, Refused, invalid

_TITLE = "CreateMessageRequestFilesValidator"
_KINDS: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png", ".png"),
    (b"GIF8", 0, "image/gif", ".gif"),
    (b"\xff\xd8\xff", 0, "image/jpeg", ".jpg"),
    (b"WEBP", 8, "image/webp", ".webp"),
    (b"BM", 0, "image/bmp", ".bmp"),
    (b"ftyp", 4, "video/mp4", ".mp4"),
    (b"\x1aE\xdf\xa3", 0, "video/webm", ".webm"),
    (b"%PDF-", 0, "application/pdf", ".pdf"),
)


def sniffed(data: bytes) -> tuple[str, str] | None:
    """Tell type and usual ending by the first bytes, whatever the name says."""
    for magic, offset, kind, ending in _KINDS:
        if data[offset : offset + len(magic)] == magic:
            return kind, ending
    return None


def _allowed(kind: str, patterns: Sequence[str]) -> bool:
    return any(kind.startswith(one.rstrip("*")) for one in patterns)


def check_2025(files: Sequence[Upload], model: Model, *, followup: bool) -> None:
    """Hold the files of a message against the rules of its model.

    Raises:
        Refused: A rule is broken, or a file's type cannot be told.
    """
    message = _broken_rule(files, model.files, followup=followup)
    if message is None and model.files is not None:
        kinds = [sniffed(one.data) for one in files]
        if any(not one.data for one in files):
            message = "File is empty"
        elif None in kinds:
            raise Refused(500)
        elif any(kind and not _allowed(kind[0], model.files.types) for kind in kinds):
            message = f"This model only accepts files of types {list(model.files.types)}"
    if message is not None:
        raise invalid(_TITLE, "2.10", [Complaint(message=f"Value error, {message}")])


def check_2026(files: Sequence[Upload], model: Model, *, followup: bool) -> None:
    """Hold the files of a message against the rules of the newer version.

    The declared type counts, and a text model takes an image it never looks at
    (allenai-2026-err-pdf-on-text-model).

    Raises:
        Refused: A rule is broken.
    """
    if any(not _allowed(one.content_type, ("image/*", "video/*")) for one in files):
        raise Refused(400, "Unsupported file types in input")
    if model.files is None:
        return
    message = _broken_rule(files, model.files, followup=followup)
    if message is not None:
        raise invalid(_TITLE, "2.12", [Complaint(message=f"Value error, {message}")])


def _broken_rule(files: Sequence[Upload], rules: FileRules | None, *, followup: bool) -> str | None:
    if rules is None:
        return "This model doesn't accept files" if files else None
    needed = rules.required == "all_messages" or (
        rules.required == "first_message" and not followup
    )
    if needed and not files:
        return "This model requires a file with this message"
    if files and followup and not rules.in_followups:
        return "This model doesn't accept files in follow-up messages"
    if len(files) > rules.most:
        return f"This model accepts at most {rules.most} files per message"
    if sum(len(one.data) for one in files) > rules.total_size:
        return f"The total size of the files is over {rules.total_size} bytes"
    return None


def urls(files: Sequence[Upload], root: str, message: str) -> list[str]:
    """Give the addresses under which the files of a message would be stored."""
    endings = [(sniffed(one.data) or ("", ""))[1] for one in files]
    return [
        f"https://storage.invalid/sandbox/{root}/{message}-{number}{ending}"
        for number, ending in enumerate(endings)
    ]
