"""``penstock config`` and ``penstock providers``: values, origins, never a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

SECRETS = """\
[providers.h2o]
base_url = "http://127.0.0.1:1"
api_key = "geheim-1"
proxy = "http://user:geheim-2@127.0.0.1:2"
[providers.h2o.headers]
x-token = "geheim-3"
[providers.openassistant]
base_url = "http://127.0.0.1:3"
cookies = { session = "geheim-4" }
options = { trusted_client = "geheim-5" }
"""
WRONG = """\
default_model = "hh2o/x"
[aliases]
quick = "ollama/a"
fast = "nosuch/x"
loop = "quick"
away = "chatui/x"
[connection]
ca_bundle = "gone.pem"
[providers.h2o]
base_url = "http://127.0.0.1:1"
dialect = "tgii"
[providers.replicate]
options = { poll_intervall = "geheim" }
[providers.replicate.timeouts]
idle = 4
[providers.tgi]
timeout = 3
[providers.allenia]
base_url = "http://127.0.0.1:1"
[providers.openassistant]
base_url = "http://127.0.0.1:1"
[providers.openassistant.options]
trusted_client = { api_key = "geheim" }
"""
MISTAKES = [
    "8: connection.ca_bundle: there is no file gone.pem",
    "11: providers.h2o.dialect: dialect must be one of chat-ui-2023, tgi, not 'tgii'",
    (
        "13: providers.replicate.options.poll_intervall: poll_intervall is not a parameter of this "
        "provider; did you mean poll_interval?"
    ),
    "16: providers.tgi.base_url: text-generation-inference has no public server",
    "23: providers.openassistant.options.trusted_client: trusted_client must hold the texts",
    "4: aliases.fast: 'nosuch/x' names no provider",
    "5: aliases.loop: 'quick' is an alias, too; name the model itself",
    "6: aliases.away: chat-ui has no public server",
    "1: default_model: 'hh2o/x' names no provider; did you mean 'h2o/x'?",
]


def lines(out: str) -> dict[str, list[str]]:
    """Key -> the other columns."""
    return {row.split()[0]: row.split()[1:] for row in out.splitlines()}


def test_each_value_has_its_origin(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("penstock.toml").write_text('default_model = "h2o/x"\n[timeouts]\nidle = 7\ntotal = false')
    monkeypatch.setenv("PENSTOCK_TIMEOUT_CONNECT", "2.5")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "geheim-6")
    shown = lines(run("config", "show").out)
    assert shown["default_model"] == ["h2o/x", "penstock.toml:1"]
    assert shown["timeouts.idle"] == ["7", "penstock.toml:3"]
    assert shown["timeouts.total"] == ["false", "penstock.toml:4"]
    assert shown["timeouts.connect"] == ["2.5", "PENSTOCK_TIMEOUT_CONNECT"]
    assert shown["timeouts.waiting"] == ["600", "default"]
    assert shown["connection.trust_env"] == ["false", "default"]
    assert shown["providers.replicate.api_key"] == ["set", "REPLICATE_API_TOKEN"]


def test_no_secret_is_shown(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text(SECRETS)
    Path("penstock.toml").chmod(0o644)
    for command in ("show", "check", "path"):
        done = run("config", command)
        assert done.code == 0
        assert "geheim" not in done.out + done.err
        assert "api_key" in done.err or command == "show"
    assert "set (x-token)" in run("config", "show").out


def test_a_file_that_others_can_read_is_told(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text(SECRETS)
    Path("penstock.toml").chmod(0o640)
    assert "`chmod 600 penstock.toml` mends that" in run("config", "check").err
    Path("penstock.toml").chmod(0o600)
    assert "Warning" not in run("config", "check").err


def test_the_file_that_is_read(run: Run, workplace: Path) -> None:
    assert run("config", "path").code == 1
    Path("other.toml").write_text("")
    done = run("--config", "other.toml", "config", "path")
    assert (done.code, done.out) == (0, "other.toml\n")


def test_check_says_right_or_what_is_wrong(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text("[timeouts]\nidle = 7\n")
    assert run("config", "check").err == "right: penstock.toml, 1 setting\n"
    Path("penstock.toml").write_text("[timeouts]\nidel = 7\n")
    done = run("config", "check")
    assert done.code == 1
    assert done.err == (
        "Error: penstock.toml:2: timeouts.idel: there is no such setting; did you mean idle?\n"
    )


def test_check_names_every_mistake_with_its_place(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text(WRONG)
    Path("penstock.toml").chmod(0o600)
    done = run("config", "check")
    assert (done.code, done.out) == (1, "")
    assert "geheim" not in done.err
    warning, *mistakes = done.err.splitlines()
    assert warning.startswith("Warning: penstock.toml:18: allenia is no provider that comes with")
    assert warning.endswith("did you mean allenai?")
    assert len(mistakes) == len(MISTAKES)
    for line, mistake in zip(mistakes, MISTAKES, strict=True):
        assert line.startswith(f"Error: penstock.toml:{mistake}")


def test_check_names_the_variable_that_is_wrong(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_OLLAMA_DIALECT", "gibberish")
    monkeypatch.setenv("PENSTOCK_PROXY", "geheim")
    done = run("config", "check")
    assert done.code == 1
    assert done.err.startswith("Error: PENSTOCK_PROXY: connection.proxy: proxy must be a URL")
    assert "geheim" not in done.err
    monkeypatch.delenv("PENSTOCK_PROXY")
    assert run("config", "check").err == (
        "Error: PENSTOCK_OLLAMA_DIALECT: providers.ollama.dialect: "
        "dialect must be chat-completions, not 'gibberish'\n"
    )


def test_check_knows_pools(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text(
        'default_model = "both"\n[aliases]\nany = "both"\n[pools.both]\ntargets = ["ollama/a"]\n'
    )
    assert run("config", "check").code == 0


def test_check_reads_the_cookie_file(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text('cookies = "gone.txt"\n')
    done = run("config", "check")
    assert (done.code, "gone.txt cannot be read" in done.err) == (1, True)


def test_providers_say_what_they_need(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text(
        '[providers.h2o]\nbase_url = "http://127.0.0.1:1"\n'
        '[providers.mine]\nbase_url = "http://127.0.0.1:2"\n'
    )
    rows = {
        row["name"]: row for row in map(json.loads, run("providers", "--json").out.splitlines())
    }
    assert [rows[name]["ready"] for name in ("h2o", "mine", "allenai", "chatui", "openai")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert rows["openai"]["key_env"] == "OPENAI_API_KEY"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_of_providers_fits(
    run: Run, workplace: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("providers").out.splitlines()
    assert max(map(len, shown)) <= width
    assert any(line.startswith("openai_compatible ") for line in shown)
    assert ("dialects" in shown[0]) == (width == 120)


def test_models_of_one_provider_and_of_all(run: Run, configured: Path) -> None:
    assert "openai_compatible/sandbox-small\n" in run("models", "openai_compatible").out
    every = run("models", "--json")
    names = {json.loads(line)["id"].partition("/")[0] for line in every.out.splitlines()}
    assert {"allenai", "h2o", "openassistant", "replicate"} <= names


def test_models_of_all_go_on_after_a_failure(run: Run, workplace: Path) -> None:
    Path("penstock.toml").write_text(
        '[providers.chatui]\nbase_url = "http://127.0.0.1:9"\nmodels = ["a"]\n'
        '[providers.mine]\nbase_url = "http://127.0.0.1:9/v1"\n'
    )
    done = run("models")
    assert (done.code, done.out) == (1, "chatui/a\n")
    assert done.err.startswith("mine: ")


def test_models_of_none_says_how(run: Run, workplace: Path) -> None:
    assert "penstock models allenai" in run("models").err


def test_replay_judges_recorded_cases(run: Run, workplace: Path) -> None:
    cases = Path(__file__).parents[1] / "cassettes" / "h2o"
    done = run("replay", str(cases / "h2o-first-turn.json"))
    assert (done.code, done.out) == (0, "1 passed, 0 failed, 0 skipped\n")
    assert run("replay", "nowhere").code == 2
