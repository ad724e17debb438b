"""Forms: quoting, UTF-8, and a body another parser reads back."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.multipart import FilePart, encode_multipart


def parts(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    boundary = content_type.partition("boundary=")[2].encode()
    assert body.endswith(b"--" + boundary + b"--\r\n")
    found = []
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found.append((head.decode(), content.removesuffix(b"\r\n")))
    return found


def test_fields_and_files() -> None:
    file = FilePart("files", "a.png", b"\x89PNG\r\n", "image/png")
    content_type, body = encode_multipart([("model", "m"), ("content", "Zoë\r\n🙂")], [file])
    assert parts(content_type, body) == [
        ('Content-Disposition: form-data; name="model"', b"m"),
        ('Content-Disposition: form-data; name="content"', "Zoë\r\n🙂".encode()),
        (
            (
                'Content-Disposition: form-data; name="files"; filename="a.png"\r\n'
                "Content-Type: image/png"
            ),
            b"\x89PNG\r\n",
        ),
    ]


def test_names_cannot_break_out_of_their_quotes() -> None:
    """wire/allenai.md section 7 rule 16."""
    file = FilePart("f", 'a"\r\nX: y.png', b"", "text/plain\r\nX: z")
    content_type, body = encode_multipart([('n"\n', "v")], [file])
    heads = [head for head, _ in parts(content_type, body)]
    assert heads[0] == 'Content-Disposition: form-data; name="n%22%0A"'
    assert 'filename="a%22%0D%0AX: y.png"' in heads[1]
    assert heads[1].endswith("Content-Type: text/plainX: z")


def test_the_same_form_gives_the_same_bytes_and_another_another_boundary() -> None:
    assert encode_multipart([("a", "1")]) == encode_multipart([("a", "1")])
    assert encode_multipart([("a", "1")])[0] != encode_multipart([("a", "2")])[0]


def test_a_lone_surrogate_does_not_crash() -> None:
    assert b'name="a"\r\n\r\n?\r\n' in encode_multipart([("a", "\ud800")])[1]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_another_parser_reads_the_text_back(text: str) -> None:
    content_type, body = encode_multipart([("content", text)])
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    )
    assert parts(content_type, body)[0][1] == text.encode()
    assert message.is_multipart()
