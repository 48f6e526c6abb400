"""A workflow as YAML text that says the same; what YAML cannot say is refused, with node and input."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import yaml

from ..core.model import Form, NodeDef, Ref, When
from ..core.retry import RetryStrategy
from ..errors import ValidationError, shorten
from .check import problems
from .naming import REQUIRED
from .values import same
from .yaml_source import Source

if TYPE_CHECKING:
    from .builder import Workflow

_SAFE = frozenset({bool, int, float, type(None)})
# texts that a YAML reader gives back as they are, however they are quoted
_PLAIN = re.compile(r"[\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\n\t]*")


class _Tagged:
    """A value written with a tag of ours: `!ref`, `!tuple`, `!value`."""

    def __init__(self, tag: str, value: Any) -> None:
        self.tag, self.value = tag, value


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # PyYAML is untyped
    def ignore_aliases(self, data: Any) -> bool:
        return True  # a file for people: what stands twice is written twice


def _represent(dumper: Any, tagged: _Tagged) -> Any:
    if isinstance(tagged.value, list):
        return dumper.represent_sequence(tagged.tag, tagged.value, flow_style=True)
    return dumper.represent_scalar(tagged.tag, tagged.value)


def _represent_text(dumper: Any, text: str) -> Any:
    readable = "\n" in text.strip("\n") and _PLAIN.fullmatch(text) and not re.search(r"[ \t]\n", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if readable else None)


def _represent_set(dumper: Any, parts: set[Any]) -> Any:
    return dumper.represent_mapping("tag:yaml.org,2002:set", dict.fromkeys(sorted(parts, key=repr)))


_Dumper.add_representer(_Tagged, _represent)
_Dumper.add_representer(set, _represent_set)
_Dumper.add_representer(str, _represent_text)


def dump_yaml(workflow: Workflow) -> str:
    """The workflow as YAML; loading that gives an equal one.

    `ValidationError` naming node and input for a value that YAML cannot say (a DataFrame, an object, a
    function): write it into a file and pass its path, or make it an input of the run. What `check` finds
    is raised too.
    """
    for error, _ in problems(workflow.nodes, workflow.result):
        raise error
    text = _text(_workflow(workflow))
    from .yaml import load_yaml_text  # it exports this module's function

    again = load_yaml_text(text)
    if again != workflow:
        raise _different(workflow, again)
    return text


def _text(data: Any) -> str:
    layout: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 100}
    return str(yaml.dump(data, Dumper=_Dumper, allow_unicode=True, **layout))


def _different(workflow: Workflow, again: Workflow) -> ValidationError:
    # odd texts may not survive YAML: better no file than one that says something else
    for node_id, node in workflow.nodes.items():
        if not same(node, again.nodes.get(node_id)):
            return ValidationError(
                f"node {node_id!r} has something that YAML cannot say: look at its texts", culprit=node_id
            )
    return ValidationError(
        f"workflow {workflow.name!r} has something that YAML cannot say: look at its description, inputs "
        f"and result",
        culprit=workflow.name,
    )


def _workflow(workflow: Workflow) -> dict[str, Any]:
    data: dict[str, Any] = {"name": workflow.name}
    for key in ("description", "author", "version", "signature"):
        if getattr(workflow, key):
            data[key] = getattr(workflow, key)
    if workflow.tags:
        data["tags"] = list(workflow.tags)
    if workflow.inputs:
        data["inputs"] = [_input(workflow, name, default) for name, default in workflow.inputs.items()]
    if workflow.config is not None:
        settings = workflow.config.settings()
        data["config"] = {key: setting_of(key, value) for key, value in settings.items()}
    ids = frozenset(workflow.nodes)
    branches = {
        (taken, node.id)
        for node in workflow.nodes.values()
        if node.kind == "branch"
        for side in node.over.values()
        for taken in side
    }
    data["nodes"] = [_node(workflow, node, ids, branches) for node in workflow.nodes.values()]
    if workflow.result is not None:
        data["result"] = _result(workflow.result, ids)
    return data


def _input(workflow: Workflow, name: str, default: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"name": name}
    note = workflow._notes.get(("", "inputs", name))
    if note:
        data["description"] = note
    if default is not REQUIRED:
        data["default"] = _value(default, f"the default of input {name!r}", name, frozenset())
    return data


def can_be_written(value: Any) -> bool:
    """Whether YAML can say this value, so that it may be the default of an input."""
    try:
        _value(value, "a value", "value", frozenset())
    except ValidationError:
        return False
    return True


def setting_of(key: str, value: Any) -> Any:
    if isinstance(value, RetryStrategy):
        fields = {field: getattr(value, field) for field in RetryStrategy.__slots__}
        if value == RetryStrategy.immediate():
            return "immediate"
        if value == RetryStrategy.linear(value.initial_delay, value.jitter):
            return {"linear": {"delay": value.initial_delay, "jitter": value.jitter}}
        kind = fields.pop("kind")
        return {"exponential": fields} if kind == "exponential" else {"kind": kind, **fields}
    if isinstance(value, Enum):
        return value.value
    return _value(value, f"the setting {key!r}", key, frozenset())


def _node(
    workflow: Workflow, node: NodeDef, ids: Collection[str], branches: Collection[tuple[str, str]]
) -> dict[str, Any]:
    data: dict[str, Any] = {"id": node.id}
    if node.kind == "branch":
        data["branch"] = {side: list(taken) for side, taken in node.over.items() if taken}
    else:
        of_workflow = node.kind == "workflow" or (node.kind == "map" and node.result is not None)
        data["workflow" if of_workflow else "action"] = node.action
    if node.description:
        data["description"] = node.description
    if node.deps:
        data["dependencies"] = list(node.deps)
    inputs = [_node_input(workflow, node, name, ids) for name in node.inputs]
    if node.kind == "map":
        data["map"] = _map(node, ids)
    if inputs:
        data["inputs"] = inputs
    if node.outputs is not None:
        data["outputs"] = [
            {"name": name} | _note(workflow, node.id, "outputs", name) for name in node.outputs
        ]
    for key, value in _node_settings(node).items():
        if value is not None and value != "":
            data[key] = value
    return data


def _node_settings(node: NodeDef) -> dict[str, Any]:
    return {
        "failure": node.failure,
        "on_failure": None if node.on_failure is None else node.on_failure.value,
        "timeout": _number(node.timeout),
        "try_count": node.try_count,
        "when": None if node.when is When.ALL_SUCCESS else node.when.value,
        "cache": _cache(node),
        "executor": node.executor,
        "ask": None if node.ask is None else _ask(node.ask, node.id),
        "tags": list(node.tags) or None,
        "instructions": node.instructions,
    }


def _number(value: float | None) -> float | None:
    return int(value) if value is not None and value.is_integer() and value < 1e15 else value


def _cache(node: NodeDef) -> Any:
    if node.cache is None or isinstance(node.cache, bool):
        return None if node.cache is None else ("always" if node.cache else "never")
    if isinstance(node.cache, timedelta):
        return {"ttl": _number(node.cache.total_seconds())}
    raise ValidationError(
        f"cache of node {node.id!r} is a function, which YAML cannot say: set it on the action instead",
        culprit=node.id,
    )


def _ask(form: Form, node_id: str) -> Any:
    if form.schema is None and form.defaults == {}:
        return form.question or True
    said = {"question": form.question, "schema": form.schema, "defaults": form.defaults}
    return _value(_plain(said), f"ask of node {node_id!r}", node_id, frozenset())


def _plain(value: Any) -> Any:
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _note(workflow: Workflow, node_id: str, what: str, name: str) -> dict[str, str]:
    note = workflow._notes.get((node_id, what, name))
    return {"description": note} if note else {}


def _node_input(workflow: Workflow, node: NodeDef, name: str, ids: Collection[str]) -> dict[str, Any]:
    where = f"input {name!r} of node {node.id!r}"
    data = {"name": name} | _note(workflow, node.id, "inputs", name)
    data |= _given(node.inputs[name], where, name, ids)
    if name in node.defaults:
        data["default"] = _value(node.defaults[name], f"the default of {where}", name, ids)
    return data


def _given(value: Any, where: str, culprit: str, ids: Collection[str]) -> dict[str, Any]:
    if isinstance(value, Ref):
        return {"reference": _reference(value, ids)}
    return {"value": _value(value, where, culprit, ids)}


def _map(node: NodeDef, ids: Collection[str]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if isinstance(node.over, Mapping):
        data["over"] = [
            {"name": name, **_given(items, f"{name!r} of over of node {node.id!r}", name, ids)}
            for name, items in node.over.items()
        ]
    else:
        data["rows"] = _given(node.over, f"over of node {node.id!r}", "over", ids)
    return data if node.limit is None else {**data, "limit": node.limit}


def _reference(ref: Ref, ids: Collection[str]) -> Any:
    text = str(ref)
    try:
        same_again = same(Ref(text).bind(frozenset(ids)), ref)
    except ValidationError:
        same_again = False
    return text if same_again else [ref.target, *ref.path]


def _result(value: Any, ids: Collection[str]) -> Any:
    if isinstance(value, str):
        return _Tagged("!value", value)
    if isinstance(value, Ref):
        said = _reference(value, ids)
        return said if isinstance(said, str) else _Tagged("!ref", said)
    return _nested(value, lambda part: _result(part, ids), "the result", "result", ids)


def _value(value: Any, where: str, culprit: str, ids: Collection[str]) -> Any:
    """`value` as the dumper takes it, with `Ref`s and tuples tagged."""
    if isinstance(value, str):
        _check_leaf(value, where, culprit)
        return value
    return _nested(value, lambda part: _value(part, where, culprit, ids), where, culprit, ids)


def _nested(value: Any, inner: Callable[[Any], Any], where: str, culprit: str, ids: Collection[str]) -> Any:
    kind = type(value)
    if kind is Ref:
        return _Tagged("!ref", _reference(value, ids))
    if kind is list:
        return [inner(part) for part in value]
    if kind is tuple:
        return _Tagged("!tuple", [inner(part) for part in value])
    if kind is dict:
        for key in value:
            _check_leaf(key, where, culprit)
        return {key: inner(part) for key, part in value.items()}
    _check_leaf(value, where, culprit)
    return value


def _check_leaf(value: Any, where: str, culprit: str) -> None:
    kind = type(value)
    if kind is str and _PLAIN.fullmatch(value):
        return
    if kind in _SAFE and (kind is not int or abs(value) < 10**18):
        return
    try:
        good = same(Source(_text([value])).value(Source(_text([value])).root), [value])
    except (ValidationError, yaml.YAMLError, ValueError, UnicodeError):
        good = False
    if not good:
        if isinstance(value, PurePath):
            way = f"write it as text, {str(value)!r}: a parameter that is annotated as Path gets a Path"
        elif where.startswith("the default of input "):
            way = "declare the input without a default, and give it to each run"
        else:
            way = "write it into a file and pass the path, or make it an input of the run"
        raise ValidationError(
            f"{where} is {shorten(value)}, which YAML cannot say: {way}", culprit=culprit, value=value
        )
