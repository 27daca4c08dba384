"""Runs the documentation: every ```python block of a page, in order, as one program."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """Each block with the number of its first line on the page."""
    markdown = page.read_text(encoding="utf-8")
    return [(markdown.count("\n", 0, match.start(1)) + 1, match[1]) for match in _BLOCK.finditer(markdown)]


def run_page(page: Path) -> ModuleType:
    """Run a page's blocks in one module. A traceback names the page and the line on it.

    The module is importable while it runs, as a file of the reader's own would be, under the page's name.
    """
    module = ModuleType(f"docs_{page.stem.replace('-', '_')}")
    module.__file__ = str(Path.cwd() / f"{page.stem}.py")
    sys.modules[module.__name__] = module
    try:
        for line, source in python_blocks(page):
            code = compile("\n" * (line - 1) + source, str(page), "exec")
            exec(code, vars(module))
    finally:
        del sys.modules[module.__name__]
    return module
