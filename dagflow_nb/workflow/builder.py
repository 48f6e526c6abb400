"""`Workflow`: a graph of nodes, built step by step, and checked as far as each step can be.

What is added last may be named first (`after="later"`, `ref("later.key")`), so references written as
text are told apart only when the nodes are looked at, and unknown ids are found by `check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..core.model import EMPTY, NodeDef, Ref, iter_refs, map_refs, node_id_problem, owner_problem, with_edges
from ..errors import NodeAlreadyExists, ValidationError, shorten
from . import settings
from .handles import Lazy, NodeHandle
from .interchange import Interchange
from .naming import REQUIRED, Naming, input_defaults
from .values import lower, lower_over, same

if TYPE_CHECKING:
    from ..config import DagConfig


class Workflow(Interchange):
    """A workflow: its name, what it says of itself, its inputs and its nodes.

    `inputs`: names (each has to be given to a run) or a mapping of names to defaults (`REQUIRED` for
    one without). `config`: a `DagConfig` or a mapping of its settings, for runs of this workflow.
    `nodes` maps ids to `NodeDef`s in the order they were added; `result` is what a run's result is
    made of: references, also in dicts, lists and tuples (None: what the leaves return). `functions`
    are the actions given as functions, `workflows` the sub-workflows, both by name. A wrong argument
    raises `ValidationError` naming it.

    >>> wf = Workflow("report", inputs={"source": "database"})
    >>> rows = wf.add("fetch", inputs={"source": wf.input("source")})
    >>> wf.add("count", rows=rows["rows"]).id
    'count'
    >>> wf.nodes["count"].deps
    ('fetch',)
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        author: str = "",
        version: str = "",
        signature: str = "",
        tags: Iterable[str] | str = (),
        inputs: Mapping[str, Any] | Iterable[str] | None = None,
        config: DagConfig | Mapping[str, Any] | None = None,
    ) -> None:
        self._name = settings.name("a workflow's name", name)
        self.description = settings.text("description", description)
        self.author = settings.text("author", author)
        self.version = settings.text("version", version)
        self.signature = settings.text("signature", signature)
        self.tags = settings.tags(tags)
        self.config = _config(config)
        self._inputs = input_defaults(inputs)
        self._result: Any = None
        self._naming = Naming()
        self._raw: dict[str, NodeDef] = {}  # as added: `deps` only those given, references as written
        self._nodes: dict[str, NodeDef] = {}  # as looked at
        # nodes with references by text: some are to be bound to the ids there are; all are, unless an id
        # with a dot comes
        self._open: set[str] = set()
        self._dotted: set[str] = set()
        self._bound_at = 0  # how many nodes there were when these were bound
        self._branches: dict[str, list[str]] = {}  # node -> the branch nodes that lead to it
        # the nodes and the result that were last found to fit together
        self.fits: tuple[tuple[NodeDef, ...], Any] = ((), None)
        # descriptions of inputs and outputs, which YAML has and nodes do not: (node, what, name) -> text
        self._notes: dict[tuple[str, str, str], str] = {}
        self._outputs: tuple[str, ...] = ()  # what a definition that it was loaded from calls its result

    # --- building ---------------------------------------------------------------------------------

    def add(
        self,
        action: Any,
        /,
        *,
        id: str | None = None,
        after: Any = (),
        when: str = "all_success",
        timeout: float | None = None,
        try_count: int | None = None,
        on_failure: Any = None,
        failure: Any = None,
        cache: Any = None,
        executor: str | None = None,
        ask: Any = None,
        tags: Iterable[str] | str = (),
        inputs: Mapping[str, Any] | None = None,
        **inputs_by_name: Any,
    ) -> NodeHandle:
        """Adds a node and gives its handle.

        `action`: a name, a function, a `NodeAction` or a `Workflow` (its nodes become `ID/child`).
        `id`: None makes one from the action's name (`fetch`, `fetch_2`, ...). `after`: handles or ids
        of nodes to wait for, besides those that inputs refer to; they may be added later. `when`:
        `"all_success"`, `"all_done"`, `"one_success"` or `"any_failed"`. `timeout`: seconds for each
        attempt (None: none). `try_count`: all attempts (None: the action's). `on_failure`:
        `"continue"`, `"pause"` or `"stop"`. `failure`: the action that handles its failure. `cache`:
        True, `"24h"`, a timedelta, a function, False. `executor`: a name. `ask`: what a person is
        asked first. `inputs`: those whose names are also settings. The other keywords are inputs:
        values, handles and references, also in lists, tuples and dicts.

        Raises `ValidationError` naming the wrong argument, `NodeAlreadyExists` for an id that is
        taken; nothing is added then.

        >>> Workflow("w").add("fetch", timeout=30, source="backup")
        <node 'fetch' of workflow 'w'>
        """
        made = settings.of_node(when, timeout, try_count, on_failure, cache, executor, ask, tags)
        return self._add(action, id, after, failure, made, inputs, inputs_by_name)

    def map(
        self,
        action: Any,
        /,
        over: Any,
        *,
        limit: int | None = None,
        id: str | None = None,
        after: Any = (),
        when: str = "all_success",
        timeout: float | None = None,
        try_count: int | None = None,
        on_failure: Any = None,
        failure: Any = None,
        cache: Any = None,
        executor: str | None = None,
        ask: Any = None,
        tags: Iterable[str] | str = (),
        inputs: Mapping[str, Any] | None = None,
        **inputs_by_name: Any,
    ) -> NodeHandle:
        """Adds a map: the action runs as `ID/0`, `ID/1`, ... for each combination of `over`.

        `over`: a mapping of parameters to lists or references, all combined with each other; or rows,
        a list of dicts, a DataFrame, or a reference to one. `limit`: items at once (None: no limit of
        its own). The rest is as for `add`; the inputs are the same for each item. `m["key"]` is the
        list of the items' outputs in order, `m` the list of what they returned.

        >>> wf = Workflow("w")
        >>> m = wf.map("smooth", over={"path": ["a.csv", "b.csv"], "window": [6, 24]}, limit=2)
        >>> wf.nodes["smooth"].kind
        'map'
        """
        made = settings.of_node(when, timeout, try_count, on_failure, cache, executor, ask, tags)
        made |= {"kind": "map", "limit": settings.count("limit", limit)}
        return self._add(action, id, after, failure, made, inputs, inputs_by_name, over)

    def branch(self, condition: Any, *, then: Any, otherwise: Any = (), id: str | None = None) -> NodeHandle:
        """Adds a choice: once `condition` is known, the nodes of the other side are skipped.

        `condition`: a reference, a handle or a value. `then`, `otherwise`: handles or ids, one or
        several, also of nodes added later; they come after the choice. `id`: None makes `branch`,
        `branch_2`, ...

        >>> wf = Workflow("w")
        >>> check = wf.add("check")
        >>> mend = wf.add("mend")
        >>> wf.branch(check["complete"], then="report", otherwise=mend).id
        'branch'
        >>> wf.nodes["mend"].deps
        ('branch',)
        """
        sides = {
            "then": self._ids("then", then),
            "otherwise": self._ids("otherwise", otherwise),
        }
        both = set(sides["then"]) & set(sides["otherwise"])
        if both:
            raise ValidationError(
                f"{min(both)!r} is in both then and otherwise of a branch: leave it in one of them, or let "
                f"it come after the nodes of both",
                culprit=min(both),
            )
        if not sides["then"] and not sides["otherwise"]:
            raise ValidationError("a branch leads somewhere: give it then=...", culprit="then")
        free = self._naming.free_id("branch", self._raw) if id is None else id
        value = lower(condition, self, f"the condition of branch {free!r}")
        node = NodeDef(id=free, action="branch", kind="branch", inputs={"condition": value}, over=sides)
        return self._put(node)

    def describe(
        self,
        node: NodeHandle | str,
        *,
        description: str | None = None,
        instructions: str | None = None,
        outputs: Iterable[str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> NodeHandle:
        """Says more about a node than `add` has room for, since its other keywords are inputs.

        `description` is shown, `instructions` are for whoever works on it, `outputs` are the keys it
        gives (references to others are refused then), `defaults` stand in for inputs whose reference
        is missing in a run. None leaves each as it is.
        """
        (node_id,) = self._ids("node", node)
        if node_id not in self._raw:
            raise ValidationError(f"workflow {self.name!r} has no node {node_id!r}", culprit=node_id)
        new: dict[str, Any] = {}
        if description is not None:
            new["description"] = settings.text("description", description)
        if instructions is not None:
            new["instructions"] = settings.text("instructions", instructions)
        if outputs is not None:
            new["outputs"] = tuple(settings.name("an output's name", key) for key in outputs)
        if defaults is not None:
            new["defaults"] = lower(dict(defaults), self, f"defaults of node {node_id!r}")
        self._store(replace(self._raw[node_id], **new))
        return self._handle(self._raw[node_id])

    def adopt(self, spec: NodeDef) -> None:
        """Take a full definition as it is; its id replaces an earlier one."""
        self._store(spec)

    def input(self, name: str) -> Any:
        """The reference to an input of the run, to be passed on to nodes."""
        from .handles import Reference

        return Reference(self, Ref("inputs", (settings.name("an input's name", name),)))

    def __call__(self, *args: Any, **kwargs: Any) -> NodeHandle:
        """Inside a workflow function: adds this workflow as a node of the one that is being described."""
        from .tracing import call_workflow

        return call_workflow(self, args, kwargs)

    # --- looking at it ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self._name

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The declared inputs: name -> default, or `REQUIRED`."""
        return MappingProxyType(self._inputs)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The declared inputs and those that only references name."""
        names = dict.fromkeys(self._inputs)
        for node in self.nodes.values():
            for ref in iter_refs([dict(node.inputs), node.over if node.kind == "map" else None]):
                if ref.target == "inputs" and ref.path:
                    names[str(ref.path[0])] = None
        for ref in iter_refs(self.result):
            if ref.target == "inputs" and ref.path:
                names[str(ref.path[0])] = None
        return tuple(names)

    @property
    def nodes(self) -> Mapping[str, NodeDef]:
        """The nodes by id, in the order they were added; references are bound to the ids there are."""
        if self._open and self._bound_at != len(self._raw):
            for node_id in self._open:
                self._nodes[node_id] = self._bound(self._raw[node_id])
            self._bound_at = len(self._raw)
        return MappingProxyType(self._nodes)

    @property
    def result(self) -> Any:
        """What a run's result is made of: references, also in dicts, lists and tuples; or None."""
        return map_refs(self._result, self._bind)

    @result.setter
    def result(self, value: Any) -> None:
        self._result = lower(value, self, f"the result of workflow {self.name!r}")

    @property
    def functions(self) -> dict[str, Any]:
        """The actions that were given as functions or action objects, by name."""
        return self._naming.functions

    @property
    def workflows(self) -> dict[str, Workflow]:
        """The workflows that were added as nodes, by name."""
        return self._naming.workflows

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Workflow):
            return NotImplemented
        return same(self._said(), other._said()) and self._set() == other._set()

    def __hash__(self) -> int:
        return hash(self._name)

    def _said(self) -> list[Any]:
        told = [self.name, self.description, self.author, self.version, self.signature, self.tags]
        return [*told, list(self._inputs.items()), list(self.nodes.items()), self.result]

    def _set(self) -> dict[str, Any] | None:
        return None if self.config is None else self.config.settings()

    def __repr__(self) -> str:
        inputs = f", inputs {', '.join(self._inputs)}" if self._inputs else ""
        return f"<Workflow {self.name!r}: {len(self._raw)} node{'s'[len(self._raw) == 1 :]}{inputs}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        from ..notebook.picture import workflow_picture  # drawing comes in only where something is shown

        return workflow_picture(self)._repr_mimebundle_(include, exclude)

    # --- inside -----------------------------------------------------------------------------------

    def _add(
        self,
        action: Any,
        id: str | None,
        after: Any,
        failure: Any,
        made: dict[str, Any],
        inputs: Mapping[str, Any] | None,
        by_name: dict[str, Any],
        over: Any = None,
    ) -> NodeHandle:
        named = self._naming.name_action(action, self)
        handler = None if failure is None else self._naming.name_action(failure, self, "failure")
        free = self._naming.free_id(named.name, self._raw) if id is None else id
        given = self._merge_inputs(free, inputs, by_name)
        if made.get("kind") == "map":
            made["over"] = lower_over(over, self, f"over of node {free!r}")
            for parameter in made["over"] if isinstance(made["over"], dict) else ():
                if parameter in given:
                    raise ValidationError(
                        f"{parameter!r} of node {free!r} is both in over and an input: leave one of them",
                        culprit=parameter,
                    )
            if named.workflow is not None:
                made["result"] = {"template": (), "result": None}
        elif named.workflow is not None:
            made["kind"] = "workflow"
        lowered = {key: lower(value, self, f"input {key!r} of node {free!r}") for key, value in given.items()}
        self._put(
            NodeDef(
                id=free,
                action=named.name,
                deps=self._ids("after", after),
                inputs=lowered or EMPTY,
                failure=None if handler is None else handler.name,
                outputs=named.outputs,
                **made,
            )
        )
        for one in (named, handler):
            if one is not None:
                self._naming.keep(one)
        return self._handle(self._raw[free])

    def _merge_inputs(
        self, node_id: str, inputs: Mapping[str, Any] | None, by_name: dict[str, Any]
    ) -> dict[str, Any]:
        if inputs is None:
            return by_name
        if not isinstance(inputs, Mapping):
            raise ValidationError(
                f"inputs of node {node_id!r} is a mapping of names to values, not {shorten(inputs)}",
                culprit="inputs",
                value=inputs,
            )
        for key in inputs:
            if not isinstance(key, str) or not key:
                raise ValidationError(
                    f"an input of node {node_id!r} is named by a text, not {shorten(key)}", culprit="inputs"
                )
            if key in by_name:
                raise ValidationError(
                    f"input {key!r} of node {node_id!r} is given twice: in inputs={{...}} and by name",
                    culprit=key,
                )
        return {**inputs, **by_name}

    def _ids(self, what: str, nodes: Any) -> tuple[str, ...]:
        if isinstance(nodes, str | Lazy):
            nodes = (nodes,)
        elif not isinstance(nodes, Iterable):
            raise ValidationError(
                f"{what} takes handles or ids of nodes, not {shorten(nodes)}", culprit=what, value=nodes
            )
        ids: dict[str, None] = {}
        for node in nodes:
            node_id = node.ref_in(self).target if isinstance(node, Lazy) else node
            if not isinstance(node_id, str) or node_id_problem(node_id):
                raise ValidationError(
                    f"{what} takes handles or ids of nodes, not {shorten(node)}", culprit=what, value=node
                )
            ids[node_id] = None
        return tuple(ids)

    def _put(self, node: NodeDef) -> NodeHandle:
        """Adds a node as it is: `deps` those that are named, references perhaps still as text."""
        problem = node_id_problem(node.id) or owner_problem(node.id, self._raw.get)
        if problem:
            raise ValidationError(f"{problem}: give it another one with id=...", culprit=node.id)
        if node.id in self._raw:
            raise NodeAlreadyExists(
                node.id, f"give one of them another id (or build workflow {self.name!r} anew)"
            )
        if "." in node.id:
            # what led into another node's outputs may mean this one
            self._open |= self._dotted
            self._dotted.clear()
        self._store(node)
        if node.kind == "branch":
            for taken in (taken for side in node.over.values() for taken in side):
                self._branches.setdefault(taken, []).append(node.id)
                if taken in self._raw:
                    self._store(self._raw[taken])
        return self._handle(node)

    def _store(self, node: NodeDef) -> None:
        self._raw[node.id] = node
        refs = [*iter_refs(node.inputs), *(iter_refs(node.over) if node.kind == "map" else ())]
        # a dot may be part of an id or lead into a value: known only when all ids are
        if any("." in ref.target for ref in refs):
            bound = self._nodes[node.id] = self._bound(node)
            self._bound_at = -1
            there = [*iter_refs(bound.inputs), *(iter_refs(bound.over) if node.kind == "map" else ())]
            if all(ref.target == "inputs" or ref.target in self._raw for ref in there):
                self._dotted.add(node.id)
                self._open.discard(node.id)
            else:
                self._open.add(node.id)
        else:
            self._open.discard(node.id)
            self._dotted.discard(node.id)
            self._nodes[node.id] = self._after(node, refs, node.inputs, node.over)

    def _bound(self, raw: NodeDef) -> NodeDef:
        inputs = map_refs(dict(raw.inputs), self._bind)
        over = map_refs(raw.over, self._bind) if raw.kind == "map" else raw.over
        refs = [*iter_refs(inputs), *(iter_refs(over) if raw.kind == "map" else ())]
        return self._after(raw, refs, inputs, over)

    def _bind(self, ref: Ref) -> Ref:
        try:
            return ref.bind(self._raw)
        except ValidationError:
            return ref  # `check` says so, with what there is

    def _after(self, node: NodeDef, refs: Iterable[Ref], inputs: Mapping[str, Any], over: Any) -> NodeDef:
        """A node with these inputs, after those that it refers to and the branches that lead to it."""
        deps = dict.fromkeys(node.deps)
        for ref in refs:
            if ref.target != "inputs" and ("." not in ref.target or ref.target in self._raw):
                deps[ref.target] = None
        deps |= dict.fromkeys(self._branches.get(node.id, ()))
        if len(deps) == len(node.deps) and inputs is node.inputs and over is node.over:
            return node
        return with_edges(node, tuple(deps), inputs, over)

    def _handle(self, node: NodeDef) -> NodeHandle:
        outputs = node.outputs
        inner = self.workflows.get(node.action) if node.kind == "workflow" else None
        if inner is not None and type(inner.result) is dict and all(isinstance(k, str) for k in inner.result):
            outputs = tuple(inner.result)
        return NodeHandle(self, Ref(node.id), outputs)


def _config(config: DagConfig | Mapping[str, Any] | None) -> DagConfig | None:
    if config is None:
        return None
    from ..config import DagConfig  # pydantic comes in only where a config is given

    return DagConfig.of(config)


__all__ = ["REQUIRED", "Workflow"]
