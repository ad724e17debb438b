"""The examples that are promised: typed as they stand, against a sandbox as it starts."""

from __future__ import annotations

from tests.cli.conftest import Run


def test_the_large_model_of_2025_answers(run: Run, configured: object) -> None:
    done = run("chat", "-m", "allenai/tulu3-405b", "Why is the sky blue?")
    assert (done.code, done.out, done.err) == (0, "Why is the sky blue?\n", "")
