"""A workflow for other eyes: as a Mermaid flowchart, as a Python script."""

from __future__ import annotations

import datetime
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from keyword import iskeyword
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..core.model import Form, NodeDef, Ref, When
from ..errors import ValidationError, shorten
from .naming import REQUIRED
from .settings import ask
from .values import same

if TYPE_CHECKING:
    from .builder import Workflow

_SHAPES = {"action": ('["', '"]'), "map": ('[/"', '"/]'), "workflow": ('[["', '"]]'), "branch": ('{"', '"}')}
_WIDTH = 100


def to_mermaid(workflow: Workflow) -> str:
    """The graph as a Mermaid flowchart; a node's second line is its action where that is not its id.

    >>> from dagflow_nb.workflow import Workflow
    >>> wf = Workflow("w")
    >>> use = wf.add("use", rows=wf.add("fetch"))
    >>> print(to_mermaid(wf), end="")
    flowchart TD
        n0["fetch"]
        n1["use"]
        n0 --> n1
    """
    number = {node_id: f"n{position}" for position, node_id in enumerate(workflow.nodes)}
    lines = ["flowchart TD"]
    for node in workflow.nodes.values():
        text = _mermaid_text(node.id)
        if node.action != node.id and node.kind != "branch":
            text += f"<br/>{_mermaid_text(node.action)}"
        left, right = _SHAPES[node.kind]
        lines.append(f"    {number[node.id]}{left}{text}{right}")
    for node in workflow.nodes.values():
        lines.extend(f"    {number[dep]} --> {number[node.id]}" for dep in node.deps if dep in number)
    return "\n".join(lines) + "\n"


