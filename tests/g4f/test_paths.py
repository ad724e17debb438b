"""The documented import paths (framework.md section 9) lead to the one implementation."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import penstock.g4f
from penstock import providers

PATHS = {
    "Provider": ["AllenAI", "OpenAssistant", "H2o", "Replicate"],
    "Provider.AllenAI": ["AllenAI", "Conversation"],
    "Provider.OpenAssistant": ["OpenAssistant"],
    "Provider.H2o": [
        "H2o",
        "_create_completion",
        "model",
        "models",
        "url",
        "params",
        "needs_auth",
        "supports_stream",
    ],
    "Provider.Replicate": ["Replicate"],
    "errors": [
        "MissingAuthError",
        "ResponseError",
        "ResponseStatusError",
        "RateLimitError",
        "ModelNotFoundError",
        "PaymentRequiredError",
        "MissingRequirementsError",
    ],
    "typing": ["Messages", "AsyncResult", "CreateResult"],
    "providers.base_provider": ["AsyncGeneratorProvider", "ProviderModelMixin"],
    "providers.response": ["JsonConversation", "FinishReason"],
}


@pytest.mark.parametrize("path", PATHS)
def test_every_documented_name_is_there(path: str) -> None:
    module = importlib.import_module(f"penstock.g4f.{path}")
    for name in PATHS[path]:
        assert hasattr(module, name), f"{path}.{name}"


@pytest.mark.parametrize("name", ["AllenAI", "OpenAssistant", "H2o", "Replicate"])
def test_the_classes_are_the_same_by_every_path(name: str) -> None:
    package = importlib.import_module("penstock.g4f.Provider")
    module = importlib.import_module(f"penstock.g4f.Provider.{name}")
    assert getattr(package, name) is getattr(module, name) is getattr(providers, name)


def test_there_is_nothing_but_re_exports() -> None:
    root = Path(penstock.g4f.__file__).parent
    for file in root.rglob("*.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            assert isinstance(node, ast.ImportFrom | ast.Assign | ast.Expr), f"{file}: {node}"


def test_our_own_code_never_imports_it() -> None:
    source = Path(penstock.g4f.__file__).parent.parent
    for file in source.rglob("*.py"):
        if "g4f" not in file.parts:
            assert not re.search(r"(?m)^\s*(from|import) penstock\.g4f", file.read_text("utf-8"))
