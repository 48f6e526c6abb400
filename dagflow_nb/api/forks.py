"""Forks: a new run that begins as a copy of an old one."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ..config import DagConfig
from ..runtime.engine import Engine
from ..runtime.forking import Wanted, fork
from ..runtime.keying import Refresh, check_refresh, names_to_refresh
from ..runtime.session import Session
from .controls import check_view
from .run import Run

if TYPE_CHECKING:
    from .flow import DagFlow


class Forks:
    """The part of `DagFlow` that forks runs."""

    _session: Session
    _engine: Engine

    def fork(
        self,
        run: Run | str | None = None,
        *,
        at: Any = None,
        node: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
        config: DagConfig | Mapping[str, Any] | None = None,
        view: bool | str = "auto",
        executor: Any = None,
        refresh: Any = False,
        raise_on_failure: bool = True,
    ) -> Run:
        """Make a new run from an old one, which is left as it is, and wait until it has ended or is paused.

        `run`: as in `get`. The new run has all of the old one but what is asked to be different, and goes on
        from there:

        - `at`: an event, its row of `run.events()` or its number (`seq`): nothing after it has happened; what
          was under way begins anew. An input of the engine that brought several events counts whole.
        - `node`: this node, and all that comes after it, has not run. Itself it runs even if its result is
          known; others with `cache=` only where `refresh` names them.
        - `inputs`: the run's inputs by name; what refers to one that differs has not run, nor what follows.
        - `outputs`: node id -> name -> value: the node is `recovered` with these in place of its own
          (others are kept), what comes after it has not run, and hooks are asked about it anew.
        - nothing: what failed or was cancelled runs again, as `flow.resume` would have it in the old run.

        Kept nodes keep their states, times and values (which are shared, not run again); `parent_run_id`
        names the old run. It may lie in the database, be paused, or be under way, also elsewhere; the
        actions to run must be defined, the workflow need not be loaded. `view`, `config`, `executor`,
        `refresh` and `raise_on_failure` as in `run`. Raises `ValidationError` for an event, input or output
        that is not there, `NodeNotFound`, and `InvalidState` for a node in a cancelled branch.

        >>> from dagflow_nb import DagFlow
        >>> with DagFlow(":memory:") as flow:
        ...     @flow.action
        ...     def rows(n):
        ...         return list(range(n))
        ...     @flow.action
        ...     def total(rows):
        ...         return sum(rows)
        ...     @flow.workflow
        ...     def sums(n=3):
        ...         return total(rows(n))
        ...     run = flow.run("sums", view=False)
        ...     other = flow.fork(run, outputs={"rows": {"result": [5, 5]}}, view=False)
        ...     run.result, other.result, other.outputs["rows"]["result"]
        (3, 10, [5, 5])
        """
        check_view(view)
        flow = cast("DagFlow", self)
        again = names_to_refresh(refresh)
        wanted = Wanted(at, node, inputs, outputs)
        old = flow.get(run)
        self._check_refresh(old, again)
        found = self._fork(old, wanted, config=config, executor=executor, refresh=again)
        found._raise = raise_on_failure
        return flow._block(flow._keep(found), view)

    def _check_refresh(self, run: Run, names: Refresh) -> None:
        """Of a run that there is: `names` are those of its nodes, or of actions."""
        if names:
            specs = [node.spec for node in list(run._scheduler.nodes.values())]
            check_refresh(names, specs, self._session.registry, grows=bool(self._session.hooks))

    def _fork(self, run: Run, wanted: Wanted, *, refresh: Refresh = frozenset(), **settings: Any) -> Run:
        """Make the new run, and let it go on."""
        if isinstance(wanted.node, str):
            refresh |= {glob.escape(wanted.node), f"{glob.escape(wanted.node)}/*"}
        flow = cast("DagFlow", self)
        DagConfig.of(settings.get("config"))
        making = fork(self._session, run.run_id, wanted, settings.get("executor"), check=flow._need_planners)
        run_id, then = self._engine.call(making)
        made = Run(flow, run_id)
        if then is not None:
            flow._reopen(made, lambda loaded: then, in_view=False, refresh=refresh, **settings)
        flow._runs[run_id] = made
        return made
