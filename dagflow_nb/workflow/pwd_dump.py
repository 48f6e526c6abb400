"""From a workflow to a Python Workflow Definition: what the format cannot say is refused, never left out.

The ids are those that the format's own tools give: functions first, in order, then what they take, node
by node, where it is first needed, then the output.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, is_typeddict

from ..actions import FunctionAction, LateAction, as_action
from ..core.model import EMPTY, NodeDef, Ref, When, iter_refs
from ..errors import ValidationError, shorten
from ..files import write_file
from .flatten import flatten, result_of
from .naming import REQUIRED
from .pwd_functions import SHARED
from .pwd_load import RESERVED_PORT

if TYPE_CHECKING:
    from .builder import Workflow

VERSION = "0.1.0"  # of the format
_NO_DICT = ("int", "float", "str", "bool", "bytes", "list", "tuple", "set", "frozenset", "complex")
_SETTINGS = ("timeout", "try_count", "on_failure", "failure", "cache", "executor", "ask", "limit")


def dump_pwd(workflow: Workflow, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """The definition of a workflow, also written to `path`; see `Workflow.to_pwd`."""
    made = _Writer(workflow).definition()
    if path is not None:
        write_file(path, json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    return made


def _find_none(name: str) -> Workflow:
    raise LookupError(name)


@dataclass(frozen=True, slots=True)
class _Where:
    """What a value is for: in errors, and as the name of the input node that it becomes."""

    text: str
    culprit: str
    name: str


@dataclass(slots=True)
class _Writer:
    """Nodes and edges as they come up."""

    workflow: Workflow
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    specs: dict[str, NodeDef] = field(default_factory=dict)  # flat, by id
    functions: dict[str, int] = field(default_factory=dict)  # node, or item of a map -> its number
    inputs: dict[str, int] = field(default_factory=dict)  # the run's
    items: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # of maps: what each is given
    actions: dict[str, FunctionAction] = field(default_factory=dict)  # those that are at hand, by node
    literals: list[dict[str, Any]] = field(default_factory=list)  # input nodes that have no name yet

    def definition(self) -> dict[str, Any]:
        wf = self.workflow
        if wf.config is not None and (said := wf.config.settings()):
            raise ValidationError(
                f"a definition has no config: give {', '.join(said)} to flow.run(config=...) instead",
                culprit=next(iter(said)),
            )
        try:
            self.specs = {spec.id: spec for spec in flatten(wf, _find_none)}
        except LookupError as missing:
            raise ValidationError(
                f"of the sub-workflow {missing.args[0]!r} only the name is known here: add it with "
                f"wf.add(the_workflow)",
                culprit=missing.args[0],
            ) from None
        for spec, number, inputs in self._take_functions():
            for port, value in inputs.items():
                where = _Where(f"input {port!r} of node {spec.id!r}", spec.id, port)
                self._lead(value, number, port, where)
        self._outputs()
        for name in wf.inputs:
            self._input(name)
        self._name_literals()
        return {"version": VERSION, "nodes": self.nodes, "edges": self.edges}

    # --- nodes ------------------------------------------------------------------------------------

    def _take_functions(self) -> list[tuple[NodeDef, int, Mapping[str, Any]]]:
        """Number the functions; gives each with what it is given."""
        found, known = [], _functions_of(self.workflow)
        for spec in self.specs.values():
            self._check(spec)
            if spec.kind == "workflow":
                continue
            value = self._function(spec, known)
            given = [spec.inputs]
            if spec.kind == "map":
                given = self.items[spec.id] = [{**spec.inputs, **item} for item in _combinations(spec)]
            for index, inputs in enumerate(given):
                id = f"{spec.id}/{index}" if spec.kind == "map" else spec.id
                self.functions[id] = self._node(type="function", value=value)
                if spec.id in self.actions:
                    self.actions[id] = self.actions[spec.id]
                found.append((spec, self.functions[id], inputs))
        for spec in self.specs.values():
            self._check_order(spec)
        return found

    def _node(self, **said: Any) -> int:
        self.nodes.append({"id": len(self.nodes), **said})
        return len(self.nodes) - 1

    def _check(self, spec: NodeDef) -> None:
        """Refuse a node with what a definition cannot say."""
        if spec.kind == "branch":
            _refuse(spec, "is a branch", "choose inside a function, or write a workflow for each side")
        if spec.kind == "map" and spec.result is not None:
            _refuse(spec, "is a map over a workflow", "add the workflow once for each item")
        for name in _SETTINGS:
            if (value := getattr(spec, name)) is not None:
                way_out = f"leave {name} out" + (", or set it on the action" if name != "limit" else "")
                _refuse(spec, f"has {name}={shorten(getattr(value, 'value', value))}", way_out, name)
        if spec.when is not When.ALL_SUCCESS:
            _refuse(spec, f"has when={spec.when.value!r}", "leave it out", "when")
        if spec.defaults is not EMPTY and spec.defaults and spec.kind != "workflow":
            name = next(iter(spec.defaults))
            _refuse(spec, f"has a default for its input {name!r}", "set it in the function", "defaults")

    def _function(self, spec: NodeDef, known: Mapping[str, Any]) -> str:
        """`module.function` of what a node runs."""
        if spec.action not in known:
            if "." in spec.action and all(part.isidentifier() for part in spec.action.split(".")):
                return spec.action
            way_out = "add it as a function, or under the name 'module.function'"
            _refuse(spec, f"runs {spec.action!r}, of which only the name is known here", way_out)
        made = as_action(known[spec.action])
        if isinstance(made, LateAction):
            return made.name
        fn = getattr(made, "fn", None)
        # where one of a notebook, or inside of a function, is to be found, `from_pwd(module=)` says
        module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "")
        if getattr(fn, "__closure__", None) is None:
            name = name.rpartition("<locals>.")[2]
        if not isinstance(made, FunctionAction) or not name.isidentifier() or not isinstance(module, str):
            way_out = "write a function at the top of a module, which others can import"
            _refuse(spec, f"runs {spec.action!r}, which is no function of a module", way_out)
        if made.is_async:
            _refuse(spec, f"runs {spec.action!r}, which is an async def", "write it as a def")
        if made._binder.contexts:
            _refuse(
                spec, f"runs {spec.action!r}, which takes ctx", "other engines have none: take inputs only"
            )
        self.actions[spec.id] = made
        return f"{module}.{name}"

    def _check_order(self, spec: NodeDef) -> None:
        """Refuse a dependency that no value stands for: edges carry values."""
        if set(spec.deps) <= {ref.target for ref in iter_refs([dict(spec.inputs), spec.over])}:
            return
        needed: set[str] = set()
        todo = [spec]
        while todo:
            one = todo.pop()
            for ref in iter_refs([dict(one.inputs), one.over if one.kind == "map" else None, one.result]):
                id = ref.target.removesuffix("/inputs")
                if id in self.specs and id not in needed:
                    needed.add(id)
                    todo.append(self.specs[id])
        for dep in spec.deps:
            if dep not in needed:
                way_out = "give it a value of that node"
                _refuse(spec, f"only waits for {dep!r} (after=)", way_out, "after")

    # --- values -----------------------------------------------------------------------------------

    def _lead(self, value: Any, target: int, port: str | None, where: _Where) -> None:
        """An edge from what stands for `value` into a port."""
        source, key = self._source(value, where)
        ends = {"target": target, "targetPort": port, "source": source, "sourcePort": key}
        self.edges.append(ends)

    def _source(self, value: Any, where: _Where) -> tuple[int, str | None]:
        """The node that gives a value, and the key under which it does; made if there is none yet."""
        value = self._resolved(value, where)
        if isinstance(value, Ref):
            key = _key(value, 1 if value.target == "inputs" else 0, where)
            if value.target == "inputs":
                return self._input(str(value.path[0])), key
            return self.functions[value.target], self._key_of(value.target, key, where)
        if next(iter_refs(value), None) is None:
            literal = {"type": "input", "value": _plain(value, where)}
            number = self._node(**literal)
            self.literals.append(self.nodes[number] | {"hint": where.name})
            return number, None
        kind = type(value)
        if kind is tuple:
            raise ValidationError(
                f"{where.text} is a tuple with references: write a list", culprit=where.culprit
            )
        parts = value if kind is dict else {str(i): part for i, part in enumerate(value)}
        helper = self._node(type="function", value=f"{SHARED}.get_{kind.__name__}")
        for name, part in parts.items():
            if not isinstance(name, str) or not name:
                text = f"{where.text} has the key {shorten(name)}: a definition has texts as keys"
                raise ValidationError(text, culprit=where.culprit)
            inner = _Where(f"{where.text}, at {name!r},", where.culprit, name if kind is dict else where.name)
            self._lead(part, helper, name, inner)
        return helper, None

    def _key_of(self, id: str, key: str | None, where: _Where) -> str | None:
        """The key as an edge has it: what is no dict gives its value here as `result`, there as a whole."""
        action = self.actions.get(id)
        if key is None or action is None:
            return key
        returns = action.signature.return_annotation
        text = returns if isinstance(returns, str) else getattr(returns, "__name__", str(returns))
        kind = text.split("[")[0].split(".")[-1]
        if kind in ("dict", "Dict", "Mapping") or is_typeddict(returns):
            return key
        if action.options.outputs is not None:
            what = "names by position what it returns (outputs=)"
        elif key != "result":
            return key
        elif kind in _NO_DICT:
            return None
        else:
            what = "may return a dict with this key, or a plain value"
        raise ValidationError(
            f"{where.text} takes {key!r} of node {id!r}, whose function {what}: a definition takes keys of "
            f"dicts; let it return a dict and say so (-> dict), or refer to the node itself",
            culprit=where.culprit,
        )

    def _resolved(self, value: Any, where: _Where) -> Any:
        """A reference to a sub-workflow, to its inputs or to a map as what stands for it in them."""
        for _ in range(1000):
            if not isinstance(value, Ref) or value.target == "inputs":
                return value
            group = self.specs.get(value.target.removesuffix("/inputs"))
            if group is None or group.kind == "action":
                return value
            if group.kind == "map":
                return self._of_map(group, value.path)
            if value.target.endswith("/inputs"):
                given, path = group.inputs.get(str(value.path[0]), REQUIRED), value.path[1:]
                if given is REQUIRED:
                    text = (
                        f"{where.text} is an input {value.path[0]!r} that {group.id!r} is not given: give it"
                    )
                    raise ValidationError(text, culprit=group.id)
            else:
                given, path = group.result, value.path
            value = _into(given, path, where)
        raise ValidationError(f"{where.text} is nested too deeply", culprit=where.culprit)

    def _of_map(self, spec: NodeDef, path: tuple[str | int, ...]) -> Any:
        ids = [f"{spec.id}/{index}" for index in range(len(self.items[spec.id]))]
        if path and isinstance(path[0], int) and -len(ids) <= path[0] < len(ids):
            return Ref(ids[path[0]], path[1:])
        return [Ref(id, path) for id in ids]

    def _input(self, name: str) -> int:
        if name not in self.inputs:
            default = self.workflow.inputs.get(name, REQUIRED)
            where = _Where(f"the default of input {name!r}", name, name)
            value = {} if default is REQUIRED else {"value": _plain(default, where)}
            self.inputs[name] = self._node(type="input", **value, name=name)
        return self.inputs[name]

    def _name_literals(self) -> None:
        """Name what was written into nodes by its parameter, with a number where several have that name."""
        times = Counter(literal["hint"] for literal in self.literals)
        numbers: dict[str, Iterator[int]] = {}
        taken = set(self.inputs)
        for literal in self.literals:
            free = hint = literal["hint"]
            if times[hint] > 1 or hint in taken:
                counted = numbers.setdefault(hint, itertools.count())
                free = next(text for i in counted if (text := f"{hint}_{i}") not in taken)
            taken.add(free)
            self.nodes[literal["id"]]["name"] = free

    def _outputs(self) -> None:
        result = result_of(self.workflow)
        names = self.workflow._outputs
        several = len(names) > 1 and type(result) is dict and tuple(result) == names
        outputs = result if several else {names[0] if len(names) == 1 else "result": result}
        for name, value in outputs.items():
            ends = self._source(value, _Where("the result", "result", name))
            number = self._node(type="output", name=name)
            self.edges.append(
                {"target": number, "targetPort": None, "source": ends[0], "sourcePort": ends[1]}
            )


def _refuse(spec: NodeDef, what: str, way_out: str, setting: str | None = None) -> NoReturn:
    raise ValidationError(
        f"node {spec.id!r} {what}, which a definition cannot say: {way_out}", culprit=spec.id, value=setting
    )


def _functions_of(workflow: Workflow) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for inner in workflow.workflows.values():
        found |= _functions_of(inner)
    return found | workflow.functions


def _combinations(spec: NodeDef) -> list[dict[str, Any]]:
    """What varies from item to item of a map, where that is written down."""
    over = spec.over
    varied = over.values() if isinstance(over, Mapping) else over if isinstance(over, list) else [over]
    if any(isinstance(part, Ref) for part in varied):
        way_out = "write its items as a list"
        _refuse(spec, "is a map whose items are known only in a run", way_out, "over")
    if isinstance(over, Mapping):
        return [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    return [dict(row) for row in over]


def _key(ref: Ref, begin: int, where: _Where) -> str | None:
    """The one key that an edge can take from what a node gives."""
    path = ref.path[begin:]
    if not path:
        return None
    key = path[0]
    if len(path) > 1 or not isinstance(key, str) or key == RESERVED_PORT:
        raise ValidationError(
            f"{where.text} is {str(ref)!r}: an edge carries what a function returned, or one key of "
            f"it, so let the function give this under a key of its own, or take it apart in a function",
            culprit=where.culprit,
            value=str(ref),
        )
    return key


def _into(value: Any, path: tuple[str | int, ...], where: _Where) -> Any:
    """What a structure of references has under a path."""
    for position, key in enumerate(path):
        if isinstance(value, Ref):
            return Ref(value.target, value.path + path[position:])
        try:
            value = value if key == "result" and position == 0 and type(value) is not dict else value[key]
        except (LookupError, TypeError):
            raise ValidationError(
                f"{where.text} refers to {key!r}, which a sub-workflow does not give", culprit=where.culprit
            ) from None
    return value


def _plain(value: Any, where: _Where) -> Any:
    """A value that JSON has, or an error."""
    kind = type(value)
    if kind in (str, int, bool, type(None)) or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [_plain(part, where) for part in value]
    if kind is dict and all(type(key) is str for key in value):
        return {key: _plain(part, where) for key, part in value.items()}
    instead = (
        "write a list"
        if kind is tuple
        else "make it in a function, or write it into a file and pass the path"
    )
    raise ValidationError(
        f"{where.text} is {shorten(value)}, which JSON does not have: {instead}",
        culprit=where.culprit,
        value=value,
    )
