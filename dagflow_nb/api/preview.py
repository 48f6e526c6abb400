"""`flow.preview`: what a run would do, node by node, and why; nothing runs.

Rules kept here: what would be found is found here by the same key; what cannot be known before something
has run is said to depend on it; a value is read, never made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from ..actions import LateAction, NodeAction, prepared
from ..core.graph import Node
from ..core.model import NodeDef, NodeOutput, NodeStatus, When, iter_refs
from ..errors import ActionNotFound, DagError
from ..fingerprint import Code, NotCacheable, Part, code_of, content, differences
from ..runtime import prepare
from ..runtime.hiding import hide_secrets
from ..runtime.keying import Key, make_key, policy_of
from ..runtime.known import EVER, Found, Known
from ..runtime.session import Session
from ..runtime.values import Values
from ..store import Store, read
from ..workflow.flatten import flatten, instantiate
from ..workflow.naming import REQUIRED

if TYPE_CHECKING:
    import sqlite3

    import pandas as pd

COLUMNS = ("node_id", "will_run", "reason", "detail")
Row = tuple[bool, str, str]
_NEVER = "it has not run in this workflow yet"
_TOLD = 5  # differences that are named


class Preview:
    """The nodes of a workflow as they stand before a run with these inputs: `rows` by node id."""

    def __init__(
        self,
        session: Session,
        connection: sqlite3.Connection,
        name: str,
        specs: tuple[NodeDef, ...],
        inputs: Mapping[str, Any],
        latest: str | None,
    ) -> None:
        self._session, self._connection, self._latest = session, connection, latest
        self.nodes = {spec.id: Node(spec, name, i) for i, spec in enumerate(specs)}
        self._values = Values(self.nodes, inputs, hides=True)
        self._inputs = inputs
        self._codes: dict[str, Code] = {}
        self._with_results: dict[str, bool] = {}
        self._old = read.memo_rows(connection, latest) if latest is not None else {}
        row = read.run_row(connection, latest, session.clock.now()) if latest is not None else None
        self._old_codes: dict[str, str] = json.loads((row or {}).get("code") or "{}")
        self._old_states = {r["node_id"]: r["status"] for r in read.node_rows(connection, latest or "")}
        self.rows: dict[str, Row] = {}
        self._varied: dict[str, list[str]] = {}  # map -> what the values of its items come from
        self._skipped: dict[str, str] = {}  # node -> why it will not have its turn
        self._adopt(self.nodes.values())
        for id in self._order(self.nodes):
            self._look(self.nodes[id])

    def _adopt(self, nodes: Iterable[Node]) -> None:
        found: dict[str, list[str]] = {}
        for node in nodes:
            if node.spec.parent in self.nodes:
                found.setdefault(node.spec.parent, []).append(node.id)
        for id, children in found.items():
            self.nodes[id].children = [*self.nodes[id].children, *children]

    def _order(self, nodes: Mapping[str, Node]) -> list[str]:
        """Dependencies first, and groups after what is in them."""
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for id, node in nodes.items():
            sorter.add(id, *(dep for dep in node.spec.deps if dep in nodes))
            parent = node.spec.parent
            while parent is not None and parent in nodes:
                sorter.add(parent, id)
                sorter.add(id, *(dep for dep in nodes[parent].spec.deps if dep in nodes))
                parent = nodes[parent].spec.parent
        return list(sorter.static_order())

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, in the order of the nodes."""
        import pandas as pd

        found = [(id, *self.rows[id]) for id in self.nodes]
        return pd.DataFrame.from_records(found, columns=list(COLUMNS)).astype({"will_run": bool})

    # --- nodes --------------------------------------------------------------------------------

    def _look(self, node: Node) -> None:
        spec = node.spec
        if (why := self._is_skipped(node)) is not None:
            self._skipped[spec.id] = why
            self.rows[spec.id] = (False, "upstream runs", why)
        elif spec.kind == "map":
            self._look_at_map(node)
        elif spec.kind == "workflow":
            self._close(node, [self.nodes[id] for id in node.children])
        else:
            self.rows[spec.id] = self._of_branch(node) if spec.kind == "branch" else self._of_action(node)

    def _is_skipped(self, node: Node) -> str | None:
        """Why a node will not have its turn, if everything goes well; None if it will."""
        spec = node.spec
        if spec.id in self._skipped:
            return self._skipped[spec.id]
        if spec.when is When.ANY_FAILED and spec.deps:
            return "only if one of its dependencies fails"
        if spec.when is When.ALL_SUCCESS:
            return next((f"{dep!r} is skipped" for dep in spec.deps if dep in self._skipped), None)
        return None

    def _of_branch(self, node: Node) -> Row:
        """A condition that is known decides here, too."""
        running = self._running(node)
        if running:
            return True, "upstream runs", _listed(running)
        try:
            taken = bool(self._values.for_action(node, self._values.resolve(node))["condition"])
        except DagError as bad:
            return True, "not cacheable", str(bad)
        node.outcome = NodeOutput({"result": taken}, returned="value")
        for id in node.spec.over.get("otherwise" if taken else "then", ()):
            self._skipped[id] = f"{node.id!r} takes the other way"
        return True, "not cacheable", f"a branch decides anew: {taken}"

    def _of_action(self, node: Node) -> Row:
        spec = node.spec
        if (missing := self._missing(node)) is not None:
            return missing
        action = self._action(spec.action)
        assert action is not None
        running = self._running(node)
        policy = policy_of(spec, action)
        if running and policy.on and self._may_be_known(action):
            return True, "upstream runs", _listed(running)
        if running or not policy.on:
            return self._runs(node, action, running)
        if spec.ask is not None or action.settings.ask is not None:
            return True, "not cacheable", "a person is asked first"
        try:
            values = self._values.resolve(node, action.default_of)
        except DagError as bad:
            return True, "not cacheable", str(bad)
        key = make_key(action, policy, values, node_id=spec.id)
        if key.text is None:
            return True, "not cacheable", key.reason or ""
        ttl, now = policy.ttl, self._session.clock.now()
        found = read.find_memo(self._connection, key.text, EVER if ttl is None else now - ttl)
        known = self._session.results.known(*found) if found is not None else None
        if known is None:
            return self._why(node, key, ttl)
        if (fault := known.fault()) is not None:
            return True, "expired", fault
        node.outcome = replace(known.outcome, outputs=self._outputs(known))
        node.status = NodeStatus.CACHED
        return False, "cached", f"computed {_ago(now - known.made_at)} ago by run {known.run_id}"

    def _missing(self, node: Node) -> Row | None:
        """What is said of a node whose action is not there, or one that this needs; None if all are."""
        name, registry = node.spec.action, self._session.registry
        action = self._action(name)
        needed = (name,) if action is None else prepare.needed_by(action)
        lacking = [name for name in needed if name not in registry]
        return (
            (False, "action not found", str(ActionNotFound(lacking[0], registry, node.id)))
            if lacking
            else None
        )

    def _action(self, name: str) -> Any:
        found: NodeAction | None = self._session.registry.get(name)
        return None if found is None else prepared(found)

    def _outputs(self, known: Known) -> Found:
        store = self._session.store
        assert store is not None
        return Found(known, self._session.codec, store.blob)

    def _running(self, node: Node) -> list[str]:
        """The nodes whose outputs a node needs and that will run first."""
        spec = node.spec
        needed = [ref.target for ref in iter_refs(spec.inputs)]
        of_items = spec.parent if spec.item is not None else spec.id
        if of_items is not None:  # looked at once, not for each item
            if of_items not in self._varied:
                over = self.nodes[of_items].spec.over
                self._varied[of_items] = list(dict.fromkeys(ref.target for ref in iter_refs(over)))
            needed += self._varied[of_items]
        found: dict[str, None] = {}
        for target in needed:
            if target.endswith("/inputs") and target[: -len("/inputs")] in self.nodes:
                found.update(dict.fromkeys(self._running(self.nodes[target[: -len("/inputs")]])))
            elif target in self.nodes and self.nodes[target].outcome is None:
                found[target] = None
        return list(found)

    def _runs(self, node: Node, action: NodeAction, running: list[str]) -> Row:
        """A node that runs in any case: without `cache=`, or after others. Why, as far as that is known."""
        id = node.id
        if id not in self._old_states:
            return True, "new", _NEVER
        old = self._old_codes.get(node.spec.action)
        # the code of what is looked for at a run's start is not known before
        late = isinstance(self._session.registry.get(node.spec.action), LateAction)
        if old is not None and not late and old != (new := self._code(action)).digest:
            return True, "code changed", self._changes(old, new)
        changed = [text for name in self._run_inputs(node) if (text := self._input_changed(name))]
        if changed:
            return True, "input changed", "; ".join(changed)
        if running:
            return True, "upstream runs", _listed(running)
        return True, "not cacheable", "it has no cache=: it runs each time"

    def _may_be_known(self, action: NodeAction) -> bool:
        """Whether there are results of this code: one of them may fit what runs before gives."""
        if action.name not in self._with_results:
            known = read.has_results(self._connection, code_of(action).digest)
            self._with_results[action.name] = known
        return self._with_results[action.name]

    def _why(self, node: Node, key: Key, ttl: float | None) -> Row:
        """Why no result is known under a key: compared with the latest run."""
        assert key.text is not None and key.code is not None
        made_at = read.newest_memo(self._connection, key.text)
        if made_at is not None and ttl is not None:
            age = self._session.clock.now() - made_at
            if age >= ttl:
                return True, "expired", f"computed {_ago(age)} ago, kept for {_ago(ttl)}"
        old = self._old.get(node.id)
        if old is None:
            ran = node.id in self._old_states
            what = f"in run {self._latest} it was {self._old_states[node.id]}" if ran else _NEVER
            return True, "new", what
        details = []
        if old["code"] != key.code.digest:
            details.append(self._changes(old["code"], key.code))
        inputs: dict[str, Any] = json.loads(old["inputs"] or "{}")
        for name in sorted({*inputs, *key.inputs}):
            text = _difference(name, inputs.get(name), key.inputs.get(name))
            if text:
                details.append(text)
        if details:
            reason = "code changed" if old["code"] != key.code.digest else "input changed"
            return True, reason, "; ".join(details)
        why = old["reason"] or "its result is not there any more"
        return True, "new", f"in run {self._latest}: {why}"

    # --- groups -------------------------------------------------------------------------------

    def _look_at_map(self, node: Node) -> None:
        action = self._action(node.spec.action) if node.spec.result is None else None
        if node.spec.result is None and (missing := self._missing(node)) is not None:
            self.rows[node.id] = missing
            return
        running = self._running(node)
        if running:
            new = node.id not in self._old_states
            row = (True, "new", _NEVER) if new else (True, "upstream runs", _listed(running))
            self.rows[node.id] = row if action is None else self._runs(node, action, running)
            return
        try:
            count = len(self._values.combinations(node))
        except DagError as bad:
            self.rows[node.id] = (True, "not cacheable", str(bad))
            return
        specs = [spec for index in range(count) for spec in instantiate(node.spec, index)]
        children = {s.id: Node(s, node.ref.dag_name, len(self.nodes) + i) for i, s in enumerate(specs)}
        self.nodes |= children
        self._adopt(children.values())
        for id in self._order(children):
            self._look(children[id])
        self._close(node, [self.nodes[id] for id in node.children])

    def _close(self, node: Node, children: list[Node]) -> None:
        """A group runs if one of its children does; else what they give is known."""
        rows = [self.rows[child.id] for child in children]
        running = sum(will_run for will_run, _, _ in rows)
        first = next((row for row in rows if row[1] != "cached"), None)
        if first is not None:
            what = "items" if node.spec.kind == "map" else "nodes"
            self.rows[node.id] = (running > 0, first[1], f"{running} of {len(rows)} {what} run")
            return
        with suppress(DagError):
            node.status = NodeStatus.COMPLETED
            node.outcome = self._values.close(node)
        self.rows[node.id] = (False, "cached", f"{len(rows)} known results")

    # --- what has changed ---------------------------------------------------------------------

    def _code(self, action: NodeAction) -> Code:
        if action.name not in self._codes:
            self._codes[action.name] = code_of(action, light=True)
        return self._codes[action.name]

    def _changes(self, old: str | None, new: Code) -> str:
        text = read.code_parts(self._connection, old) if old is not None else None
        if text is None:
            return "its code is another one"
        parts = {label: Part(*part) for label, part in json.loads(text).items()}
        found = differences(parts, new.parts)
        more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        return ", ".join(found[:_TOLD]) + more

    def _run_inputs(self, node: Node) -> list[str]:
        refs = [ref for value in (node.spec.inputs, node.spec.over) for ref in iter_refs(value)]
        return [str(ref.path[0]) for ref in refs if ref.target == "inputs" and ref.path]

    def _input_changed(self, name: str) -> str | None:
        """How a run input differs from the latest run's, in a few words; None if it does not."""
        assert self._latest is not None
        row = read.artifact(self._connection, self._latest, "inputs", name)
        if row is None or row[0] == "memory" or name not in self._inputs:
            return None
        try:
            old, new = content(self._session.codec.decode(row[0], row[1])), content(self._inputs[name])
        except (DagError, NotCacheable):
            return None
        return _difference(name, (old[0], old[2]), (new[0], new[2]))


