"""The build hook: the page is built from ``web/`` whenever the package is.

Whoever installs a wheel or a source distribution needs no Node: both hold the built page. An
editable installation is a checkout; there ``make serve`` builds the page when it is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageBuildHook(BuildHookInterface[Any]):
    """Builds the page, unless it is there and made from these very sources."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before files are collected."""
        if version == "editable":
            return
        root = Path(self.root)
        sys.path.insert(0, str(root))
        try:
            from tools.build_page import PAGE, build_where_stale
        finally:
            sys.path.remove(str(root))
        build_where_stale()
        build_data["artifacts"].append(f"/{PAGE.relative_to(root).as_posix()}/")
