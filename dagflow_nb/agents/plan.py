"""`Plan`: nodes to be added to a run, built as a workflow is, or read from what a language model wrote.

A plan is built without its run: ids that nobody chose, and what refers to nodes of the run, are settled when
it is made a command (`command_in`), once the nodes that are there are known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, cast

from ..core.messages import AddNodes
from ..core.model import NodeDef, NodeSpec, Ref, iter_refs, map_refs
from ..errors import ValidationError
from ..workflow.builder import Workflow
from ..workflow.handles import NodeHandle

P = ParamSpec("P")


def _builds(
    method: Callable[Concatenate[Workflow, P], NodeHandle],
) -> Callable[Concatenate[Plan, P], NodeHandle]:
    """A method of `Workflow`, for a plan."""

    @functools.wraps(method)
    def build(self: Plan, *args: P.args, **kwargs: P.kwargs) -> NodeHandle:
        handle = method(self._workflow, *args, **kwargs)
        if kwargs.get("id") is None:
            self._unnamed[handle.id] = None
        return handle

    return cast("Callable[Concatenate[Plan, P], NodeHandle]", build)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan may take, by how its actions did before: `seconds` (what can run at once does), `tokens`
    and `cost`. None: nothing is known of it. `unknown` are the actions that have not run yet."""

    seconds: float | None = None
    tokens: float | None = None
    cost: float | None = None
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = [f"about {self.seconds:.3g} s"] if self.seconds is not None else []
        known += [f"{self.tokens:,.0f} tokens"] if self.tokens else []
        known += [f"cost {self.cost:.3g}"] if self.cost else []
        if self.unknown:
            known.append(f"nothing is known yet of {', '.join(self.unknown)}")
        return ", ".join(known) or "nothing is known yet"