def marks_of(said: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """How the nodes of a preview look in a picture, and why."""
    found = {}
    for row in said.itertuples():
        will_run, reason = bool(row.will_run), str(row.reason)
        look = "missing" if reason == "action not found" else "run" if will_run else "cached"
        found[str(row.node_id)] = (look if will_run or reason != "upstream runs" else "skipped", reason)
    return found


def _difference(name: str, old: Any, new: Any) -> str | None:
    if old is None or new is None:
        return None if old == new else f"input {name!r} is {'new' if old is None else 'gone'}"
    if old[0] == new[0]:
        return None
    if old[1] is not None and new[1] is not None and old[1] != new[1]:
        return f"input {name!r}: {old[1]} -> {new[1]}"
    return f"input {name!r} changed"


def _listed(ids: list[str]) -> str:
    more = f" and {len(ids) - _TOLD} more" if len(ids) > _TOLD else ""
    return ", ".join(ids[:_TOLD]) + more


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{max(seconds, 0):.3g} s"


def preview_of(session: Session, store: Store, workflow: Any, inputs: Mapping[str, Any] | None) -> Preview:
    """What a run of this workflow with these inputs would do; raises as the run would for wrong inputs.

    An input that is required and not given is that of the latest run.
    """
    found = session.find_workflow(workflow)
    specs = flatten(found, session._finder(found))
    session._take_functions(found)
    latest = store.latest_run_id([found.name])  # brings in what is queued
    with closing(store.connect()) as connection:
        given = dict(inputs or {})
        for name in found.input_names if found.inputs else ():
            if found.inputs.get(name, REQUIRED) is REQUIRED and name not in given and latest is not None:
                row = read.artifact(connection, latest, "inputs", name)
                if row is not None and row[0] != "memory":
                    given[name] = session.codec.decode(row[0], row[1])
        merged = prepare.gather_inputs(found, specs, given, {}, {})
        specs, merged, _ = hide_secrets(specs, session.actions(), merged)
        return Preview(session, connection, found.name, specs, merged, latest)
