"""What is defined in a flow: actions, hooks and workflows, mostly by decorators in cells."""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar, Union, get_args, get_origin

from ..actions import Action, ActionRegistry, FunctionAction, make_action
from ..config import DagConfig
from ..core import messages as m
from ..errors import ValidationError, did_you_mean
from ..hooks import make_hook
from ..runtime.session import Session
from ..workflow.builder import Workflow
from ..workflow.tracing import build_from_function
from ..workflow.yaml import load_yaml_dir, load_yaml_file, load_yaml_text

F = TypeVar("F", bound=Callable[..., Any])
_SETTINGS = tuple(inspect.signature(FunctionAction).parameters)[1:]
_FILTERS = ("node", "action", "dag", "when")


def shown_with(*leading: str, of: Any = None, named: Iterable[str] = ()) -> Callable[[F], F]:
    """Show a method that takes any settings, to name the misspelt one, with those that there are.

    `leading`: parameters that may be given by position; then those of the function `of`, but its first.
    """
    word, key = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    found = [inspect.Parameter("self", word), *(inspect.Parameter(n, word, default=None) for n in leading)]
    theirs = list(inspect.signature(of).parameters.values())[1:] if of is not None else []
    found += [p.replace(kind=key) for p in theirs if p.name not in leading]
    found += [inspect.Parameter(n, key, default=None) for n in named]

    def mark(method: F) -> F:
        setattr(method, "__signature__", inspect.Signature(found))  # noqa: B010 # which mypy does not know
        return method

    return mark


