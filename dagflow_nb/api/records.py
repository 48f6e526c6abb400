"""What a flow's database has: runs that are found again, and the history as DataFrames."""

from __future__ import annotations

import json
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ..core.graph import Node, seen_by
from ..core.messages import Event, NodeCompleted
from ..core.model import NodeDef, NodeStatus, Ref, map_refs, whole
from ..errors import DagNotFound, ValidationError, shorten
from ..fingerprint import Part, differences
from ..runtime.engine import Engine
from ..runtime.recovery import Loaded, replay
from ..runtime.session import Session
from ..store import Store
from ..workflow.builder import Workflow
from .lineage import Made
from .looking import Frames
from .run import Run

if TYPE_CHECKING:
    import pandas as pd

    from ..history import History
    from ..notebook.picture import Picture
    from .flow import DagFlow

BIG = 5_000_000_000  # bytes of a database from which on a warning is given


class Records(Frames):
    """The part of `DagFlow` that looks: nothing here changes a run."""

    _session: Session
    _engine: Engine
    _runs: weakref.WeakValueDictionary[str, Run]
    _last: Run | None
    _warned: bool

    def get(self, run: Run | str | None = None) -> Run:
        """A run of this database: by id or the beginning of it, by workflow (its latest in the database), or
        None: the latest of this session, also one that has just raised; of a session without, the database's.
        """
        if isinstance(run, Run):
            return run
        if run is None:
            if self._last is not None:
                return self._last
            found = self._store.latest_run_id(None)
            if found is None:
                text = "there is no run in this database yet: flow.run() starts one"
                raise DagNotFound("(the latest)", message=text)
            return self._run_of(found)
        if not isinstance(run, str):
            raise ValidationError(
                f"a run is named by its id, its beginning, or its workflow's name, not by {shorten(run)}",
                culprit="run",
                value=run,
            )
        if run in self._runs:
            return self._runs[run]
        matches = self._store.match_run_ids(run) if run else []
        if len(matches) == 1:
            return self._run_of(matches[0])
        latest = self._store.latest_run_id([run])
        if latest is not None:
            return self._run_of(latest)
        if len(matches) > 1:
            raise ValidationError(
                f"{len(matches)} runs begin with {run!r}: {', '.join(matches[:5])}; write more of the id",
                culprit=run,
            )
        raise DagNotFound(run, [*self._store.match_run_ids("")[:50], *self._session.workflows], what="run")

    def _unfinished(self) -> Run:
        states = ("pending", "running", "paused", "interrupted", "failed", "cancelled")
        names = list(self._session.workflows)
        found = self._store.latest_run_id(names, statuses=states) if names else None
        found = found or self._store.latest_run_id(None, statuses=states)
        if found is None:
            text = "no run is unfinished here: flow.run() starts a new one"
            raise DagNotFound("(the latest unfinished)", message=text)
        return self._run_of(found)

    def _run_of(self, run_id: str) -> Run:
        known = self._runs.get(run_id)
        if known is None:
            known = self._runs[run_id] = Run(cast("DagFlow", self), run_id)
        return known

    def _load(self, run_id: str) -> Loaded:
        return self._engine.call(self._session.load(run_id))

    def _replayed(self, run_id: str, watch: Callable[..., None]) -> Loaded:
        """A stored run, `watch` being told each input of its journal and what came of it."""
        stored = self._engine.call(self._store.load(run_id))
        if stored is None:
            raise DagNotFound(run_id, (), what="run")
        return replay(stored, self._session.codec, self._session.recall, watch=watch)

    def _events_of(self, run_id: str) -> list[Any]:
        """The events of a stored run in order; a node's last end with the outputs that it has."""
        found: list[Any] = []
        loaded = self._replayed(
            run_id, lambda s, message, effects: found.extend(e for e in effects if isinstance(e, Event))
        )
        for i, event in enumerate(found):
            node = loaded.scheduler.nodes.get(event.node.node_id) if type(event) is NodeCompleted else None
            if node is not None and node.ended == event.seq and node.outcome is not None:
                found[i] = replace(event, outcome=node.outcome)
        return found

    def _run_row(self, run_id: str) -> dict[str, Any] | None:
        self._store.sync()
        return self._store.run_row(run_id)

    def _maker_of(self, run_id: str) -> Callable[[Node], Made]:
        """Who made the outputs of a run's nodes, and by which code.

        The run itself, one that it goes back to by forks, or where a result was known, the one that made it.
        """
        chain: list[tuple[str, int, Mapping[str, str]]] = []  # (run, last event taken over, code by action)
        known, found = self._store.memo_rows(run_id), run_id
        while (row := self._run_row(found)) is not None:
            extra = self._session.codec.loads(row["extra"]) if row.get("extra") else {}
            forked = extra.get("forked") or {"run_id": None, "seq": 0}
            chain.append((found, forked["seq"], json.loads(row["code"] or "{}")))
            found = forked["run_id"]
            if found is None:
                break

        def made(node: Node) -> Made:
            memo = known.get(node.id, {})
            here = [(run, code) for run, seq, code in chain if node.ended > seq or not node.ended]
            run, code = here[0] if here else (found or run_id, {})
            if node.status is NodeStatus.CACHED and memo.get("key") is not None:
                run = self._store.memo_maker(memo["key"], memo["made_at"]) or run
            return Made(run, code.get(node.spec.action))

        return made

    def _code_changes(self, old: str, new: str) -> str:
        """What has changed between two versions of an action's code, by their digests."""
        texts = [self._store.code_parts(code) for code in (old, new)]
        if None in texts:
            return ""
        parts = [{k: Part(*part) for k, part in json.loads(text or "{}").items()} for text in texts]
        found = differences(parts[0], parts[1])
        return "; ".join(found)

    def _stored_status(self, run_id: str) -> str | None:
        """The status in the database; `interrupted` where nobody drives what should be under way."""
        row = self._run_row(run_id)
        if row is None:
            return None
        if row["status"] in ("running", "pending") and not row["owner_alive"]:
            return "interrupted"
        return str(row["status"])

    @property
    def _store(self) -> Store:
        store = self._session.store
        if store is None:
            store = self._engine.call(self._session.open())
        if not self._warned and store.size_bytes() > BIG:
            self._warned = True
            warnings.warn(
                f"the database has {store.size_bytes() / 1e9:.1f} GB: flow.delete_runs(older_than='30d') and "
                f"flow.vacuum() make it smaller",
                UserWarning,
                stacklevel=3,
            )
        return store

    @property
    def _history(self) -> History:
        return self._history_of(None)

    def _history_of(self, run_id: str | None) -> History:
        """The frames; with `run_id` of this run alone."""
        from ..history import History

        store, session = self._store, self._session
        return History(
            store.connect, session.codec, sync=store.sync, run_id=run_id, memory_values=session.recall
        )

    def runs(self, **filters: Any) -> pd.DataFrame:
        """A row a run, newest first. Filters: `dag_name`, `status`, `since`, `limit`, `run_id`.

        `duration`: from its start to its end; `unpaused_seconds`: of these, those in which it was neither
        paused nor left, which is what `timeout_seconds` limits. `run.metrics()` says how many of them
        something was under way.
        """
        return self._history.runs(**filters)

    def logs(self, **filters: Any) -> pd.DataFrame:
        """A row a line that actions and hooks printed or logged."""
        return self._history.logs(**filters)

    def metrics(self, by: str = "action", **filters: Any) -> pd.DataFrame:
        """A row an action (`by="node"`: a node's id), over all runs that the filters leave.

        `runs`: how many nodes ran it; `median_duration`, `p95_duration`, `total_duration` in seconds (delays
        before retries counted), `median_waited` for a free slot; `failures`, `failures_by_type`
        (exception -> attempts), `retries`, `cache_hits`, `cache_hit_rate` (hits / hits and runs), `tokens`,
        `cost`. Filters: `dag_name`, `run_id`, `status` (of the runs), `since`, `action`, `node_id`, `limit`
        (the newest nodes only). `run.metrics()` tells of one run.
        """
        return self._history.metrics(by, **filters)

    def storage(self) -> pd.DataFrame:
        """What takes how many bytes in the database."""
        return self._history.storage()

    def sql(self, query: str, params: Any = ()) -> pd.DataFrame:
        """The result of a query; reading only."""
        return self._history.sql(query, params)

    def delete_runs(
        self,
        run: Run | str | None = None,
        *,
        dag_name: str | None = None,
        older_than: Any = None,
        values_only: bool = False,
    ) -> int:
        """Delete runs (`run`, all of a workflow, those older than `"30d"`), or only their values; how many.

        `run`: as in `get`, but not None. With several of these only the runs that all of them name. One that
        is under way is passed over, or `InvalidState` where it is named by `run`. A workflow's name as `run`
        is a `ValidationError` where that has several runs.
        """
        if run is None and dag_name is None and older_than is None:
            raise ValidationError(
                "delete_runs() needs to know which: a run, dag_name= or older_than= (such as '30d')",
                culprit="run",
            )
        ids = self._history.run_ids(dag_name=dag_name, older_than=older_than)
        if run is not None:
            named = self.get(run).run_id
            if isinstance(run, str) and not named.startswith(run):
                self._must_have_one_run(run)
            ids = [named] if named in ids or (dag_name is None and older_than is None) else []
        deleted = self._engine.call(self._store.delete_runs(ids, values_only=values_only))
        for key in [key for key in self._session.memory if key[0] in ids]:
            del self._session.memory[key]
        for id in ids:
            self._session.results.forget(id)
            if not values_only and (gone := self._runs.pop(id, None)) is not None:
                gone._forget()
        if not values_only and self._last is not None and self._last.run_id in ids:
            self._last = None
        return deleted

    def _must_have_one_run(self, dag_name: str) -> None:
        count = len(self.sql("select 1 from runs where dag_name = ?", [dag_name]))
        if count > 1:
            raise ValidationError(
                f"{dag_name!r} is a workflow with {count} runs: say which by a run's id (the index of "
                f"flow.runs(dag_name={dag_name!r})), or delete_runs(dag_name={dag_name!r}) for all of them, "
                f"with older_than='30d' for the old ones",
                culprit="run",
                value=dag_name,
            )

    def vacuum(self) -> None:
        """Give the space of what was deleted back to the file system."""
        self._engine.call(self._store.vacuum())

    def preview(self, workflow: str | Workflow, inputs: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """What a run would do, without running: a row a node, with `node_id, will_run, reason, detail`.

        `reason` is `new`, `code changed` or `input changed` (since the latest run; `detail` says which
        function or input, from what to what), `upstream runs`, `expired` (its time is over, or a file that it
        returned has changed), `cached`, `not cacheable` or `action not found`. What depends on a node that
        will run is said to run, too; it does not where that gives what it gave before. `flow.graph(workflow,
        preview=True)` shows the same in colours. An input that is required and not given is that of the
        latest run. Raises as `run` does.

        >>> from dagflow_nb import DagFlow
        >>> with DagFlow(":memory:") as flow:
        ...     @flow.action(cache=True)
        ...     def double(n: int) -> int:
        ...         return 2 * n
        ...     @flow.workflow
        ...     def calculate(n=4):
        ...         return double(n)
        ...     run = flow.run("calculate", view=False)
        ...     flow.preview("calculate").reason[0]
        ...     flow.preview("calculate", {"n": 5}).detail[0]
        'cached'
        "input 'n': 4 -> 5"
        """
        from .preview import preview_of

        return preview_of(self._session, self._store, workflow, inputs).frame()

    def graph(self, workflow: str | Workflow, preview: Any = None) -> Picture:
        """A workflow's picture; `preview`: True, or what `preview(...)` gave: coloured by what would run."""
        from ..notebook.picture import workflow_picture
        from .preview import marks_of

        found = self._session.find_workflow(workflow)
        said = self.preview(found) if preview is True else preview
        if said is not None and said is not False and not hasattr(said, "itertuples"):
            raise ValidationError(
                f"preview is True, False or what flow.preview(...) gave, not {shorten(said)}",
                culprit="preview",
                value=said,
            )
        return workflow_picture(found, None if said is None or said is False else marks_of(said))

    def _grown_yaml(self, run: Run) -> str:
        from ..workflow.grown import grown_workflow
        from ..workflow.yaml import dump_yaml

        scheduler, values, extra = run._state()
        nodes = dict(scheduler.nodes)
        specs = [_written_out(node, nodes) for node in nodes.values()]
        return dump_yaml(grown_workflow(scheduler.dag_name, specs, extra.get("result"), values.inputs))


def _written_out(node: Node, nodes: Mapping[str, Node]) -> NodeDef:
    """A node with the whole of its inputs; what took the place of what it depends on stands there."""
    spec = replace(node.spec, inputs=whole(node.spec.inputs, nodes))
    if spec.parent is not None:
        return spec
    moved = {dep: seen_by(node, nodes[dep], nodes).id for dep in spec.deps}
    if all(dep == other for dep, other in moved.items()):
        return spec

    def seen(ref: Ref) -> Ref:
        return Ref(moved.get(ref.target, ref.target), ref.path)

    inputs, over = map_refs(dict(spec.inputs), seen), map_refs(spec.over, seen)
    return replace(spec, deps=tuple(moved.values()), inputs=inputs, over=over)
