"""The configuration is read again while answers come: none is lost, a wrong one refused."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.gateway.programs import asked, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
LONG = "word " * 100
"""An answer of about two seconds."""


def aliased(name: str, more: str = "") -> str:
    return f'[aliases]\n{name} = "h2o/falcon-40b"\n{more}'


def test_a_signal_reloads_and_no_answer_is_lost(tmp_path: Path) -> None:
    config = tmp_path / "penstock.toml"
    with started(tmp_path, config=aliased("old")) as run:
        begun = run.stream(LONG, "old")
        config.write_text(aliased("new"))
        run.signal(signal.SIGHUP)
        run.says("the configuration was read again")
        assert run.chat("Hello", "new") == "Hello"
        status, answer = run.get("/v1/chat/completions", asked("Hello", "old"))
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        rest = begun.read()
        assert rest.count(b" word") + 1 >= 99
        assert rest.endswith(b"data: [DONE]\n\n")
    assert "left behind" not in run.log


def test_a_changed_file_is_read_and_a_wrong_one_refused_with_its_reason(tmp_path: Path) -> None:
    config = tmp_path / "penstock.toml"
    with started(tmp_path, config=aliased("old")) as run:
        config.write_text(aliased("new", "[gateway]\nlimit = 3\n"))
        run.says("the new configuration is refused, the old one stays")
        assert "penstock.toml:4: gateway.limit" in run.log
        assert run.chat("Hello", "old") == "Hello"
        config.write_text(aliased("new"))
        run.says("the configuration was read again")
        assert run.chat("Hello", "new") == "Hello"
        config.write_text(aliased("new", "[gateway]\nworkers = 2\n"))
        run.says("gateway.workers is taken at the next start")
        assert run.chat("Hello", "new") == "Hello"


def test_a_gateway_that_others_reach_does_not_lose_its_keys_by_a_reload(tmp_path: Path) -> None:
    keys = f'[gateway.keys.me]\nhash = "sha256:{64 * "0"}"\n'
    config = tmp_path / "penstock.toml"
    with started(tmp_path, "--host", "0.0.0.0", config=keys) as run:
        assert "/v1/chat/completions -H 'authorization: Bearer KEY' -d '" in run.lines[2]
        config.write_text("\n")
        run.signal(signal.SIGHUP)
        run.says("the new configuration is refused, the old one stays: 0.0.0.0 can be reached")
        assert run.get("/v1/models")[0] == 401
