"""The guide's old-style actions: `async fn(executor, node, cache)`, which change the graph themselves.

Kept so that such code can be moved over step by step; new code returns its results and lets hooks decide.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..actions import NodeAction, NodeCtx
from ..cache import Cache, Namespace
from ..core import messages as m
from ..core.model import NodeOutput, NodeSpec, node_id_problem
from ..errors import (
    DependencyNotFound,
    InvalidState,
    NodeAlreadyExists,
    NodeNotFound,
    ValidationError,
    shorten,
)
from ..runtime.asking import with_wishes

if TYPE_CHECKING:
    from ..runtime.coordinator import RunCoordinator
    from .executor import DagExecutor

OldAction = Callable[[Any, Any, Any], Awaitable[Any]]
# who drives the run that an action belongs to: a registry may be shared by several executors
DRIVER: ContextVar[DagExecutor] = ContextVar("dagflow_nb.driver")
_MISSING: Any = object()


class OldNode:
    """The node as an old-style action sees it: `id`, `action`, `dag_name`, `inputs`, `dependencies`.

    A failure handler sees the node that failed.
    """

    def __init__(self, id: str, action: str, dag_name: str, inputs: Mapping[str, Any], graph: Any) -> None:
        self.id = self.node_id = id
        self.action, self.dag_name = action, dag_name
        self.inputs: dict[str, Any] = dict(inputs)
        self.dependencies: list[str] = graph.dependencies(id) if id in graph else []

    def __repr__(self) -> str:
        return f"<node {self.id!r} of {self.dag_name!r}>"


class OldCache(Cache):
    """A writable cache: what is inserted under the node's own id is its output.

    `get` finds what was inserted here, then what the run has; `as_dict`, `keys`, ... tell of the former only.
    """

    def __init__(self, below: Any, more: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        self._below, self._more = below, more

    def get(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value under `key` in `namespace`: written here, or of the run."""
        found = super().get(namespace, key, _MISSING)
        if found is _MISSING:
            found = self._more.get(namespace, {}).get(key, _MISSING)
        return self._below.get(namespace, key, default) if found is _MISSING else found

    def __getitem__(self, namespace: str) -> Mapping[str, Any]:
        """A namespace, to be read by its keys: what was written here, or what the run has."""
        return Namespace(self, namespace)

    def __reduce__(self) -> Any:
        return Cache, (self.as_dict(),)


class Proxy:
    """Stands in for the executor: each call is checked at once and applied when the node completes."""

    def __init__(self, executor: DagExecutor, ctx: NodeCtx, graph: Any) -> None:
        self._executor, self._ctx, self._graph = executor, ctx, graph
        self._new: dict[str, NodeSpec] = {}
        self.commands: list[Any] = []
        self.pauses = False

    def add_node(self, dag_name: str, node_id: str, action: str, deps: Iterable[str] = ()) -> None:
        """Add a node; raises `NodeAlreadyExists`, `DependencyNotFound`, `ActionNotFound` or `ValidationError`
        (no id, or another workflow)."""
        if dag_name != self._ctx.dag_name:
            raise ValidationError(
                f"this run is of {self._ctx.dag_name!r}: nodes cannot be added to {shorten(dag_name)}",
                culprit=dag_name,
            )
        if problem := node_id_problem(node_id):
            raise ValidationError(problem, culprit=node_id)
        needed = (deps,) if isinstance(deps, str) else tuple(dict.fromkeys(deps))
        if self._knows(node_id):
            raise NodeAlreadyExists(node_id)
        for dep in needed:
            if not self._knows(dep):
                raise DependencyNotFound(node_id, dep, [*self._graph.nodes, *self._new])
        self._executor.registry.need(action, node_id)
        self._new[node_id] = spec = NodeSpec(action, id=node_id, deps=needed)
        self.commands.append(m.AddNode(spec))

    def enable_nodes(self, ids: Iterable[str] | str) -> None:
        """Undo `disable_nodes`; raises `NodeNotFound`, or `InvalidState` for a node that has started."""
        self.commands.append(m.EnableNodes(self._waiting(ids, "enabled")))

    def disable_nodes(self, ids: Iterable[str] | str) -> None:
        """Skip these nodes when their turn comes; raises `NodeNotFound`, or `InvalidState` for one that has
        started."""
        self.commands.append(m.DisableNodes(self._waiting(ids, "disabled")))

    def set_paused(self, paused: bool = True) -> None:
        """Pause the run once this node has completed; False takes that back."""
        self.pauses = bool(paused)

    def _knows(self, id: Any) -> bool:
        return isinstance(id, str) and (id in self._new or id in self._graph)

    def _waiting(self, ids: Iterable[str] | str, verb: str) -> list[str]:
        wanted = [ids] if isinstance(ids, str) else list(ids)
        for id in wanted:
            if not self._knows(id):
                raise NodeNotFound(id, [*self._graph.nodes, *self._new])
            if id in self._graph and (status := self._graph.status(id)) not in ("pending", "paused"):
                raise InvalidState(f"node {id!r} is {status}: it can no longer be {verb}", culprit=id)
        return wanted

    def __repr__(self) -> str:
        return f"<executor of node {self._ctx.node_id!r}: {len(self.commands)} commands so far>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"an old-style action's executor has add_node, enable_nodes, disable_nodes and set_paused, "
            f"not {name!r}: return results from the action, and let a hook do the rest"
        )


