"""Cookie files of both formats, and whose cookies they give."""

from __future__ import annotations

import sys
from http.cookiejar import Cookie as BrowserCookie
from pathlib import Path
from types import ModuleType

import pytest

from penstock.cookies import Cookie, get_cookies, parse_cookies, read_cookies
from penstock.errors import ConfigError
from penstock.prompts import get_cookies as documented

NETSCAPE = (
    "# Netscape HTTP Cookie File\n"
    "\n"
    ".example.org\tTRUE\t/\tTRUE\t1900000000\tsession\tsecret-a\r\n"
    "#HttpOnly_example.org\tTRUE\t/\tTRUE\t0\ttoken\tsecret-b\n"
    "example.org\tFALSE\t/\tFALSE\t0\tempty\n"
)


def test_netscapes_format() -> None:
    assert parse_cookies(NETSCAPE) == [
        Cookie("session", "secret-a", ".example.org"),
        Cookie("token", "secret-b", ".example.org"),
        Cookie("empty", "", "example.org"),
    ]


def test_a_json_list() -> None:
    text = '\ufeff [{"name": "a", "value": "b", "domain": ".example.org", "path": "/"}]'
    assert parse_cookies(text) == [Cookie("a", "b", ".example.org")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"name": "secret"}]', "JSON list"),
        ("[", "JSON list"),
        (NETSCAPE + "secret without tabs", "line 6"),
    ],
)
def test_what_is_neither_is_refused_without_showing_it(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_cookies(text)
    assert "secret" not in str(caught.value)


def test_a_cookie_does_not_show_its_value() -> None:
    assert "secret" not in repr(Cookie("a", "secret", "b"))


@pytest.mark.parametrize(
    ("domain", "host", "sent"),
    [
        ("example.org", "example.org", True),
        (".example.org", "example.org", True),
        (".example.org", "chat.example.org", True),
        (".Example.org", "example.org", True),
        ("example.org", "chat.example.org", False),
        (".example.org", "notexample.org", False),
        (".", "example.org", False),
        ("chat.example.org", "example.org", False),
        ("", "example.org", False),
    ],
)
def test_whose_a_cookie_is(domain: str, host: str, sent: bool) -> None:
    assert Cookie("a", "b", domain).belongs_to(host) is sent


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * ((16 << 20) + 1), b"a b"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "cookies.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cookies\.txt"):
        read_cookies(file)


def test_the_configured_file_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text('cookies = "cookies.txt"\n', "utf-8")
    file = tmp_path / "cookies.txt"
    file.write_text("", "utf-8")
    assert documented("chat.example.org") == {}
    file.write_text(NETSCAPE + "chat.example.org\tFALSE\t/\tTRUE\t0\tsession\tnearer\n", "utf-8")
    first = get_cookies("chat.example.org")
    assert first == {"session": "nearer", "token": "secret-b"}
    first.clear()
    assert documented("chat.example.org") != {}
    assert documented("example.com") == {}


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text('cookies = "none.txt"\n', "utf-8")
    (tmp_path / "other.txt").write_text(NETSCAPE, "utf-8")
    monkeypatch.setenv("PENSTOCK_COOKIES", str(tmp_path / "other.txt"))
    assert get_cookies("example.org")["session"] == "secret-a"


def browser_cookie(name: str, domain: str) -> BrowserCookie:
    return BrowserCookie(
        0, name, "v", None, False, domain, True, False, "/", True, True, None, True, None, None, {}
    )


def test_browsers_are_asked_where_no_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrowserCookieError(Exception):
        pass

    def absent(domain_name: str) -> list[BrowserCookie]:
        raise BrowserCookieError

    def present(domain_name: str) -> list[BrowserCookie]:
        return [browser_cookie("a", f".{domain_name}"), browser_cookie("b", f"x{domain_name}")]

    module = ModuleType("browser_cookie3")
    vars(module).update(BrowserCookieError=BrowserCookieError, all_browsers=[absent, present])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "browser_cookie3", module)
    assert get_cookies("example.org") == {"a": "v"}


def test_without_file_and_browsers_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "browser_cookie3", None)
    assert get_cookies("example.org") == {}
