"""Settings: sources in order, origins, and one sentence with its place for every mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.config import Settings, find_file, load, no_color
from penstock.config.places import leaves, line_of
from penstock.config.settings import ConnectionTable, ProviderTable
from penstock.errors import ConfigError
from penstock.types import Timeouts

KNOWN: dict[str, str | None] = {"h2o": None, "openai": "OPENAI_API_KEY", "allenai": None}
H2O = '[providers.h2o]\nbase_url = "http://127.0.0.1:1/a/"\n'


def read(
    tmp_path: Path,
    text: str = "",
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    file = tmp_path / "penstock.toml"
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    return load(file, env=env or {}, overrides=overrides, known=KNOWN)


def complaint(tmp_path: Path, text: str = "", env: Mapping[str, str] | None = None) -> str:
    """The sentence of the error, with the folder taken away."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, env)
    return str(caught.value).replace(f"{tmp_path}/", "")


# -- what is read ------------------------------------------------------------------------------


def test_nothing_configured_is_all_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(env={"HOME": "/nowhere"}, known=KNOWN)
    assert settings == Settings()


def test_the_whole_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        default_model = "fast"
        cookies = "c.txt"
        [aliases]
        fast = "h2o/falcon-7b"
        [timeouts]
        idle = 7
        total = false
        [connection]
        proxy = "socks5://127.0.0.1:9"
        no_proxy = ["localhost"]
        ca_bundle = "ca.pem"
        connections = 5
        [providers.h2o]
        base_url = "http://127.0.0.1:1/a/"
        cookies = { a = "1" }
        headers.x = "y"
        timeouts = { connect = 1 }
        models = ["m"]
        [providers.mine]
        base_url = "http://127.0.0.1:2"
        api_key = " key "
        timeout = 3
        dialect = "d"
        trusted_hosts = ["cdn.test"]
        options = { a = 1 }
        """,
    )
    assert settings.default_model == "fast"
    assert settings.aliases == {"fast": "h2o/falcon-7b"}
    assert settings.cookies_file == str(tmp_path / "c.txt")
    assert settings.session.proxy == "socks5://127.0.0.1:9"
    assert settings.session.no_proxy == ("localhost",)
    assert settings.session.ca_bundle == str(tmp_path / "ca.pem")
    assert settings.session.connections == 5
    h2o, mine = settings.providers["h2o"], settings.providers["mine"]
    assert h2o.base_url == "http://127.0.0.1:1/a"
    assert (h2o.cookies, h2o.headers, h2o.models) == ({"a": "1"}, {"x": "y"}, ("m",))
    assert h2o.timeouts == Timeouts(connect=1.0, idle=7.0, total=None)
    assert mine.timeouts == Timeouts(first_content=3.0, idle=3.0)
    assert (mine.api_key, mine.dialect, mine.options) == ("key", "d", {"a": 1})
    assert mine.trusted_hosts == ("cdn.test",)
    assert settings.warnings == ()


def test_later_sources_win(tmp_path: Path) -> None:
    text = H2O + "[timeouts]\nidle = 1\ntotal = 2\nconnect = 3\n"
    env = {"PENSTOCK_TIMEOUT_IDLE": "10", "PENSTOCK_TIMEOUT_TOTAL": "20"}
    settings = read(tmp_path, text, env, {"timeouts.total": 200})
    limits = settings.providers["h2o"].timeouts
    assert (limits.connect, limits.idle, limits.total) == (3.0, 10.0, 200.0)
    file = tmp_path / "penstock.toml"
    assert settings.origins["timeouts.connect"] == f"{file}:6"
    assert settings.origins["timeouts.idle"] == "PENSTOCK_TIMEOUT_IDLE"
    assert settings.origins["timeouts.total"] == "argument"


def test_variables_of_a_provider(tmp_path: Path) -> None:
    env = {
        "PENSTOCK_H2O_BASE_URL": "http://127.0.0.1:5",
        "PENSTOCK_H2O_TIMEOUT": "4",
        "PENSTOCK_MY_SERVER_API_KEY": "key",
        "PENSTOCK_DEFAULT_MODEL": "h2o/x",
        "PENSTOCK_COOKIES": "c.txt",
        "PENSTOCK_NO_PROXY": "a.test, b.test",
        "PENSTOCK_CONNECTIONS": "9",
        "PENSTOCK_TIMEOUT_CONNECT": "off",
    }
    text = '[providers.my-server]\nbase_url = "http://127.0.0.1:6"\n'
    settings = read(tmp_path, text, env)
    assert settings.providers["h2o"].base_url == "http://127.0.0.1:5"
    assert settings.providers["h2o"].timeouts == Timeouts(connect=None, first_content=4.0, idle=4.0)
    assert settings.providers["my-server"].api_key == "key"
    assert settings.default_model == "h2o/x"
    assert settings.cookies_file == "c.txt"  # from where the command runs, not from the file
    assert settings.session.no_proxy == ("a.test", "b.test")
    assert settings.session.connections == 9


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, "", {"PENSTOCK_H2O_BASE_URL": " ", "OPENAI_API_KEY": ""}).origins == {}


# -- credentials and addresses -----------------------------------------------------------------


def test_a_vendors_own_variable_is_its_key(tmp_path: Path) -> None:
    settings = read(tmp_path, "", {"OPENAI_API_KEY": "sk-1"})
    assert settings.providers["openai"].api_key == "sk-1"
    assert settings.origins["providers.openai.api_key"] == "OPENAI_API_KEY"


@pytest.mark.parametrize("source", ["file", "env", "argument"])
def test_a_vendors_key_goes_to_no_other_address(tmp_path: Path, source: str) -> None:
    url = "http://127.0.0.1:7/v1"
    settings = read(
        tmp_path,
        f'[providers.openai]\nbase_url = "{url}"\n' if source == "file" else "",
        {"OPENAI_API_KEY": "sk-1"} | ({"PENSTOCK_OPENAI_BASE_URL": url} if source == "env" else {}),
        {"providers.openai.base_url": url} if source == "argument" else {},
    )
    assert settings.providers["openai"].base_url == url
    assert settings.providers["openai"].api_key is None


def test_our_own_variable_is_meant_for_the_configured_address(tmp_path: Path) -> None:
    env = {"PENSTOCK_OPENAI_API_KEY": "mine", "PENSTOCK_OPENAI_BASE_URL": "http://127.0.0.1:7"}
    assert read(tmp_path, "", env).providers["openai"].api_key == "mine"


def test_proxies_of_the_environment_only_when_trusted(tmp_path: Path) -> None:
    env = {"HTTPS_PROXY": "http://127.0.0.1:8", "no_proxy": "a.test,b.test"}
    assert read(tmp_path, "", env).session.proxy is None
    trusting = read(tmp_path, "[connection]\ntrust_env = true\n", env)
    assert trusting.session.proxy == "http://127.0.0.1:8"
    assert trusting.session.no_proxy == ("a.test", "b.test")
    assert trusting.origins["connection.proxy"] == "HTTPS_PROXY"
    own = read(tmp_path, '[connection]\nproxy = "http://127.0.0.1:3"\ntrust_env = true\n', env)
    assert own.session.proxy == "http://127.0.0.1:3"
    assert read(tmp_path, "", {**env, "PENSTOCK_TRUST_ENV": "Yes"}).session.proxy is not None


def test_no_repr_and_no_shown_value_holds_a_secret(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        H2O + 'api_key = "geheim"\nproxy = "http://u:geheim@127.0.0.1"\noptions = {k = "geheim"}\n',
        {"PENSTOCK_PROXY": "http://u:geheim@127.0.0.1"},
    )
    assert "geheim" not in repr(settings)
    assert "geheim" not in str(settings.shown)
    table = ProviderTable(api_key="geheim", cookies={"a": "geheim"}, proxy="http://u:geheim@h:1")
    assert "geheim" not in repr((table, ConnectionTable(proxy="http://u:geheim@h:1")))


# -- which file --------------------------------------------------------------------------------


def test_the_file_is_searched_in_its_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home, named = tmp_path / "here", tmp_path / "home", tmp_path / "named.toml"
    for folder in (here, home / "penstock"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    env = {"XDG_CONFIG_HOME": str(home)}
    assert find_file(None, env) is None
    (home / "penstock" / "penstock.toml").write_text("")
    assert find_file(None, env) == home / "penstock" / "penstock.toml"
    (here / "penstock.toml").write_text("")
    assert find_file(None, env) == Path("penstock.toml")
    named.write_text("")
    assert find_file(None, {**env, "PENSTOCK_CONFIG": str(named)}) == named
    assert find_file("penstock.toml", {"PENSTOCK_CONFIG": str(named)}) == Path("penstock.toml")


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^PENSTOCK_CONFIG: there is no configuration file"):
        load(env={"PENSTOCK_CONFIG": str(tmp_path / "gone.toml")})
    with pytest.raises(ConfigError, match=r"^there is no configuration file"):
        load(tmp_path, env={})


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert read(tmp_path, '\ufeffdefault_model = "a/b"').default_model == "a/b"


# -- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[providers.h2o]\n\nbase_ur = 1",
            (
                "penstock.toml:3: providers.h2o.base_ur: there is no such setting; "
                "did you mean base_url?"
            ),
        ),
        (
            '[providers.h2o]\nproxy = "http://u:geheim@"',
            (
                "penstock.toml:2: providers.h2o.proxy: proxy must be a URL such as "
                "http://host:3128 or socks5://user:password@host:1080"
            ),
        ),
        (
            '[connection]\nproxy = "localhost:3128"',
            (
                "penstock.toml:2: connection.proxy: proxy must be a URL such as "
                "http://host:3128 or socks5://user:password@host:1080"
            ),
        ),
        (
            "# mine\n[provider.h2o]\ntimeout = 1",
            "penstock.toml:2: provider: there is no such setting; did you mean providers?",
        ),
        (
            "[conection]",
            "penstock.toml:1: conection: there is no such setting; did you mean connection?",
        ),
        (
            "[timeouts]\nzzzzzz = 1",
            (
                "penstock.toml:2: timeouts.zzzzzz: there is no such setting; known are connect, "
                "first_content, idle, total, waiting"
            ),
        ),
        (
            "[providers.h2oo]",
            (
                "penstock.toml:1: providers.h2oo: there is no such provider, and it has no base_url"
                "; did you mean h2o?"
            ),
        ),
        (
            '[providers.h2o]\ntimeout = "x"',
            "penstock.toml:2: providers.h2o.timeout: it must be a number, not a text",
        ),
        (
            "[providers.h2o]\nmodels = 3",
            "penstock.toml:2: providers.h2o.models: it must be a list, not a whole number",
        ),
        (
            "[providers.h2o]\ntimeout = -1",
            "penstock.toml:2: providers.h2o.timeout: it must be a positive number of seconds",
        ),
        (
            "[providers.h2o.timeouts]\nidle = 0",
            "penstock.toml:2: providers.h2o.timeouts.idle: it must be a positive number of seconds",
        ),
        (
            "[timeouts]\nidle = true",
            "penstock.toml:2: timeouts.idle: it must be a positive number of seconds",
        ),
        ("timeouts = 3", "penstock.toml:1: timeouts: it must be a table"),
        (
            "default_model = 3",
            "penstock.toml:1: default_model: it must be a text, not a whole number",
        ),
        ("[aliases]\na = []", "penstock.toml:2: aliases.a: it must be a text, not a list"),
        ("aliases = 1", "penstock.toml:1: aliases: it must be a table"),
        ("providers = 1", "penstock.toml:1: providers: it must hold tables, as in [providers.h2o]"),
        (
            '[providers."a.b"]',
            "penstock.toml:1: providers: the name 'a.b' may hold only letters, digits, - and _",
        ),
        (
            "[connection]\nconnections = 0",
            "penstock.toml:2: connection.connections: it must be at least 1",
        ),
        (
            '[providers.h2o]\nbase_url = "ftp://x"',
            (
                "penstock.toml:2: providers.h2o.base_url: base_url must be an http or https URL, "
                "as in https://host/prefix"
            ),
        ),
        (
            'a = "geheim"x',
            (
                "penstock.toml:1: this is not valid TOML: expected newline or end of document "
                "after a statement"
            ),
        ),
        ('a = "b"\na = "c"', "penstock.toml:2: this is not valid TOML: cannot overwrite a value"),
    ],
)
def test_a_mistake_in_the_file_names_file_line_and_key(
    tmp_path: Path, text: str, sentence: str
) -> None:
    assert complaint(tmp_path, text) == sentence


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (
            {"PENSTOCK_TIMEOUT_IDLE": "geheim"},
            "PENSTOCK_TIMEOUT_IDLE: timeouts.idle: it must be a number of seconds",
        ),
        (
            {"PENSTOCK_CONNECTIONS": "1.5"},
            "PENSTOCK_CONNECTIONS: connection.connections: it must be a whole number",
        ),
        (
            {"PENSTOCK_TRUST_ENV": "geheim"},
            "PENSTOCK_TRUST_ENV: connection.trust_env: it must be true or false",
        ),
        (
            {"PENSTOCK_H2O_BASE_URL": "http://u:geheim@h"},
            (
                "PENSTOCK_H2O_BASE_URL: providers.h2o.base_url: base_url must not hold "
                "credentials, a query or a fragment"
            ),
        ),
    ],
)
def test_a_mistake_in_a_variable_names_it_and_not_its_value(
    tmp_path: Path, env: Mapping[str, str], sentence: str
) -> None:
    assert complaint(tmp_path, "", env) == sentence


def test_a_mistake_in_an_argument_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^argument: connection.connections: it must be"):
        read(tmp_path, "", {}, {"connection.connections": "many"})


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read: it is not UTF-8 text"):
        load(file, env={})


def test_a_mistyped_variable_is_a_warning(tmp_path: Path) -> None:
    env = {"PENSTOCK_H2O_BASEURL": "x", "PENSTOCK_CONFIG": "", "_PENSTOCK_COMPLETE": "", "X": ""}
    assert read(tmp_path, "", env).warnings == (
        "PENSTOCK_H2O_BASEURL is set, but nothing reads it; did you mean PENSTOCK_H2O_BASE_URL?",
    )


def test_a_file_with_a_key_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(H2O + 'api_key = "geheim"\n')
    file.chmod(0o644)
    (warning,) = load(file, env={}, known=KNOWN).warnings
    assert "providers.h2o.api_key" in warning
    assert "geheim" not in warning
    file.write_text(H2O)
    assert load(file, env={}, known=KNOWN).warnings == ()


# -- places ------------------------------------------------------------------------------------

TEXT = """\
a.b = 1
[x."y z"] # comment
 'c' = 2
[[list]]
d = {e = 3}
[x]
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [("a.b", 1), ("x.y z.c", 3), ("list.d.e", 5), ("x", 6), ("x.nope", 6), ("gone", 1)],
)
def test_the_line_of_a_key_or_of_what_is_nearest(key: str, line: int) -> None:
    assert line_of(TEXT, key) == line


def test_leaves_keep_the_users_own_tables_whole() -> None:
    table = {"a": {"b": 1, "headers": {"x": "y"}}, "empty": {}}
    assert leaves(table) == [("a.b", 1), ("a.headers", {"x": "y"}), ("empty", {})]


def test_no_color_is_asked_for_by_any_value() -> None:
    assert no_color({"NO_COLOR": "1"})
    assert not no_color({"NO_COLOR": ""})
