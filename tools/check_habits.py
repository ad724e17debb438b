"""Check the habits of the repository that no other tool knows.

Sizes (a wall for modules and functions), names that say nothing, mocks, tasks outside of task
groups, errors that no docstring tells, citations that nobody can follow, and host names in the
locks.
Prints one line for each breach and exits 1 when there is one. ``--tail`` prints the largest
modules and functions instead, for the curious.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

THIS = Path(__file__).resolve()
ROOT = THIS.parent.parent
MODULE_WALL = 600
FUNCTION_WALL = 80
EMPTY_NAMES = re.compile(r"(^|_)(utils?|helpers?|manager|misc|v2)(_|$)|^(base|new)_")
GIVEN_NAMES = ROOT / "src" / "penstock" / "g4f"  # documented import paths of another package
DATA = ROOT / "tests" / "testing" / "constructed"  # cases as code: long lists, no logic
TASKS = {
    "src/penstock/gateway/answer.py": "a short answer has no watcher, so it gets no task group",
    "src/penstock/keeper.py": "who leaves a stream that nobody leaves must outlive its reader",
    "src/penstock/portal.py": "a call from another thread has no task around it",
    "src/penstock/transport/outbox.py": "a cleanup outlives the call, also a cancelled one",
    "src/penstock/sandbox/server.py": "into the task group that the sandbox was given",
    "src/penstock/transport/pool.py": "the rest of a large question goes out beside its answer",
    "src/penstock/testing/pytest_plugin.py": "a question of a test to the loop of another thread",
}
"""Where a task may begin outside of a task group, once in each file, and why."""

UNCALLED = frozenset({"cli", "sandbox"})
"""Packages that nobody calls from outside: what they raise is an exit code or a status."""

TASK_STARTERS = frozenset({"create_task", "ensure_future", "run_coroutine_threadsafe"})
NO_CITATION = re.compile(r"\bdecisions? \d|\b(design|style|decisions)\.md\b")
HOST = re.compile(r"https?://|--(extra-)?index-url|--find-links")


def main() -> int:
    """Print every breach, or the largest things."""
    parser = argparse.ArgumentParser(description="Check sizes, names, mocks and locks.")
    parser.add_argument("--tail", action="store_true", help="print the largest modules instead")
    if parser.parse_args().tail:
        for lines, path in sorted(((len(text(p)), p) for p in sources()), reverse=True)[:15]:
            print(f"{lines:5} {path.relative_to(ROOT)}")
        return 0
    breaches = [*breaches_of_sources(), *breaches_of_locks()]
    print(*breaches, sep="\n", end="\n" if breaches else "")
    return 1 if breaches else 0


def sources() -> Iterator[Path]:
    """Every Python file that people wrote."""
    for folder in ("src", "tests", "tools"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def text(path: Path) -> list[str]:
    """The lines of a file."""
    return path.read_text("utf-8").splitlines()


def breaches_of_sources() -> Iterator[str]:
    """Sizes, names and mocks."""
    for path in sources():
        place = path.relative_to(ROOT)
        lines = text(path)
        if len(lines) > MODULE_WALL:
            yield f"{place}: {len(lines)} lines; the wall is {MODULE_WALL}"
        if EMPTY_NAMES.search(path.stem) and GIVEN_NAMES not in path.parents:
            yield f"{place}: the name says nothing about its content"
        for number, line in enumerate(lines, 1):
            if path != THIS and NO_CITATION.search(line):
                yield f"{place}:{number}: say the sentence that is meant; nobody can read that one"
        if DATA not in path.parents:
            tree = ast.parse("\n".join(lines))
            yield from breaches_of_tree(place, tree)
            if place.parts[0] == "src":
                yield from breaches_of_tasks(place, tree)
            if place.parts[0] == "src" and not UNCALLED.intersection(place.parts):
                yield from breaches_of_docstrings(place, tree)


def breaches_of_tree(place: Path, tree: ast.Module) -> Iterator[str]:
    """Long functions and imported mocks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_WALL:
                yield f"{place}:{node.lineno}: {node.name} has {length} lines; {FUNCTION_WALL} max"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            if names & {"mock", "unittest.mock", "pytest_mock", "aioresponses", "responses"}:
                yield f"{place}:{node.lineno}: no mock library; tests use public seams"


def breaches_of_tasks(place: Path, tree: ast.Module) -> Iterator[str]:
    """Tasks that begin neither in a task group nor in the one place that its file may have."""
    groups = set(task_groups(tree))
    begun = [
        call
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in TASK_STARTERS
        and ast.unparse(call.func.value) not in groups
    ]
    made = [call for call in begun if ast.unparse(call.func).endswith(".create_task")]
    for call in begun if place.as_posix() not in TASKS else made[1:]:
        yield f"{place}:{call.lineno}: tasks live in a TaskGroup; TASKS names the exceptions"


def breaches_of_docstrings(place: Path, tree: ast.Module) -> Iterator[str]:
    """Public functions that raise an error by its name and do not tell it."""
    for name, node, told in public_functions(tree):
        errors = sorted(set(errors_raised(node)))
        if errors and "raise" not in told.lower():
            yield f"{place}:{node.lineno}: the docstring of {name} lacks Raises: {errors[0]}"


def public_functions(
    tree: ast.Module | ast.ClassDef,
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Name, function and what its docstring says; a class speaks for its making."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            told = ast.get_docstring(node) or ""
            if node.name == "__init__":
                told += ast.get_docstring(tree) or ""
            if node.name == "__init__" or not node.name.startswith("_"):
                yield node.name, node, told


def errors_raised(function: ast.AST) -> Iterator[str]:
    """Names of the errors that the function makes and raises, but for those within it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func)
            if name.endswith("Error"):
                yield name
        yield from errors_raised(node)


def task_groups(tree: ast.Module) -> Iterator[str]:
    """Names that stand for a task group: bound to one, or a parameter for one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and node.optional_vars is not None:
            if ast.unparse(node.context_expr) == "asyncio.TaskGroup()":
                yield ast.unparse(node.optional_vars)
        elif isinstance(node, ast.Assign) and ast.unparse(node.value) == "asyncio.TaskGroup()":
            yield from map(ast.unparse, node.targets)
        elif isinstance(node, ast.AnnAssign) and "asyncio.TaskGroup" in ast.unparse(
            node.annotation
        ):
            yield ast.unparse(node.target)
        elif isinstance(node, ast.arg) and "asyncio.TaskGroup" in ast.unparse(node):
            yield node.arg


def breaches_of_locks() -> Iterator[str]:
    """A lock names packages and hashes, never where they come from."""
    for path in sorted((ROOT / "requirements").iterdir()):
        for number, line in enumerate(text(path), 1):
            if HOST.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: a lock names no host"


if __name__ == "__main__":
    sys.exit(main())
