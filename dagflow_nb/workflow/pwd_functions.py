"""The functions of a Python Workflow Definition: where they are looked for, and the format's own two."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import xxhash

from ..actions.importing import import_failed, import_file
from ..errors import ValidationError, did_you_mean, shorten

SHARED = "python_workflow_definition.shared"


def get_dict(**kwargs: Any) -> dict[str, Any]:
    """A dict of the inputs, by port."""
    return kwargs


def get_list(**kwargs: Any) -> list[Any]:
    """A list of the inputs, in the order of the edges."""
    return list(kwargs.values())


# they come with the format: that its package is installed is not needed
HELPERS = {f"{SHARED}.get_dict": get_dict, f"{SHARED}.get_list": get_list}


class Functions:
    """Looks for the functions that a definition names; what has been imported is imported once.

    `file`: the definition's JSON file, or None. `module`: a module, its name, or a `.py` file; what it does
    not have is looked for in the module that the definition names. None: for `package.module.function` the
    file `package/module.py` beside the JSON file if there is one, else the module that can be imported by
    that name.
    """

    def __init__(self, file: Path | None, module: Any) -> None:
        if not (module is None or isinstance(module, ModuleType | str | os.PathLike)):
            raise ValidationError(
                f"module is a module, a module's name or the path of a Python file, not {shorten(module)}",
                culprit="module",
                value=module,
            )
        self._file = str(file) if file is not None else None
        self._folder = file.absolute().parent if file is not None else None
        self._module = module
        self._path: Path | None = None
        if isinstance(module, os.PathLike) or (isinstance(module, str) and module.endswith(".py")):
            self._path = Path(module).expanduser().absolute()
        self._loaded: dict[str, ModuleType] = {}

    def find(self, module: str, function: str) -> Any:
        """The function; raises `ValidationError` naming it, its module and what to do."""
        helper = HELPERS.get(f"{module}.{function}")
        if helper is not None:
            return helper
        wanted = module if self._module is None else getattr(self._module, "__name__", str(self._module))
        found = self._loaded.get(wanted)
        if found is None:
            found = self._loaded[wanted] = self._load(wanted, f"{module}.{function}")
        if self._module is not None and not hasattr(found, function):
            with contextlib.suppress(ImportError):  # a function of a library, such as math.sqrt
                library = importlib.import_module(module)
                found = library if hasattr(library, function) else found
        if not callable(getattr(found, function, None)):
            raise ValidationError(
                f"{_where(found)} has no function {function!r}, which the definition names as "
                f"{module + '.' + function!r}: {did_you_mean(function, _functions_of(found))}",
                culprit=f"{module}.{function}",
                file=self._file,
            )
        return getattr(found, function)

    def _load(self, module: str, full: str) -> ModuleType:
        if isinstance(self._module, ModuleType):
            return self._module
        path = self._path
        if self._module is None and self._folder is not None:
            beside = self._folder.joinpath(*module.split(".")).with_suffix(".py")
            path = beside if beside.is_file() else None
        try:
            if path is not None and path.is_file():
                return _import_beside(path)
            if self._path is None:
                return importlib.import_module(module)
        except ModuleNotFoundError as missing:
            if path is not None or missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
                raise import_failed(str(path or module), missing, self._file) from missing
        except Exception as error:
            raise import_failed(str(path or module), error, self._file) from error
        raise self._not_there(module, full)

    def _not_there(self, module: str, full: str) -> ValidationError:
        way_out = "give Workflow.from_pwd(..., module=...) the module, or the path of the Python file"
        if self._path is not None:
            text = f"there is no file {str(self._path)!r} (module=) with its function {full!r}"
        elif self._module is not None:
            text = f"there is no module {module!r} (module=) with its function {full!r}"
        else:
            beside = (
                f" and no file {module.replace('.', '/')}.py in {str(self._folder)!r}" if self._folder else ""
            )
            text = f"there is no module {module!r}{beside} for its function {full!r}"
            way_out = f"put the file there, or {way_out}" if beside else way_out
        return ValidationError(f"{text}: {way_out}", culprit=full, file=self._file)


def _import_beside(path: Path) -> ModuleType:
    """The module of a file, under a name of its own: many definitions have a `workflow.py`."""
    import cloudpickle

    name = f"dagflow_pwd_{path.stem}_{xxhash.xxh64(str(path).encode()).hexdigest()[:8]}"
    sys.path.insert(0, str(path.parent))
    try:
        module = import_file(path, name)
    finally:
        sys.path.remove(str(path.parent))
    # worker processes cannot import it by that name: its functions are sent along
    cloudpickle.register_pickle_by_value(module)
    return module


def _where(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return f"the file {file!r}" if file is not None else f"the module {module.__name__!r}"


def _functions_of(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
