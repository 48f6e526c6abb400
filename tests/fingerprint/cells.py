"""Cells of a notebook that is not there: text that is run as a kernel runs it, with its source at hand."""

from __future__ import annotations

import itertools
import linecache
import sys
import types
from typing import Any

from dagflow_nb.actions import FunctionAction, NodeAction, as_action
from dagflow_nb.fingerprint import Code, code_of

_numbers = itertools.count()


class Notebook:
    """A namespace that cells are run in, one after the other."""

    def __init__(self, name: str = "a_notebook") -> None:
        self.module = types.ModuleType(name)
        sys.modules[name] = self.module

    def run(self, text: str) -> dict[str, Any]:
        """Run a cell; gives the names that there are now."""
        filename = f"<cell {next(_numbers)}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        exec(compile(text, filename, "exec", dont_inherit=True), vars(self.module))
        return vars(self.module)


def code(text: str, name: str = "act", *, source: bool = True, **settings: Any) -> Code:
    """The fingerprint of the action `act` that a cell defines."""
    if source:
        names = Notebook().run(text)
    else:
        names = {"__name__": "a_notebook"}
        exec(compile(text, "<string>", "exec", dont_inherit=True), names)
    found = names[name]
    action: NodeAction = FunctionAction(found, **settings) if settings else as_action(found)
    return code_of(action)