class OldStyleAction(NodeAction):
    """An old-style function as an action."""

    def __init__(self, name: str, fn: OldAction) -> None:
        self.name = name  # type: ignore[misc]  # a plain attribute may stand for the property
        self._fn = fn

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Call the function; what it asked for is applied when its node has completed."""
        executor, run = self._run_of(ctx)
        graph = run.growth.view
        failed = ctx.inputs.get("node_id") if ctx.node_id.endswith(".on_failure") else None
        if isinstance(failed, str):
            # a failure handler is called as the node that failed, and finds its error in the cache
            action = run.scheduler.nodes[failed].spec.action
            node = OldNode(failed, action, ctx.dag_name, ctx.inputs.get("inputs") or {}, graph)
            cache = OldCache(ctx.cache, {failed: {"error": ctx.inputs.get("error")}})
        else:
            node = OldNode(ctx.node_id, ctx.action, ctx.dag_name, ctx.inputs, graph)
            cache = OldCache(ctx.cache, {})
        proxy = Proxy(executor, ctx, graph)
        returned = self._fn(proxy, node, cache)
        if inspect.isawaitable(returned):
            returned = await returned
        if isinstance(returned, NodeOutput) and not returned.success:
            return returned
        written = cache.as_dict()
        outputs = written.pop(ctx.node_id, {})
        if node.id != ctx.node_id:
            outputs = {**written.get(node.id, {}), **outputs}
        outcome = _outcome(outputs, returned)
        for namespace, values in written.items():
            run.outputs.write(namespace, values)
        return with_wishes(outcome, ctx.node_id, proxy.commands, proxy.pauses)

    def _run_of(self, ctx: NodeCtx) -> tuple[DagExecutor, RunCoordinator]:
        executor = DRIVER.get(None)
        run = executor._session.live.get(ctx.run_id) if executor is not None else None
        if executor is None or run is None:
            raise InvalidState(
                f"action {self.name!r} is of the old style: such actions run with a DagExecutor only, "
                f"elsewhere write it as `async def {self.name}(...)` that returns its results",
                culprit=self.name,
            )
        return executor, run


def _outcome(outputs: Mapping[str, Any], returned: Any) -> NodeOutput:
    if isinstance(returned, NodeOutput):
        return NodeOutput.ok(
            {**outputs, **returned.outputs}, metadata=returned.metadata, recovered=returned.recovered
        )
    if returned is None:
        return NodeOutput.ok(outputs)
    return NodeOutput.ok({**outputs, **(returned if isinstance(returned, Mapping) else {"result": returned})})


def register_action(executor: DagExecutor, name: str, fn: OldAction) -> None:
    """Register an old-style `async fn(executor, node, cache)` under `name`; warns that it is old.

    `executor` is a proxy there: `add_node`, `enable_nodes`, `disable_nodes` and `set_paused` are checked
    at once, applied when the node completes, and dropped if the attempt fails. `node` has `id`, `action`
    and `inputs`. What is inserted into `cache` under the node's id is its output, other namespaces are
    there for the nodes that come later. A failure handler gets the node that failed, and finds
    `cache[node.id]["error"]`. Raises `ValidationError` for what is no `async def`.

    >>> import asyncio
    >>> from dagflow_nb import DagExecutor
    >>> async def greet(executor, node, cache):
    ...     cache.insert(node.id, "text", "hello")
    >>> async def main():
    ...     async with DagExecutor() as executor:
    ...         with warnings.catch_warnings(action="ignore"):
    ...             register_action(executor, "greet", greet)
    ...         executor.load_yaml_string("{name: hello, nodes: [{id: a, action: greet}]}")
    ...         await executor.execute_static_dag("hello", cache := Cache())
    ...         return cache.get("a", "text")
    >>> asyncio.run(main())
    'hello'
    """
    if not callable(fn) or (inspect.isfunction(fn) and not inspect.iscoroutinefunction(fn)):
        raise ValidationError(
            f"an old-style action is an `async def fn(executor, node, cache)`, not {shorten(fn)}; "
            f"register other functions with the registry",
            culprit=name,
        )
    warnings.warn(
        f"register_action({name!r}): actions that change the graph themselves are of the old style; "
        f"return results from an action and grow the graph in a hook",
        DeprecationWarning,
        stacklevel=2,
    )
    executor.registry.register(OldStyleAction(name, fn))
