"""What hooks and people answer, made ready for the scheduler: functions become actions, questions
become forms, workflows become nodes."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..actions import Action, as_action, function_of, prepared, settings_of
from ..core import messages as m
from ..core.graph import Node
from ..core.growth import look_over
from ..core.model import EMPTY, NodeDef, NodeSpec, OnFailure, Ref, When, iter_refs, map_refs
from ..core.scheduler import Scheduler
from ..errors import DagError, NodeNotFound, ValidationError, shorten
from ..people.forms import as_form
from ..workflow.builder import Workflow
from ..workflow.flatten import flatten
from ..workflow.naming import is_another, is_same
from .hiding import hide_in_spec, hide_secrets, hide_taken
from .values import Values

if TYPE_CHECKING:
    from .coordinator import RunCoordinator


class GraphView:
    """The run's graph as hooks see it: read-only, and always as it is now."""

    def __init__(
        self,
        scheduler: Scheduler,
        values: Values,
        growth: Growth | None = None,
        actions: Iterable[str] = (),
    ) -> None:
        """`growth`: of a run that goes on here; of another one `actions`: the names of those it might use."""
        self._scheduler, self._values, self._growth, self._actions = scheduler, values, growth, actions

    @property
    def nodes(self) -> list[str]:
        """The ids of all nodes, in the order they were added."""
        return list(self._scheduler.nodes)

    def node(self, id: str) -> Node:
        """A node as it stands, with its `spec`, `outcome`, `error`, ...: to be read only."""
        try:
            return self._scheduler.nodes[id]
        except KeyError:
            raise NodeNotFound(id, self._scheduler.nodes) from None

    def status(self, id: str) -> Any:
        """The state of a node."""
        return self.node(id).status

    def dependencies(self, id: str) -> list[str]:
        """The ids that a node depends on."""
        return list(self.node(id).spec.deps)

    def descendants(self, id: str) -> list[str]:
        """The ids of all that comes after a node."""
        self.node(id)
        return [node.id for node in self._scheduler.graph.branch(id) if node.id != id]

    def grown(self, id: str) -> list[str]:
        """The ids of what was added in answer to a node's events, in that order."""
        return [other for other in self._scheduler.grown.get(id, ()) if other in self._scheduler.nodes]

    def has_handler(self, id: str) -> bool:
        """Whether an action handles the failure of a node."""
        node = self.node(id)
        return (node.spec.failure or self._scheduler.settings_of(node).failure) is not None

    def inputs(self, id: str) -> dict[str, Any]:
        """The inputs of a node as they are written down: values and references, those of a map's item too."""
        spec = self.node(id).spec
        own = {}
        if spec.item is not None and spec.parent is not None:
            own = self._values.combinations(self.node(spec.parent))[spec.item]
        return {**spec.inputs, **own}

    def problem(self, command: m.AddNodes, answered: str) -> str | None:
        """Why nodes would be refused that are added in answer to this node's end; None if they would not."""
        growth, scheduler, specs = self._growth, self._scheduler, command.specs
        known: dict[str, Any] = {**scheduler.settings, **dict.fromkeys(self._actions)}
        try:
            if growth is not None:
                specs = growth.ready(command).specs
                known |= growth.actions()
            else:
                specs = [spec if isinstance(spec.action, str) else _by_name(spec, known) for spec in specs]
            look_over(scheduler, tuple(specs), self.node(answered), {}, known, command.free)
        except DagError as refused:
            return str(refused)
        return None

    def __repr__(self) -> str:
        return f"<graph of {len(self.nodes)} nodes: {shorten(self.nodes, 200)}>"

    def __contains__(self, id: object) -> bool:
        return id in self._scheduler.nodes

    def __len__(self) -> int:
        return len(self._scheduler.nodes)


def _by_name(spec: NodeSpec | NodeDef, known: dict[str, Any]) -> NodeSpec | NodeDef:
    """A spec with the name of its function or sub-workflow, which is known then."""
    action = spec.action if isinstance(spec.action, Workflow) else as_action(spec.action)
    known[action.name] = None
    return replace(spec, action=action.name)


