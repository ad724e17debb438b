"""``penstock serve`` as its user meets it: what it says, what it takes, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from penstock.cli.serve import model_to_try
from penstock.config import Settings, load
from tests.gateway.programs import PATIENCE, Program, asked, environment, refused, started, until

pytestmark = pytest.mark.timeout(120)
LONG = "word " * 400
"""An answer of about eight seconds."""


# -- its start -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_configuration_it_starts_and_prints_three_lines(tmp_path: Path) -> None:
    with started(tmp_path, sandbox=False) as run:
        assert run.lines[0] == f"OpenAI base URL  {run.url}/v1"
        assert run.lines[1] == f"Chat and status  {run.url}/"
        assert run.lines[2].startswith(
            f"Try it           curl {run.url}/v1/chat/completions -d '{{"
        )
        assert run.url.startswith("http://127.0.0.1:")
        assert run.get("/health/ready")[0] == 200
        told = run.get("/api/status")[1]
        assert "allenai" in [each["name"] for each in told["providers"]]
        assert all(line.startswith('{"request_id"') for line in run.log.splitlines())


@pytest.mark.slow
def test_the_sandbox_an_upstream_and_a_base_url_by_option(tmp_path: Path) -> None:
    with started(tmp_path) as behind:
        mine = ("--upstream", f"mine={behind.url}/v1", "--base-url", f"openai={behind.url}/v1")
        with started(tmp_path, *mine, sandbox=False) as run:
            assert "mine/MODEL" in run.lines[2] or "openai/MODEL" in run.lines[2]
            # Every id passes, with its slashes; what is behind says what it is.
            assert run.chat("Hello", "mine/h2o/falcon-40b") == "Hello"
            assert b" there" in run.stream("Hello there", "mine/h2o/falcon-40b").read()
            status, answer = run.get("/v1/chat/completions", asked("Hello", "mine/unknown/x"))
            assert (status, answer["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--upstream", "mine"), "--upstream takes NAME=URL, not 'mine'"),
        (("--upstream", "=http://x"), "--upstream takes NAME=URL"),
        (("--upstream", "mine=ftp://x"), "mine"),
        (("--base-url", "h2o"), "--base-url takes NAME=URL"),
        (("--host", "0.0.0.0"), "penstock keys create"),
        (("--host", "192.0.2.1", "--insecure"), "cannot listen on 192.0.2.1"),
        (("--port", "70000"), "70000"),
        (("--workers", "0"), "--workers"),
    ],
)
@pytest.mark.slow
def test_a_wrong_option_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, told = refused(tmp_path, "serve", *arguments)
    assert code in (1, 2)
    assert said in told.replace("\n", " ")
    assert "Traceback" not in told


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_is_one_sentence(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, told = refused(tmp_path, "serve", "--port", str(port), "--workers", workers)
    assert code == 1
    assert " ".join(told.split()) == (
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another with --port"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "missing", ["starlette", "uvicorn", "httptools", "prometheus_client", "uvloop"]
)
def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path, missing: str) -> None:
    # A name that stands for nothing in sys.modules cannot be imported.
    program = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['penstock', 'serve']; "
        "from penstock.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert " ".join(done.stderr.split()) == (
        f"Error: the gateway needs the package {missing}; "
        "`pip install 'penstock[gateway]'` brings all that it needs"
    )


@pytest.mark.parametrize(
    ("config", "model"),
    [
        ("", "allenai/tulu3-405b"),
        ('[aliases]\nfast = "h2o/x"\n', "fast"),
        ('[pools.both]\ntargets = ["h2o/x"]\n[aliases]\nfast = "h2o/x"\n', "both"),
        ('[providers.mine]\nbase_url = "http://127.0.0.1:1/v1"\n', "mine/MODEL"),
        ('default_model = "h2o/y"\n[aliases]\nfast = "h2o/x"\n', "h2o/y"),
    ],
)
def test_what_is_proposed_to_try_fits_the_configuration(
    tmp_path: Path, config: str, model: str
) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(config)
    settings: Settings = load(str(file), env={})
    assert model_to_try(settings) == model


# -- its end ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_polite_end_lets_answers_end_and_takes_no_new_ones(tmp_path: Path) -> None:
    with started(tmp_path) as run:
        kept = HTTPConnection("127.0.0.1", run.port, timeout=PATIENCE)
        assert status_of(kept, "/health/ready") == (200, None)
        answer = run.stream("word " * 150)
        run.signal(signal.SIGTERM)
        until(lambda: refuses(run))
        assert status_of(kept, "/health/ready") == (503, "stopping")
        body = json.dumps(asked("Hello")).encode()
        assert status_of(kept, "/v1/chat/completions", body) == (503, "stopping")
        kept.close()
        assert answer.read().endswith(b"data: [DONE]\n\n")
        assert run.end() == 0
        assert "Traceback" not in run.log


def status_of(kept: HTTPConnection, path: str, body: bytes | None = None) -> tuple[int, str | None]:
    """Status and code of an answer on a connection that stays open."""
    kept.request("GET" if body is None else "POST", path, body)
    answer = kept.getresponse()
    told = json.loads(answer.read())
    return answer.status, told["error"]["code"] if "error" in told else None


def refuses(run: Program) -> bool:
    try:
        return run.get("/health/ready")[0] == 503
    except OSError:
        return True


@pytest.mark.slow
def test_after_its_time_an_answer_is_stopped_here_and_its_caller_told(tmp_path: Path) -> None:
    with started(tmp_path, config="[gateway.limits]\ndrain = 0.2\n") as run:
        answer = run.stream(LONG, "h2o/falcon-40b")
        run.signal(signal.SIGTERM)
        rest = answer.read().decode()
        assert '"code":"stopping"' in rest
        assert "[DONE]" not in rest
        assert run.end() == 0
        assert "left behind" not in run.log


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    with started(tmp_path, config="[gateway.limits]\ndrain = 600\n") as run:
        answer = run.stream(LONG)
        run.signal(signal.SIGINT)
        until(lambda: refuses(run))
        run.signal(signal.SIGINT)
        assert '"code":"stopping"' in answer.read().decode()
        assert run.end() in (0, 130)
        assert "Traceback" not in run.log


@pytest.mark.slow
def test_the_configuration_may_be_named_after_the_command(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[aliases]\nshort = "openai_compatible/sandbox-model"\n', "utf-8")
    with started(tmp_path, "--config", str(file)) as gateway:
        assert gateway.chat("One two", "short")