class Plan:
    """Nodes to be added to a run: all of them, or with a mistake in one of them none.

    A plan is returned or yielded wherever a command may be (hooks, `run.apply(plan)`). `add` and `map` are
    those of `Workflow`: handles and `ref("step.key")` lead from step to step, `ref("node.key")` and `after=` to
    nodes that the run has already. Steps that depend on no other one come after the node whose event is
    answered, unless they say what they come `after`. An id that nobody chose and that is taken in the run
    becomes the next free one. `estimate` is what a proposal may take (`run.proposal`), else None; `problem` why
    a proposal cannot be read any more (its actions have changed since), else None.

    >>> plan = Plan()
    >>> rows = plan.add("fetch", source="backup")
    >>> plan.add("count", rows=rows["rows"]).id
    'count'
    >>> plan
    <Plan: fetch, count>
    >>> print(plan.to_json(indent=None))
    {"steps": [{"action": "fetch", "id": "fetch", "inputs": {"source": "backup"}}, {"action": "count", "id": "count", "inputs": {"rows": {"ref": "fetch.rows"}}}]}
    """  # noqa: E501  # what is printed is one line

    def __init__(self) -> None:
        self._workflow = Workflow("plan")
        self._unnamed: dict[str, None] = {}
        self.estimate: Estimate | None = None
        self.problem: str | None = None

    add = _builds(Workflow.add)
    map = _builds(Workflow.map)

    @classmethod
    def of_parts(cls, steps: Iterable[NodeDef], unnamed: Iterable[str] = ()) -> Plan:
        """The plan of these nodes; `unnamed`: the ids that may be replaced by free ones."""
        plan = cls()
        for step in steps:
            plan._workflow.adopt(step)
        plan._unnamed.update(dict.fromkeys(unnamed))
        return plan

    @classmethod
    def unreadable(cls, problem: str) -> Plan:
        """What stands for a proposal that cannot be read any more; it is refused where it would be added."""
        plan = cls()
        plan.problem = problem
        return plan

    def parts(self) -> tuple[tuple[NodeDef, ...], tuple[str, ...]]:
        """What `of_parts` takes; functions are left out. A sub-workflow has no such form: `ValueError`."""
        if self._workflow.workflows:
            raise ValueError(f"it has the sub-workflow {next(iter(self._workflow.workflows))!r} in it")
        return tuple(self._workflow.nodes.values()), tuple(self._unnamed)

    @classmethod
    def from_json(cls, given: str | Mapping[str, Any], registry: Any, *, nodes: Iterable[str] = ()) -> Plan:
        """The plan that a text (or what it stands for, as a dict) describes.

        The form is that of `json_schema()`: `{"steps": [{"action", "id", "after", "inputs"}]}`, of which only
        the action is needed. An input, or a part of one, that is `{"ref": "step.key"}` is a reference. A step
        with `over` (and `limit`) is a map. A text may stand between Markdown's code fences. `registry`: an
        `ActionRegistry` (`flow.registry`), or `flow.tools` for these only; `nodes`: ids in the run that steps
        may refer to and come after. Everything that is wrong is told at once, by a `ValidationError` (or one
        of its children) that names the steps and says what to write instead: it can be given back to the
        language model as it is.

        >>> from dagflow_nb import ActionRegistry
        >>> registry = ActionRegistry()
        >>> @registry.action
        ... def count(rows: list) -> int: ...
        >>> Plan.from_json('{"steps": [{"action": "count", "inputs": {"rows": [1, 2]}}]}', registry)
        <Plan: count>
        >>> Plan.from_json({"steps": [{"action": "cuont"}]}, registry)
        Traceback (most recent call last):
            ...
        dagflow_nb.errors.ValidationError: step 1: there is no action 'cuont': did you mean 'count'?
        """
        from .steps import read_plan

        return read_plan(given, registry, nodes)

    @staticmethod
    def json_schema(registry: Any = None) -> dict[str, Any]:
        """The JSON schema of what `from_json` reads, for a language model that is to answer in that form.

        `registry`: an `ActionRegistry` or `flow.tools`, of whose actions the names and inputs are told, too;
        without it actions and inputs are open.
        """
        from .plan_schema import plan_schema

        return plan_schema(registry)

    def to_json(self, indent: int | None = 2) -> str:
        """The text that `from_json` reads; `ValidationError` names what has no JSON form."""
        from .steps import write_plan

        return write_plan(self, indent)

    @property
    def steps(self) -> Mapping[str, NodeDef]:
        """The steps by id, in the order in which they were added."""
        return self._workflow.nodes

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """The functions that came along with steps, by the names of their actions."""
        return self._workflow.functions

    def with_steps(self, steps: Iterable[NodeDef]) -> Plan:
        """The same plan with these steps in place of its own, which have the same ids."""
        plan = Plan.of_parts(steps, self._unnamed)
        plan._workflow.functions.update(self._workflow.functions)
        plan._workflow.workflows.update(self._workflow.workflows)
        plan.estimate, plan.problem = self.estimate, self.problem
        return plan

    def __len__(self) -> int:
        return len(self._workflow.nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._workflow.nodes)

    def __contains__(self, id: object) -> bool:
        return id in self._workflow.nodes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return self._workflow == other._workflow and self.problem == other.problem

    __hash__ = object.__hash__

    def __reduce__(self) -> Any:
        return _rebuild, (*self.parts(), self._workflow.functions, self.estimate)

    def __repr__(self) -> str:
        if self.problem is not None:
            return f"<Plan that cannot be read any more: {self.problem}>"
        told = f" ({self.estimate})" if self.estimate is not None else ""
        return f"<Plan: {', '.join(self.steps) or 'no steps'}{told}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from html import escape

        from ..notebook.picture import workflow_picture  # drawing comes in only where something is shown

        text = repr(self)
        if not self:
            return {"text/plain": text}
        about = f"<div>{escape(str(self.estimate))}</div>" if self.estimate is not None else ""
        html = about + workflow_picture(self._workflow).to_html()
        return {"text/html": html, "text/plain": text}

    # --- for a run --------------------------------------------------------------------------------

    def command_in(self, nodes: Container[str], root: str | None = None) -> AddNodes:
        """The command that adds the steps to a run of these nodes: all of them or none.

        What nobody chose of their ids is left to be settled when they are added. `root`: the node that the
        first steps come after in any case; then all ids that are taken are replaced.
        """

        if self.problem is not None:
            raise ValidationError(f"this plan cannot be read any more: {self.problem}", culprit="plan")

        def bound(ref: Ref) -> Ref:
            with suppress(ValidationError):  # whoever adds it says what there is
                ref = ref.bind(_Both(self.steps, nodes))
            return ref

        free = {id: self.steps[id].action for id in self._unnamed}
        if root is not None:
            free = {id: free.get(id, id) for id in self.steps}
        return AddNodes([self._spec(step, bound, root) for step in self.steps.values()], free=free)

    def _spec(self, step: NodeDef, bound: Callable[[Ref], Ref], root: str | None) -> NodeSpec:
        functions, workflows = self._workflow.functions, self._workflow.workflows
        inner = step.kind == "workflow" or step.result is not None
        after: tuple[str, ...] | None = after_of(step)
        if not any(dep in self.steps for dep in step.deps):
            after = (root, *(after or ())) if root is not None else after or None
        return NodeSpec(
            (workflows if inner else functions).get(step.action, step.action),
            step.id,
            after,
            map_refs(dict(step.inputs), bound),
            step.timeout,
            step.try_count,
            step.when,
            ask=step.ask,
            tags=step.tags,
            on_failure=step.on_failure,
            failure=functions.get(step.failure, step.failure) if step.failure is not None else None,
            cache=step.cache,
            executor=step.executor,
            over=map_refs(step.over, bound),
            limit=step.limit,
            replaces=step.replaces,
        )


class _Both:
    """The ids of a plan and of its run, as what references may name."""

    def __init__(self, ids: Container[str], nodes: Container[str]) -> None:
        self._ids, self._nodes = ids, nodes

    def __contains__(self, id: object) -> bool:
        return id in self._ids or id in self._nodes


def after_of(step: NodeDef) -> tuple[str, ...]:
    """What a step was said to come after: those of its dependencies that its references do not bring."""
    brought = [ref.target for ref in iter_refs([dict(step.inputs), step.over]) if ref.target != "inputs"]
    for n in range(len(step.deps)):
        said = step.deps[:n]
        if (*said, *(id for id in dict.fromkeys(brought) if id not in said and id in step.deps)) == step.deps:
            return said
    return step.deps


def _rebuild(steps: Any, unnamed: Any, functions: Mapping[str, Any], estimate: Estimate | None) -> Plan:
    plan = Plan.of_parts(steps, unnamed)
    plan._workflow.functions.update(functions)
    plan.estimate = estimate
    return plan