class Definitions:
    """The part of `DagFlow` that takes definitions."""

    _session: Session

    @shown_with("name", of=FunctionAction)
    def action(self, fn: Any = None, /, **settings: Any) -> Any:
        """Register an action: `@flow.action`, or `@flow.action(name=..., retries=2, timeout=30, ...)`.

        Settings: `name`, `retries`, `retry_strategy`, `retry_on`, `timeout` (seconds an attempt), `cache`,
        `executor`, `outputs`, `on_failure`, `failure`, `tags`, `idempotent`, `ask`, `description`. Returns
        a thin wrapper that behaves as the function. The same name replaces an earlier action; runs under
        way keep theirs. Raises `ValidationError` for a bad setting.

        `cache`: a result is found again, and the node is `cached`, where the action's code and the content of
        its inputs are the same: True, for as long as `"24h"` or a timedelta says, or by what a function of
        the arguments returns (`cache=lambda url: url.lower()`). The code is the function's, without comments,
        layout and docstrings, with its defaults, closures and the annotations of its parameters, and, of
        your own notebook and modules, all functions, classes and globals that it uses; of installed
        packages the version. A `Path` counts by its file's size and time, too. Results are found in this
        database, by every process; those of failed attempts never, nor those that cannot be stored.

        Not seen are: what is read while the action runs (files, the environment, the network, the time,
        random numbers, `ctx`), names that are only made up then (`getattr(module, name)`, `eval`), and what
        compiled code does. What cannot be read (open files, locks, connections among the globals, secrets
        among the inputs) makes a node run each time: `flow.preview` says why, a warning in the log once.
        """
        if isinstance(fn, str):
            settings["name"], fn = fn, None
        if fn is None:
            return partial(self._define, settings)
        return self._define(settings, fn)

    def _define(
        self, settings: dict[str, Any], target: Any, make: Callable[..., Action[..., Any]] = make_action
    ) -> Action[..., Any]:
        for name in settings:
            if name not in _SETTINGS:
                raise ValidationError(
                    f"an action has no setting {name!r}: {did_you_mean(name, _SETTINGS)}", culprit=name
                )
        made = make(target, **settings)
        self._session.registry.register(made)
        self._session._auto.pop(made.name, None)
        return made

    def hook(
        self,
        *kinds: Any,
        node: str | None = None,
        action: Any = None,
        dag: str | None = None,
        when: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Register a hook for every event, or for these kinds: `@flow.hook(NodeRetrying, node="fetch*")`.

        `node`: glob on the id; `action`: its name; `dag`: glob on the workflow; `when(event)`: all have to
        match. Also for an `EventHook` class or instance. Parameters are matched by name: `ctx`, `event`,
        `outputs`, the event's own fields; an unknown one raises `ValidationError`.
        """
        filters = {"node": node, "action": action, "dag": dag, "when": when}
        if len(kinds) == 1 and not _is_event(kinds[0]) and not any(f is not None for f in filters.values()):
            return self._subscribe((), filters, kinds[0])
        return partial(self._subscribe, kinds, filters)

    def _subscribe(self, kinds: tuple[Any, ...], filters: dict[str, Any], target: Any) -> Any:
        self._session.hooks.add(make_hook(target, kinds=kinds, **filters))
        return target

    def _on(self, kind: Any, fn: Any, filters: dict[str, Any]) -> Any:
        for name in filters:
            if name not in _FILTERS:
                raise ValidationError(
                    f"a hook has no filter {name!r}: {did_you_mean(name, _FILTERS)}", culprit=name
                )
        if fn is None:
            return partial(self._subscribe, (kind,), filters)
        return self._subscribe((kind,), filters, fn)

    @shown_with("fn", named=_FILTERS)
    def on_started(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook for `NodeStarted`; filters `node=`, `action=`, `dag=`, `when=`."""
        return self._on(m.NodeStarted, fn, filters)

    @shown_with("fn", named=_FILTERS)
    def on_completed(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook for `NodeCompleted`; filters `node=`, `action=`, `dag=`, `when=`."""
        return self._on(m.NodeCompleted, fn, filters)

    @shown_with("fn", named=_FILTERS)
    def on_failed(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook for `NodeFailed`; filters `node=`, `action=`, `dag=`, `when=`."""
        return self._on(m.NodeFailed, fn, filters)

    @shown_with("fn", named=_FILTERS)
    def on_run_started(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook that is asked before a run's first node is scheduled, once a run."""
        return self._on(m.RunStarted, fn, filters)

    @shown_with("fn", named=_FILTERS)
    def on_run_finished(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook that is told of a run's end (`success`, `status`); what it answers changes nothing."""
        return self._on(m.RunFinished, fn, filters)

    @shown_with("name", of=build_from_function)
    def workflow(self, fn: Any = None, /, **settings: Any) -> Any:
        """Make a workflow of a function that describes it: `@flow.workflow`, or with `name=`, `tags=`, ...

        The function is called once: calls to actions inside it become nodes. Returns the `Workflow`.
        """
        if isinstance(fn, str):
            settings["name"], fn = fn, None
        if fn is None:
            return lambda target: self.add_workflow(build_from_function(target, **settings))
        return self.add_workflow(build_from_function(fn, **settings))

    def add_workflow(self, workflow: Workflow) -> Workflow:
        """Check a workflow and take it; the same name replaces. Raises `ValidationError`."""
        return self._session.add_workflow(workflow)

    def load_yaml_file(self, path: str | os.PathLike[str]) -> Workflow:
        """Load the workflow in a YAML file; an error names file and line, and nothing is loaded."""
        return self.add_workflow(load_yaml_file(path))

    def load_yaml_string(self, text: str) -> Workflow:
        """Load the workflow in a YAML text."""
        return self.add_workflow(load_yaml_text(text))

    def load_yaml_dir(self, path: str | os.PathLike[str]) -> list[Workflow]:
        """Load every `.yaml` and `.yml` file of a folder, all or none."""
        return self._session.add_workflows(load_yaml_dir(path))

    def to_yaml(self, name: str | Workflow) -> str:
        """A workflow as YAML; loading it gives an equal workflow."""
        from ..workflow.yaml import dump_yaml

        return dump_yaml(self._session.find_workflow(name))

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """The workflows by name."""
        return dict(self._session.workflows)

    @property
    def actions(self) -> list[str]:
        """The names of the actions."""
        return list(self._session.registry)

    @property
    def registry(self) -> ActionRegistry:
        """The actions themselves, by name."""
        return self._session.registry

    @property
    def config(self) -> DagConfig:
        """The settings of all runs of this flow."""
        return self._session.config


def _is_event(kind: Any) -> bool:
    if isinstance(kind, types.UnionType) or get_origin(kind) is Union:
        return all(map(_is_event, get_args(kind)))
    return isinstance(kind, type) and issubclass(kind, m.Event)
