"""The command ``llm``, told of the gateway in its ``extra-openai-models.yaml``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.foreign.asking import BREAKS, CHATUI, H2O, HOLD, MODEL, QUESTION, Place, ended, run

MODELS = """
- model_id: {id}
  model_name: {name}
  api_base: {url}/v1
  api_key_name: {key}
"""
IDS = {
    "openai": MODEL,
    "h2o": H2O,
    "chatui": CHATUI,
    "wrong": "wrong/sandbox-model",
}
HOME = Path(tempfile.mkdtemp(prefix="llm-"))


def command(place: Place, *words: str) -> tuple[list[str], dict[str, str]]:
    """The command line and its environment, with the models made known."""
    rows = [MODELS.format(id=id, name=name, url=place.url, key="any") for id, name in IDS.items()]
    rows.append(MODELS.format(id="estimated", name=H2O, url=place.keyed, key="own"))
    (HOME / "extra-openai-models.yaml").write_text("".join(rows), "utf-8")
    (HOME / "keys.json").write_text(json.dumps({"any": "any", "own": place.key}), "utf-8")
    settings = {"LLM_USER_PATH": str(HOME), "HOME": str(HOME), "PYTHONUTF8": "1"}
    return [sys.executable, "-m", "llm", *words], {**os.environ, **settings}


def asked(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    line, environment = command(place, *words)
    return subprocess.run(
        line,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )


def listed(place: Place) -> object:
    said = asked(place, "models").stdout
    return [f": {id}\n" in said or f": {id} " in said for id in IDS]


def plain(place: Place) -> object:
    return asked(place, "-m", "openai", "--no-stream", QUESTION).stdout


def stream(place: Place) -> object:
    return asked(place, "-m", "h2o", QUESTION).stdout


def uncounted(place: Place) -> object:
    """A back end that counts no tokens: whole answers need the gateway's estimate."""
    return {
        "whole": asked(place, "-m", "estimated", "--no-stream", QUESTION).stdout,
        "marked": '"estimated": true' in asked(place, "logs", "-n", "1", "--json").stdout,
    }


def continued(place: Place) -> object:
    """The second turn brings the first along."""
    asked(place, "-m", "chatui", "First")
    return asked(place, "-c", "Second").stdout


def refused(place: Place) -> object:
    """One sentence, not a traceback; a stream that breaks off is no quiet end."""
    wrong = asked(place, "-m", "wrong", "x")
    broken = asked(place, "-m", "openai", BREAKS)
    return {
        "wrong": [wrong.returncode, "asked for invalid_value" in wrong.stderr],
        "broken": [broken.returncode, "out of memory" in broken.stderr],
    }


def interrupted(place: Place) -> object:
    """A reader who has enough and kills the command."""
    line, environment = command(place, "-m", "h2o", HOLD)
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE) as told:
        assert told.stdout is not None
        first = told.stdout.read(len(HOLD))
        told.kill()
    return [first.decode(), ended(place, "h2o")]


if __name__ == "__main__":
    run(listed, plain, stream, uncounted, continued, refused, interrupted)
