"""Actions for the command line: a `DagFlow` with what a Python file or a module defines."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import ActionRegistry, DagFlow, NodeAction
from ..actions import Action
from ..actions.importing import import_failed, import_file
from ..errors import ValidationError


def flow_with_actions(sources: Iterable[str], database: str) -> DagFlow:
    """A flow on `database` with the actions of these Python files (`FILE.py`) and modules.

    What a `DagFlow` made there has (actions, hooks, workflows, executors, settings; the first one's
    `app_data`) is taken over, but not its database. Of functions under the same name, a decorated one
    goes over a plain one, and a later source over an earlier one.

    Raises `ValidationError` for a source that is not there or whose import fails.
    """
    modules = [_module(source) for source in sources]
    made = [value for module in modules for value in vars(module).values() if isinstance(value, DagFlow)]
    first = made[0]._session if made else None
    flow = DagFlow(
        database,
        config=first.config if first else None,
        app_data=first.app_data if first else None,
        allow_pickle=first.codec.allow_pickle if first else False,
    )
    for module in modules:
        _register_plain(flow, module)
        for value in vars(module).values():
            _register(flow, value, module)
    return flow


def _register_plain(flow: DagFlow, module: ModuleType) -> None:
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            with contextlib.suppress(ValidationError):  # a helper whose signature no action can have
                flow._session.registry.register(value)


def _register(flow: DagFlow, value: Any, module: ModuleType) -> None:
    session = flow._session
    if isinstance(value, DagFlow):
        theirs = value._session
        session.registry.update(theirs.registry)
        for hook in theirs.hooks:
            session.hooks.add(hook)
        session.workflows.update(theirs.workflows)
        session.executors.update(theirs.executors)
    elif isinstance(value, ActionRegistry):
        session.registry.update(value)
    elif isinstance(value, Action | NodeAction) or (
        isinstance(value, type)
        and issubclass(value, NodeAction)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ):
        session.registry.register(value)


def _module(source: str) -> ModuleType:
    """The module that `source` names; its folder, or the current one, becomes importable as in a script."""
    is_file = source.endswith(".py")
    path = Path(source).resolve()
    if is_file and not path.is_file():
        raise ValidationError(f"there is no file {source!r}: check --actions", culprit=source)
    folder = str(path.parent) if is_file else str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return _import_file(path) if is_file else importlib.import_module(source)
    except ModuleNotFoundError as missing:
        if not is_file and missing.name and source.startswith(missing.name):
            raise ValidationError(
                f"there is no module {source!r}: --actions takes the path of a Python file, or the name of a "
                f"module that can be imported from here",
                culprit=source,
            ) from None
        raise import_failed(source, missing) from missing
    except Exception as error:
        raise import_failed(source, error) from error


def _import_file(path: Path) -> ModuleType:
    # Under the name that worker processes can import it by, unless that belongs to something else already.
    return import_file(path, path.stem if path.stem not in sys.modules else f"dagflow_actions_{path.stem}")