class Growth:
    """Prepares commands for one run, and keeps what only this process knows of them."""

    def __init__(self, coordinator: RunCoordinator) -> None:
        self._run = coordinator
        self.view = GraphView(coordinator.scheduler, coordinator.values, self)
        self.hook_errors: dict[str, BaseException] = {}
        self.models: dict[str, Any] = {}
        self._new: dict[str, m.ActionSettings] = {}
        self._new_nodes: dict[str, str] = {}  # of this answer: id -> action
        self.find_workflow: Callable[[str], Workflow] | None = None
        self.find_action: Callable[[str], Any] | None = None

    def is_ready(self, spec: NodeSpec) -> bool:
        """Whether there is nothing in it but names and values already."""
        action = spec.action
        if type(action) is not str or action not in self._run.actions or spec.inputs:
            return False
        self._new_nodes[spec.id or action] = action
        return spec.failure is spec.ask is spec.over is None

    def ready(self, command: Any) -> Any:
        """A command with nothing in it but names and values; raises `ValidationError`."""
        if type(command) is not m.AddNode and hasattr(command, "command_in"):  # a plan
            known: ChainMap[str, Any] = ChainMap({**self._new_nodes}, self._run.scheduler.nodes)
            command = command.command_in(known)
        if isinstance(command, m.AddNode):
            spec = command.spec
            if isinstance(spec, NodeSpec) and not isinstance(spec.action, Workflow):
                made = self._named(spec)
                return command if made is spec else replace(command, spec=made)
            command = m.AddNodes([spec], command.dag_name)
        if isinstance(command, m.AddNodes):
            specs, free = self._specs(command.specs)
            return replace(command, specs=tuple(specs), free={**command.free, **free})
        if isinstance(command, m.SetNodeInputs) and isinstance(command.inputs, Mapping):
            node = self._run.scheduler.nodes.get(command.node_id)
            action = self._new_nodes.get(command.node_id) if node is None else node.spec.action
            inputs = hide_taken(self._run.actions.get(action or ""), command.inputs)
            self._run.values.hides |= inputs is not command.inputs
            return replace(command, inputs=inputs)
        if isinstance(command, m.PauseBranch) and command.form is not None:
            form = as_form(command.form)
            if form is not None and not form.question:
                form = replace(form, question=command.reason or "")
            if isinstance(command.form, type):
                self.models[command.branch_id] = command.form
            return replace(command, form=form)
        return command

    def _specs(self, specs: Iterable[Any]) -> tuple[list[Any], dict[str, str]]:
        """These nodes ready, and those of their ids that nobody chose: see `AddNodes`."""
        done: list[Any] = []
        free: dict[str, str] = {}
        for spec in specs:
            if not isinstance(spec, NodeSpec):
                if isinstance(spec, NodeDef):
                    self._know(spec.action)
                done.append(spec)
            elif isinstance(spec.action, Workflow):
                id = spec.id
                if id is None:
                    known = self._run.scheduler.nodes
                    id = next(c for c in _names(spec.action.name) if c not in free and c not in known)
                    free[id] = spec.action.name
                done += self._inlined(spec, spec.action, id)
            else:
                done.append(self._named(spec))
        return done, free

    def _named(self, spec: NodeSpec) -> NodeSpec:
        """The spec of a node with the names of its functions, and without secrets."""
        if self.is_ready(spec):
            return spec
        action, failure, ask = spec.action, spec.failure, spec.ask
        if not isinstance(action, str):
            action = self._register(action)
        else:
            self._know(action)
        self._new_nodes[spec.id or action] = action
        if failure is not None:
            if not isinstance(failure, str):
                failure = self._register(failure)
            else:
                self._know(failure)
        if ask is not None:
            ask = as_form(ask)
        if spec.inputs or spec.over is not None:
            hidden = hide_in_spec(spec, self._run.actions.get(action))
            self._run.values.hides |= hidden is not spec
            spec = hidden
        if action is spec.action and failure is spec.failure and ask is spec.ask:
            return spec
        return replace(spec, action=action, failure=failure, ask=ask)

    def _inlined(self, spec: NodeSpec, workflow: Workflow, id: str) -> list[NodeDef]:
        """A sub-workflow that a hook adds, or a map over one: its node and its children."""
        outer = Workflow(self._run.dag_name)
        nodes = self._run.scheduler.nodes

        def bind(ref: Ref) -> Ref:
            with suppress(ValidationError):  # it is a step of the same plan, or refused where it is added
                ref = ref.bind(nodes)
            return ref

        # what refers to nodes of the run is put in once the workflow by itself has been checked
        given, over = map_refs(dict(spec.inputs or {}), bind), map_refs(spec.over, bind)
        inputs = {name: None if any(iter_refs(value)) else value for name, value in given.items()}
        if over is None:
            outer.add(workflow, id=id, inputs=inputs, tags=spec.tags)
        else:
            items = {name: [] for name in over} if isinstance(over, Mapping) else []
            outer.map(workflow, items, id=id, inputs=inputs, tags=spec.tags, limit=spec.limit)
        for name, fn in {**workflow.functions}.items():
            self._register(fn, name)
        found = flatten(outer, self.find_workflow or _no_workflow)
        deps = dict.fromkeys(spec.deps or ())
        deps |= dict.fromkeys(ref.target for ref in iter_refs([given, over]) if ref.target != "inputs")
        for node in found:
            if node.kind == "action":
                self._know(node.action)
        group = next(node for node in found if node.id == id)
        whole = replace(
            group,
            deps=(*deps, *group.deps),
            inputs={**group.inputs, **given},
            over=over,
            when=When(spec.when),
            on_failure=None if spec.on_failure is None else OnFailure(spec.on_failure),
        )
        hidden, _, hides = hide_secrets([whole if n is group else n for n in found], self._run.actions)
        self._run.values.hides |= hides
        return list(hidden)

    def _register(self, function: Any, name: str | None = None) -> str:
        """The name of a function's action in this run; another function of that name gets `NAME_2`, ..."""
        action = prepared(as_action(function))
        found = name or action.name
        if not isinstance(function, Action):  # of what was defined under its name the run has its own
            found = self._free_name(found, function_of(action), fixed=name is not None)
        if found not in self._run.actions:
            self._run.actions[found] = action
            self._new[found] = settings_of(action)
        return found

    def _free_name(self, name: str, function: Any, fixed: bool) -> str:
        actions, found, number = self._run.actions, name, 1
        while found in actions and not is_same(known := function_of(actions[found]), function):
            if not fixed:
                number += 1
                found = f"{name}_{number}"
            elif is_another(known, function):
                raise ValidationError(
                    f"this run has another action {name!r} than the workflow that is added: give one of them "
                    f"another name, with @flow.action(name=...)",
                    culprit=name,
                )
            else:
                break
        return found

    def _know(self, name: str) -> None:
        """An action that was defined after the run had started may be used by what is added."""
        if name not in self._run.actions and self.find_action is not None:
            action = self.find_action(name)
            if action is not None:
                self._run.actions[name] = prepared(action)
                self._new[name] = settings_of(action)

    def actions(self) -> Mapping[str, Any]:
        """Every action that the run has, by name."""
        return self._run.actions

    def new_settings(self) -> Mapping[str, m.ActionSettings]:
        """The settings of actions that came up since the last call."""
        self._new_nodes.clear()
        if not self._new:
            return EMPTY
        new, self._new = self._new, {}
        return new


def _names(name: str) -> Iterable[str]:
    yield name
    n = 2
    while True:
        yield f"{name}_{n}"
        n += 1


def _no_workflow(name: str) -> Workflow:
    raise LookupError(name)