def _mermaid_text(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _-./" else f"#{ord(c)};" for c in text)


def to_python(workflow: Workflow) -> str:
    """A script that builds the workflow as `wf`; its actions are named, so they have to be registered.

    `ValidationError` naming node and input for a value that cannot be written as Python, and for a
    sub-workflow that is only named.
    """
    script = _Script()
    script.write(workflow, "wf")
    ours = f"from dagflow_nb import {', '.join(['Workflow', *sorted(script.ours)])}"
    return "\n".join([*sorted({ours, *script.imports}), "", *script.lines]) + "\n"


class _Script:
    """The lines of a script, and the imports they need."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.ours: set[str] = set()
        self.lines: list[str] = []
        self._variables: dict[str, str] = {}

    def write(self, workflow: Workflow, variable: str) -> None:
        """All that builds `workflow` as `variable`, its sub-workflows first."""
        for name, inner in workflow.workflows.items():
            if name not in self._variables:
                self._variables[name] = f"wf_{len(self._variables) + 1}"
                self.write(inner, self._variables[name])
        arguments = [repr(workflow.name)]
        about = {key: getattr(workflow, key) for key in ("description", "author", "version", "signature")}
        arguments += [f"{key}={value!r}" for key, value in about.items() if value]
        if workflow.tags:
            arguments.append(f"tags={list(workflow.tags)!r}")
        if workflow.inputs:
            # names alone say that all are required
            given: Any = dict(workflow.inputs)
            given = list(given) if all(default is REQUIRED for default in given.values()) else given
            arguments.append(f"inputs={self._value(given, 'inputs', 'inputs', ())}")
        if workflow.config is not None:
            from .yaml_dump import setting_of

            said = {key: setting_of(key, value) for key, value in workflow.config.settings().items()}
            arguments.append(f"config={self._value(said, 'config', 'config', ())}")
        self._call(f"{variable} = Workflow", arguments)
        for node in workflow.nodes.values():
            self._node(node, variable, frozenset(workflow.nodes))
        if workflow.result is not None:
            result = self._value(workflow.result, "the result", "result", frozenset(workflow.nodes))
            self.lines.append(f"{variable}.result = {result}")

    def _call(self, function: str, arguments: list[str]) -> None:
        line = f"{function}({', '.join(arguments)})"
        if len(line) <= _WIDTH:
            self.lines.append(line)
        else:
            self.lines += [f"{function}(", *(f"    {argument}," for argument in arguments), ")"]

    def _node(self, node: NodeDef, variable: str, ids: frozenset[str]) -> None:
        def said(value: Any, what: str) -> str:
            return self._value(value, f"{what} of node {node.id!r}", what, ids)

        if node.kind == "branch":
            condition = said(node.inputs["condition"], "condition")
            sides = [f"{side}={list(taken)!r}" for side, taken in node.over.items()]
            self._call(f"{variable}.branch", [condition, *sides, f"id={node.id!r}"])
        else:
            arguments = [self._action(node), f"id={node.id!r}"]
            if node.kind == "map":
                arguments.insert(1, f"over={said(node.over, 'over')}")
            given = {"after": list(node.deps) or None, **_settings(node)}
            arguments += [f"{key}={said(value, key)}" for key, value in given.items() if value is not None]
            arguments += self._inputs(node, said)
            self._call(f"{variable}.{'map' if node.kind == 'map' else 'add'}", arguments)
        more = {
            "description": node.description or None,
            "instructions": node.instructions or None,
            "outputs": node.outputs if node.outputs is None else list(node.outputs),
            "defaults": dict(node.defaults) or None,
        }
        arguments = [f"{key}={said(value, key)}" for key, value in more.items() if value is not None]
        if arguments:
            self._call(f"{variable}.describe", [repr(node.id), *arguments])

    def _action(self, node: NodeDef) -> str:
        if node.kind != "workflow" and (node.kind != "map" or node.result is None):
            return repr(node.action)
        if node.action not in self._variables:
            raise ValidationError(
                f"node {node.id!r} runs workflow {node.action!r}, of which only the name is known here: add "
                f"it with wf.add(the_workflow) to write both",
                culprit=node.id,
            )
        return self._variables[node.action]

    def _inputs(self, node: NodeDef, said: Callable[[Any, str], str]) -> list[str]:
        from .builder import Workflow

        taken = inspect.signature(Workflow.map).parameters
        plain = {k for k in node.inputs if k.isidentifier() and not iskeyword(k) and k not in taken}
        found = [f"{key}={said(value, key)}" for key, value in node.inputs.items() if key in plain]
        rest = [f"{key!r}: {said(value, key)}" for key, value in node.inputs.items() if key not in plain]
        # keyword inputs come after those in `inputs`: only together they keep their order
        if rest and found:
            rest = [f"{key!r}: {said(value, key)}" for key, value in node.inputs.items()]
            found = []
        return [f"inputs={{{', '.join(rest)}}}"] if rest else found

    # --- values -----------------------------------------------------------------------------------

    def _value(self, value: Any, where: str, culprit: str, ids: Iterable[str]) -> str:
        def inner(part: Any) -> str:
            return self._value(part, where, culprit, ids)

        kind = type(value)
        if kind is Ref:
            return self._reference(value, ids)
        if kind is list:
            return f"[{', '.join(map(inner, value))}]"
        if kind is tuple:
            return f"({', '.join(map(inner, value))}{',' if len(value) == 1 else ''})"
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{inner(key)}: {inner(part)}' for key, part in value.items())}}}"
        if value is REQUIRED:
            self.imports.add("from dagflow_nb.workflow import REQUIRED")
            return "REQUIRED"
        if kind is Form:
            self.imports.add("from dagflow_nb.core.model import Form")
            return f"Form({inner(value.question)}, {inner(value.schema)}, {inner(value.defaults)})"
        leaf = self._leaf(value)
        if leaf is None:
            raise ValidationError(
                f"{where} is {shorten(value)}, which cannot be written as Python here: write it into a file "
                f"and pass the path, or make it an input of the run",
                culprit=culprit,
                value=value,
            )
        return leaf

    def _leaf(self, value: Any) -> str | None:
        kind = type(value)
        if kind is float and not math.isfinite(value):
            return f"float({str(value)!r})"
        if kind in (type(None), bool, int, float, str, bytes):
            return repr(value)
        if kind in (datetime.date, datetime.datetime, datetime.time, datetime.timedelta):
            zone = getattr(value, "tzinfo", None)
            if zone is not None and type(zone) is not datetime.timezone:
                return None
            self.imports.add("import datetime")
            return repr(value)
        if kind in (Decimal, UUID):
            self.imports.add(f"from {kind.__module__} import {kind.__name__}")
            return repr(value)
        if isinstance(value, PurePath):
            self.imports.add("from pathlib import Path")
            return f"Path({str(value)!r})"
        return None

    def _reference(self, ref: Ref, ids: Iterable[str]) -> str:
        text = str(ref)
        try:
            if same(Ref(text).bind(frozenset(ids)), ref):
                self.ours.add("ref")
                return f"ref({text!r})"
        except ValidationError:
            pass  # a key with a dot in it: written with target and path apart
        self.imports.add("from dagflow_nb.core.model import Ref")
        return f"Ref({ref.target!r}, {ref.path!r})"


def _question(form: Form | None) -> Form | str | bool | None:
    """A form as it is written by hand, where it is a question and nothing else."""
    asked = form.question or True if form is not None else None
    return asked if form == ask(asked) else form


def _settings(node: NodeDef) -> dict[str, Any]:
    """The settings as `add` and `map` take them, None where they are not set."""
    if callable(node.cache):
        raise ValidationError(
            f"cache of node {node.id!r} is a function, which cannot be written here: set it on the action",
            culprit=node.id,
        )
    return {
        "when": None if node.when is When.ALL_SUCCESS else node.when.value,
        "timeout": node.timeout,
        "try_count": node.try_count,
        "on_failure": node.on_failure.value if isinstance(node.on_failure, Enum) else None,
        "failure": node.failure,
        "cache": node.cache,
        "executor": node.executor,
        "ask": _question(node.ask),
        "tags": list(node.tags) or None,
        "limit": node.limit if node.kind == "map" else None,
    }
