"""The error tree: one class for each kind, facts as attributes, no secrets in texts."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from penstock import errors
from penstock.errors import (
    KINDS,
    AuthError,
    BadRequestError,
    CallerError,
    Kind,
    MissingAuthError,
    ModelError,
    PenstockError,
    RateLimitError,
    ResponseStatusError,
    StreamTimeoutError,
    class_for,
    error_of,
    one_sentence,
    redact,
    with_bases,
)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_its_class_and_stands_in_the_drawing(kind: Kind) -> None:
    cls = class_for(kind)
    assert cls.kind == kind
    assert issubclass(cls, PenstockError)
    assert re.search(rf"{cls.__name__}\s+{kind}\b", errors.__doc__ or "")
    error = error_of(kind, "what happened")
    assert type(error) is cls
    assert type(pickle.loads(pickle.dumps(error))) is cls


def test_every_class_stands_in_the_drawing() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, PenstockError):
            assert name in (errors.__doc__ or ""), name


def test_a_status_makes_any_kind_a_status_error_too() -> None:
    error = error_of("auth", "no", status=401)
    assert isinstance(error, AuthError)
    assert isinstance(error, CallerError)
    assert isinstance(error, ResponseStatusError)
    assert error.kind == "auth"
    assert not isinstance(error_of("auth", "no", status=200), ResponseStatusError)


def test_foreign_bases_catch_without_changing_name_or_kind() -> None:
    cls = with_bases(ModelError, RuntimeError)
    error = cls("x")
    assert isinstance(error, RuntimeError)
    assert isinstance(error, ModelError)
    assert (cls.__name__, error.kind) == ("ModelError", "model")
    assert with_bases(StreamTimeoutError, TimeoutError) is StreamTimeoutError


def test_the_text_is_built_from_the_facts() -> None:
    error = RateLimitError(
        "too many requests", provider="p", status=429, retry_after=2.5, request_id="r1"
    )
    assert str(error) == "p: too many requests (HTTP 429, retry after 2.5 s, request r1)"
    error.partial = "abc"
    assert "3 characters had arrived" in str(error)
    assert str(BadRequestError("no", status=200)) == "no"


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        ("rate_limited", True),
        ("overloaded", True),
        ("model", True),
        ("timeout", True),
        ("network", True),
        ("truncated", True),
        ("server", False),
        ("auth", False),
        ("protocol", False),
        ("bad_request", False),
    ],
)
def test_what_may_be_tried_again(kind: Kind, retryable: bool) -> None:
    """The table of wire/README.md: before any text only."""
    error = error_of(kind, "x")
    assert error.retryable is retryable
    error.partial = "text"
    assert error.retryable is False


def test_a_protocol_may_know_better_whether_to_try_again() -> None:
    assert error_of("server", "x", retryable=True).retryable
    error = error_of("model", "x")
    error.retryable = False
    assert not error.retryable


def test_errors_survive_pickling_and_copying_with_their_facts() -> None:
    error = error_of("payment", "no credit", provider="p", status=402, param="x")
    error.partial = "text"
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (other.kind, other.status, other.partial) == ("payment", 402, "text")
        assert str(other) == str(error)


def test_errors_survive_pickling_with_their_classes() -> None:
    for error in (MissingAuthError("no key"), error_of("auth", "refused", status=401)):
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(other) is type(error)
    raised = with_bases(ModelError, RuntimeError)("failed")
    assert type(pickle.loads(pickle.dumps(raised))) is ModelError


def test_a_missing_key_is_an_auth_error() -> None:
    assert isinstance(MissingAuthError("api_key is missing"), AuthError)


@pytest.mark.parametrize(
    "secret",
    [
        "r8_abcdefghij0123",
        "sk-proj-abcdefgh12345",
        "gsk_abcdefghijk",
        "hf_abcdefghijkl",
        "eyJhbGciOiJkaXIi.eyJzdWIiOiJ4In0.c2ln",
    ],
)
def test_what_looks_like_a_secret_is_not_shown(secret: str) -> None:
    assert secret not in redact(f"key {secret} is wrong")
    assert secret not in one_sentence(f'{{"error":"Bearer {secret}"}}')


def test_known_secrets_and_credentials_in_urls_are_not_shown() -> None:
    assert redact("the word hunter22 stands here", ["hunter22"]) == "the word *** stands here"
    assert redact("a", ["a"]) == "a", "too short to be one"
    assert redact("http://ann:pass@host/x") == "http://***@host/x"
    assert redact("Authorization: Bearer abcdefgh12") == "Authorization: Bearer ***"


def test_the_beginning_of_a_secret_that_a_cut_has_left_is_not_shown() -> None:
    secret = "q7x9 zb/42mm+kk"
    for length in range(8, len(secret) + 1):
        for after in ("", "…", '"} (HTTP 400)', " "):
            assert redact(f"no: {secret[:length]}{after}", [secret]) == f"no: ***{after}"
    assert redact("no: q7x9%20zb%2F42mm%2Bkk", [secret]) == "no: ***"
    assert redact("no: q7x9+zb%2F42mm%2Bkk", [secret]) == "no: ***"
    assert redact("abcdabcd abcd", ["abcd"]) == "****** ***"
    assert redact("***", ["***x"]) == "***"
    keys = ["key-of-ann-1", "key-of-bob-2"]
    assert redact("key-of-bob-2 key-of-bob- key-of-ann", keys) == "*** *** ***", "not its half"
    assert redact("no: q7x9", [secret]) == "no: q7x9", "too little to give it away"


def test_foreign_text_becomes_one_short_line() -> None:
    assert (
        one_sentence("<p>a\n b</p><script>evil()</script>\x00") == "a b \N{REPLACEMENT CHARACTER}"
    )
    assert one_sentence("x" * 500).endswith("…")
    assert len(one_sentence("x" * 500)) == 200
    assert one_sentence("1 < 2 and 3 > 2") == "1 < 2 and 3 > 2"
