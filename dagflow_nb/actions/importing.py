"""Python files as modules, and what is said of an import that fails."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from ..errors import ValidationError


def import_file(path: Path, name: str) -> ModuleType:
    """The module that a `.py` file makes, run anew, as `sys.modules[name]`; errors go through."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def import_failed(source: str, error: Exception, file: str | None = None) -> ValidationError:
    """The error with the line of the user's own code that raised it, without the import machinery."""
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        files = [(f.filename, f.lineno) for f in frames if "importlib" not in f.filename]
        own = [(name, line) for name, line in files if "dagflow_nb" not in Path(name).parts]
        where = f"{own[-1][0]}, line {own[-1][1]}" if own else source
    return ValidationError(
        f"importing {source!r} failed in {where}: {type(error).__name__}: {error}", culprit=source, file=file
    )
