"""The guide's old-style actions: `async fn(executor, node, cache)`, which change the graph themselves.

Kept so that such code can be moved over step by step; new code returns its results and lets hooks decide.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .actions import NodeAction, NodeCtx
from .cache import Cache
from .core import messages as m
from .core.model import NodeOutput, NodeSpec
from .errors import (
    DependencyNotFound,
    NodeAlreadyExists,
    NodeNotFound,
    ValidationError,
)

if TYPE_CHECKING:
    from .executor import DagExecutor

OldAction = Callable[[Any, Any, Any], Awaitable[Any]]


class OldNode:
    """The node as an old-style action sees it: `id`, `action`, `inputs`."""

    def __init__(self, ctx: NodeCtx) -> None:
        self.id = self.node_id = ctx.node_id
        self.action = ctx.action
        self.dag_name = ctx.dag_name
        self.inputs: dict[str, Any] = dict(ctx.inputs)


class OldCache(Cache):
    """A writable cache: what is inserted under the node's own id is its output."""

    def __init__(self, ctx: NodeCtx) -> None:
        super().__init__()
        self._below = ctx.cache

    def get(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value under `key` in `namespace`: written here, or of the run."""
        missing = object()
        found = super().get(namespace, key, missing)
        return self._below.get(namespace, key, default) if found is missing else found


class Proxy:
    """Stands in for the executor: each call is checked at once and applied when the node completes."""

    def __init__(self, executor: DagExecutor, ctx: NodeCtx, graph: Any) -> None:
        self._executor, self._ctx, self._graph = executor, ctx, graph
        self._new: dict[str, NodeSpec] = {}
        self.commands: list[Any] = []

    def add_node(self, dag_name: str, node_id: str, action: str, deps: Iterable[str] = ()) -> None:
        """Add a node; raises `NodeAlreadyExists`, `DependencyNotFound` or `ActionNotFound`."""
        self._check_dag(dag_name)
        needed = (deps,) if isinstance(deps, str) else tuple(deps)
        if node_id in self._graph or node_id in self._new:
            raise NodeAlreadyExists(node_id)
        for dep in needed:
            if dep not in self._graph and dep not in self._new:
                raise DependencyNotFound(node_id, dep, [*self._graph.nodes, *self._new])
        self._executor.registry.need(action, node_id)
        spec = NodeSpec(action, id=node_id, deps=needed)
        self._new[node_id] = spec
        self.commands.append(m.AddNode(spec))

    def _check_dag(self, dag_name: str) -> None:
        if dag_name != self._ctx.dag_name:
            raise ValidationError(
                f"this run is of {self._ctx.dag_name!r}: nodes cannot be added to {dag_name!r}", culprit=dag_name
            )

    def enable_nodes(self, ids: Iterable[str] | str) -> None:
        """Undo `disable_nodes`."""
        self.commands.append(m.EnableNodes(self._known(ids)))

    def disable_nodes(self, ids: Iterable[str] | str) -> None:
        """Skip these nodes when their turn comes."""
        self.commands.append(m.DisableNodes(self._known(ids)))

    def _known(self, ids: Iterable[str] | str) -> list[str]:
        wanted = [ids] if isinstance(ids, str) else list(ids)
        for id in wanted:
            if id not in self._graph and id not in self._new:
                raise NodeNotFound(id, [*self._graph.nodes, *self._new])
        return wanted

    def set_paused(self, paused: bool = True) -> None:
        """Pause what comes after this node, or let it go on."""
        id = self._ctx.node_id
        self.commands.append(m.PauseBranch(id, "paused by its action") if paused else m.ResumeBranch(id))


class OldStyleAction(NodeAction):
    """An old-style function as an action."""

    def __init__(self, executor: DagExecutor, name: str, fn: OldAction) -> None:
        self.name = name  # type: ignore[misc]  # a plain attribute may stand for the property
        self._executor, self._fn = executor, fn

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Call the function; what it asked for is applied when its node has completed."""
        live = self._executor._session.live[ctx.run_id]
        cache = OldCache(ctx)
        failed = ctx.inputs.get("node_id") if ctx.node_id.endswith(".on_failure") else None
        node = OldNode(ctx)
        if isinstance(failed, str):
            # a failure handler is called as the node that failed, and finds its error in the cache
            node.id = node.node_id = failed
            node.inputs = dict(ctx.inputs.get("inputs") or {})
            cache.insert(failed, "error", ctx.inputs.get("error"))
        proxy = Proxy(self._executor, ctx, live.growth.view)
        returned = await self._fn(proxy, node, cache)
        written = cache.as_dict()
        outputs: dict[str, Any] = dict(written.get(node.id, {}))
        if isinstance(returned, NodeOutput):
            return returned
        if isinstance(returned, Mapping):
            outputs.update(returned)
        for namespace, values in written.items():
            if namespace != node.id:
                live.write_values(namespace, values)
        if proxy.commands:
            live.asking.after(ctx.node_id, proxy.commands)
        return NodeOutput.ok(outputs)


def register_action(executor: DagExecutor, name: str, fn: OldAction) -> None:
    """Register an old-style `async fn(executor, node, cache)` under `name`; warns that it is old.

    `executor` is a proxy there: `add_node`, `enable_nodes`, `disable_nodes` and `set_paused` are checked
    at once, applied when the node completes, and dropped if the attempt fails. What is inserted into the
    cache under the node's id is its output. A failure handler finds `cache[node.id]["error"]`.
    """
    warnings.warn(
        f"register_action({name!r}): actions that change the graph themselves are of the old style; "
        f"return results from an action and grow the graph in a hook",
        DeprecationWarning,
        stacklevel=2,
    )
    executor.registry.register(OldStyleAction(executor, name, fn))
