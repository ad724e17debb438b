from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_habits


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("src", "tests", "tools", "requirements"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(check_habits, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["check_habits"])
    return tmp_path


LONG_FUNCTION = "def f() -> None:\n" + "    pass\n" * check_habits.FUNCTION_WALL


UNTOLD = 'def f() -> None:\n    """{}"""\n    if True:\n        raise XError("no")\n'


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("src/a.py", "x = 1\n" * (check_habits.MODULE_WALL + 1), "the wall is"),
        ("src/a.py", LONG_FUNCTION, "f has 81 lines"),
        ("src/string_utils.py", "", "says nothing"),
        ("src/base_provider.py", "", "says nothing"),
        ("tests/a.py", "from unittest.mock import Mock\n", "no mock library"),
        ("tests/a.py", "import unittest.mock\n", "no mock library"),
        ("tests/a.py", "from unittest import mock\n", "no mock library"),
        ("src/a.py", "task = asyncio.create_task(work())\n", "src/a.py:1: tasks live"),
        ("src/a.py", "task = loop.create_task(work())\n", "src/a.py:1: tasks live"),
        ("src/penstock/portal.py", 2 * "loop.create_task(work())\n", "portal.py:2: tasks live"),
        ("src/a.py", UNTOLD.format("Does."), "src/a.py:1: the docstring of f lacks Raises: XError"),
        ("tests/a.py", '"""As {} 12 says."""\n'.format("decision"), "the sentence that is meant"),
        ("src/a.py", "x = 1  # {}.md\n".format("design"), "src/a.py:1: say the sentence"),
        ("requirements/a.txt", "--index-url https://packages.example/simple\n", "no host"),
    ],
)
def test_each_breach_is_found(
    project: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, complaint: str
) -> None:
    (project / file).parent.mkdir(parents=True, exist_ok=True)
    (project / file).write_text(text, "utf-8")
    assert check_habits.main() == 1
    assert complaint in capsys.readouterr().out


TASK_GROUPS = """
async def both(given: asyncio.TaskGroup) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(one())
        given.create_task(other())
"""


def test_clean_project_passes_in_silence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "src" / "manage.py").write_text("def database() -> None:\n    pass\n", "utf-8")
    (project / "src" / "a.py").write_text(TASK_GROUPS, "utf-8")
    (project / "src" / "b.py").write_text(UNTOLD.format("Raises XError."), "utf-8")
    (project / "requirements" / "a.txt").write_text("a==1 --hash=sha256:0\n", "utf-8")
    assert check_habits.main() == 0
    assert capsys.readouterr().out == ""
