"""What a run shows of itself: frames, pictures, text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.graph import last_of
from ..errors import ValidationError
from ..people.answers import need_node
from ..runtime.snapshot import Snapshot
from ..runtime.values import Values

if TYPE_CHECKING:
    import pandas as pd

    from ..core.model import RunStatus
    from ..history import History
    from ..notebook.picture import Picture
    from .comparing import Side
    from .flow import DagFlow
    from .run import Run


class Frames:
    """The frames that a run has of itself, and a flow of all its runs.

    `since` is a datetime, ISO text, a timedelta or `"7d"`; texts may have `*`, or be lists of texts. An
    unknown filter is a `ValidationError` that names the nearest one.
    """

    if TYPE_CHECKING:

        @property
        def _history(self) -> History: ...

    def nodes(self, **filters: Any) -> pd.DataFrame:
        """A row a node.

        Filters: `node_id`, `action`, `status`, `kind`, `dag_name`, `run_id`, `since`, `limit`.
        """
        return self._history.nodes(**filters)

    def attempts(self, **filters: Any) -> pd.DataFrame:
        """A row an attempt.

        Filters: `node_id`, `action`, `status`, `dag_name`, `run_id`, `since`, `limit`.
        """
        return self._history.attempts(**filters)

    def events(self, **filters: Any) -> pd.DataFrame:
        """A row an event.

        Filters: `node_id`, `kind`, `status` (of the run), `dag_name`, `run_id`, `since`, `limit`.
        """
        return self._history.events(**filters)

    def cache(self, **filters: Any) -> pd.DataFrame:
        """A row a value: inputs, outputs, human input.

        Filters: `namespace`, `key`, `status` (of the run), `dag_name`, `run_id`, `since`, `limit`.
        """
        return self._history.cache(**filters)


class Looking(Frames):
    """The part of `Run` that looks: nothing here changes the run."""

    run_id: str
    _flow: DagFlow

    if TYPE_CHECKING:

        @property
        def status(self) -> RunStatus: ...
        def _state(self) -> tuple[Any, Values, dict[str, Any]]: ...
        def snapshot(self) -> Snapshot: ...

    @property
    def _history(self) -> History:
        return self._flow._history_of(self.run_id)

    def logs(self, node: str | None = None, **filters: Any) -> pd.DataFrame:
        """What actions and hooks printed and logged, a row a line; `node`: of one (also with `*`)."""
        if node is None:
            return self._history.logs(**filters)
        found = self._history.logs(**{"node_id": node, **filters})
        if found.empty and isinstance(node, str) and not set(node) & {"*", "?"}:
            need_node(self._state()[0].nodes, node)
        return found

    def metrics(self, by: str | None = None) -> pd.DataFrame:
        """How the run went, in one row; with `by="action"` or `by="node"` a row an action or node.

        Of what ran in this run (not of what a fork has kept), times in seconds: `duration`; `active_seconds`
        in which at least one attempt was under way, `idle_seconds` in which none was (pauses, delays);
        `busy_seconds`: all attempts' times together; `parallelism`: busy / active, how many were under way
        on average, `most_at_once`, and `parallel_efficiency`: the one by the other, at most 1;
        `critical_path`: the ids of the chain of nodes that made the run as long as it was, which took
        `critical_seconds`; `waited`: for a free slot, all nodes together; `median_duration`, `p95_duration`
        of nodes, `slowest_node`. Counts: `nodes` in all, `runs` (nodes that ran), `failures`,
        `failures_by_type` (exception -> attempts), `retries`, `cache_hits`, and `cache_hit_rate` (hits /
        cacheable nodes, 0.0 without any); `tokens`, `cost`. `by`: the columns of `flow.metrics()`.
        """
        from ..history.metrics import run_metrics

        if by is not None:
            return self._history.metrics(by)
        attempts = self._history.attempt_times()
        return run_metrics(self._state()[0], str(self.status), attempts)

    def table(self, node: str) -> pd.DataFrame:
        """A map's varied inputs, its items' outputs, `status` and `error`, a row an item."""
        import pandas as pd

        scheduler, values, _ = self._state()
        group = need_node(scheduler.nodes, node)
        if group.spec.kind != "map":
            raise ValidationError(
                f"node {node!r} is no map: run.outputs[{node!r}] has its outputs", culprit=node
            )
        rows = []
        columns: dict[str, None] = {}  # an item that failed has no outputs: the others name them
        varied = values.combinations(group) if group.children else []
        for id, inputs in zip(group.children, varied, strict=False):
            item = last_of(scheduler.nodes[id], scheduler.nodes)
            outputs = dict(item.outcome.outputs) if item.outcome is not None else {}
            own = {"status": str(item.status), "error": item.error, "node_id": id}
            told = inputs | {f"{k}_out" if k in inputs or k in own else k: v for k, v in outputs.items()}
            columns |= dict.fromkeys(told)
            rows.append({**told, **own})
        return pd.DataFrame(rows, columns=list(columns | dict.fromkeys(("status", "error", "node_id"))))

    def diff(self, other: Any, *, time: float | None = None) -> pd.DataFrame:
        """How this run and `other` (a run, its id, a workflow's name) differ: a row for each difference.

        `old` is of the run that was made first, whichever of the two this one is, `new` of the other.
        `what` is `graph` (`key`: `node`, `action` or `dependencies`), `inputs` (`key`: the input's name;
        those of the run itself have `node_id` "inputs"), `code`, `outputs` (`key`: the output's name),
        `status` (or the `error`), `usage` (`tokens`, `cost`), and with `time=SECONDS` also `time`, for nodes
        that took so much longer or shorter. `old`, `new`: short values as they are, others in words;
        `detail`: how they differ, for frames which columns, rows and cells. Values are compared by their
        stored content first, and decoded only where that differs; what could not be stored by its type, and
        by `==` where the type has its own. Equal runs give no row. Runs of different workflows raise
        `ValidationError`.
        """
        from .comparing import alike, diff

        old, new = self._older_first(other)
        sides, history = (old._side(), new._side()), self._flow._history
        equal = history.equal_values(old.run_id, new.run_id)
        equal |= alike(*sides, history.unstored_values(old.run_id, new.run_id))
        return diff(*sides, equal, changes=self._flow._code_changes, time=time)

    def _side(self) -> Side:
        from .comparing import Side

        scheduler, values, _ = self._state()
        made = self._flow._maker_of(self.run_id)
        return Side(scheduler, values, lambda node: made(node).code if node.attempt else None)

    def _older_first(self, other: Any) -> tuple[Run, Run]:
        """This run and another one of its workflow, the one that was made first in front."""
        mine, other = cast("Run", self), self._flow.get(other)
        names = mine.dag_name, other.dag_name
        if names[0] != names[1]:
            raise ValidationError(
                f"run {mine.run_id!r} is one of {names[0]!r} and run {other.run_id!r} one of {names[1]!r}: "
                f"only runs of the same workflow are compared (flow.runs(dag_name={names[0]!r}) lists them)",
                culprit=other.run_id,
            )
        rows = [self._flow._run_row(run.run_id) or {} for run in (mine, other)]
        if rows[1].get("created_at", 0.0) < rows[0].get("created_at", 0.0):
            return other, mine
        return mine, other

    def lineage(self, node: str, *, down: bool | None = None) -> pd.DataFrame:
        """What a value was made of, or with `down` what became of it: a row a step, nearest first.

        `node`: a node's id, one of its outputs (`"clean.rows"`), or an input of the run (`"inputs.source"`).
        From a node the way is up, to the values, code and runs that made it; from an input it is down, to
        all that it reached; `down` says otherwise. `depth` 0 is what was asked for. `node_id`, `key`: the
        value that was found (`inputs` and `human_input` stand for no node); `relation` to the node `via`
        which it was found: `input` (`as_input`: under which name), `item` of a map, `result` of a
        sub-workflow, `answer` of a person, `after` (order only), `added by` (growth), `recovered by`.
        `action`, `status`; `run_id`: the run that made it, which is another one where a fork kept it;
        `made_at`; `code`: the fingerprint of the action's code, where it is known; `value`, if it is
        short, and `size_bytes` (without `key`: what the node returned as a whole).
        Raises `NodeNotFound` or `ValidationError` for what is not there.
        """
        from .lineage import lineage

        scheduler, values, _ = self._state()
        table = self._history.cache(values=False)
        kept = zip(table["namespace"], table["key"], table["size_bytes"], table["updated_at"], strict=True)
        stored = {(ns, key): (int(size), at.timestamp()) for ns, key, size, at in kept}
        return lineage(node, scheduler, values.inputs, stored, self._flow._maker_of(self.run_id), down=down)

    def graph(self, other: Any = None) -> Picture:
        """The picture of the run's graph as it stands; with `other` (a run) how the two differ: `diff`."""
        from ..notebook.picture import diff_picture, snapshot_picture
        from .comparing import words

        if other is None:
            return snapshot_picture(self.snapshot())
        old, new = self._older_first(other)
        return diff_picture(old.snapshot(), new.snapshot(), words(self.diff(other)))

    def dot(self) -> str:
        """The graph in Graphviz's language."""
        return self.graph().source

    def timeline(self) -> Picture:
        """The attempts over time."""
        from ..notebook.timeline import timeline_picture

        found: list[dict[Any, Any]] = self.attempts().to_dict("records")
        rows = [
            (
                str(row["node_id"]),
                int(row["attempt"]),
                str(row["status"]),
                row["started_at"].timestamp(),
                row["finished_at"].timestamp() if row["finished_at"] == row["finished_at"] else None,
            )
            for row in found
        ]
        return timeline_picture(rows)

    def to_fixture(self, path: str | Path) -> Path:
        """Write what came from outside into this run as a JSON file, for `dagflow_nb.testing.replay`.

        That is how attempts ended (results, failures, usage, what they emitted), and what people answered
        and decided; with it the plan: the nodes, edges and inputs that hooks and planner made of it. Types
        are kept, secrets left out. Of a node that ran several times the last result has its outputs.
        Returns the path. Raises `InvalidState` for a fork that was given outputs from outside.
        """
        from ..replay.fixtures import FORMAT, Recorder, plain, plan_of, write

        codec = self._flow._session.codec
        recorder = Recorder(codec)
        loaded = self._flow._replayed(self.run_id, recorder.watch)
        nodes = loaded.scheduler.nodes
        config = recorder.config.settings() if recorder.config is not None else {}
        return write(
            path,
            {
                "format": FORMAT,
                "workflow": loaded.scheduler.dag_name,
                "status": str(self.status),
                "config": plain(codec, config),
                "inputs": {name: plain(codec, value) for name, value in loaded.inputs.items()},
                "plan": plan_of(codec, nodes.values()),
                "steps": recorder.with_outputs(nodes),
            },
        )

    def to_yaml(self) -> str:
        """The grown graph as a static workflow, in YAML; the run's inputs are the defaults of its inputs.

        An input that YAML cannot say (a DataFrame, a secret) has no default there: it is given again.
        """
        return self._flow._grown_yaml(cast("Run", self))

    def view(self) -> Run:
        """The live view again, in this cell."""
        return self._flow._show(cast("Run", self), True)
