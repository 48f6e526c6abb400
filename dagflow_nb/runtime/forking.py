"""A new run from an old one: the journal up to an event, or all of it but some nodes and what they reach.

Rules kept here: the old run is only read; the new one is stored in one piece, as one that is to be taken
up, before anything of it runs; a value that stands for a node's later attempt is never taken for that of
an earlier one: such a node runs again.
"""

from __future__ import annotations

import asyncio
import operator
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..codec import dump_event, dump_input
from ..core import messages as m
from ..core.graph import Node
from ..core.model import SUCCESS_STATES, RunStatus, iter_refs
from ..core.rerun import reached
from ..core.scheduler import Scheduler
from ..core.state import OVER
from ..errors import DagNotFound, InvalidState, NodeNotFound, ValidationError, did_you_mean, shorten
from ..store import Copy, StoredRun, Unit
from . import prepare
from .hiding import hide_secrets
from .recovery import Loaded, replay
from .rows import node_row, run_row

if TYPE_CHECKING:
    from .session import Session

Check = Callable[[Any, Iterable[m.Input], Iterable[Node]], None]
TRIES = 5  # times that a run which goes on elsewhere is looked at anew before the fork is given up


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be different, as the caller said it."""

    at: Any = None
    node: Any = None
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Mapping[str, Any]] | None = None


async def fork(
    session: Session, run_id: str, wanted: Wanted, executor: Any = None, *, check: Check
) -> tuple[str, list[m.Input] | None]:
    """Store the new run; returns its id, and what it goes on with (None: there is nothing to run).

    `check(scheduler, inputs, anew)` raises where something is missing to go on so, with these nodes anew.
    Raises `ValidationError`, `NodeNotFound`, `ActionNotFound` or `InvalidState` before anything is stored.
    """
    store = await session.open()
    for _ in range(TRIES):
        stored = await store.load(run_id)
        if stored is None:
            raise DagNotFound(run_id, store.match_run_ids(""), what="run")
        made = await asyncio.to_thread(_Fork, session, stored, wanted, executor, check)
        if await store.copy_run(made.copy):
            for namespace, key in made.copy.values:
                if (run_id, namespace, key) in session.memory:
                    session.memory[made.run_id, namespace, key] = session.memory[run_id, namespace, key]
            return made.run_id, made.then
    raise InvalidState(f"run {run_id!r} goes on too fast to be forked: pause it first", culprit=run_id)


class _Fork:
    """One fork, worked out and not yet stored."""

    def __init__(
        self, session: Session, stored: StoredRun, wanted: Wanted, executor: Any, check: Check
    ) -> None:
        self.session, self.source = session, stored.row["run_id"]
        self.run_id, self.now = uuid.uuid4().hex[:12], session.clock.now()
        full = replay(stored, session.codec, session.recall)
        at = None if wanted.at is None else _event_number(wanted.at, full)
        early = full if at is None else replay(stored, session.codec, session.recall, until=at)
        self.full, self.loaded, self.s = full, early, early.scheduler
        inputs = self._changed_inputs(wanted.inputs)
        outputs = self._changed_outputs(wanted.outputs)
        targets = self._named(wanted.node)
        if self.s.status is not RunStatus.PENDING:
            targets += self._reached_by(inputs)
        if at is not None:
            targets += _overwritten(self.s, full.scheduler)
        nodes = tuple(id for id in dict.fromkeys(targets) if id not in outputs)
        all_ = list(full.scheduler.nodes.values())
        seen, before = self.s.seq, {id: _course(node) for id, node in self.s.nodes.items()}
        unit = self._become(early.taken, nodes, outputs)
        without = {
            id
            for id, course in before.items()
            if id not in self.s.nodes or _course(self.s.nodes[id]) != course
        }
        self.then = self._then(as_it_is=all(getattr(wanted, f.name) is None for f in fields(wanted)))
        self._check_actions(executor)
        check(self.s, self.then or (), [n for n in all_ if n.id in without or n.id not in self.s.nodes])
        values = self._values(without, inputs)
        for namespace, given in {"inputs": inputs, **outputs}.items():
            unit.artifacts += session.encoded(self.run_id, namespace, given)
        unit.nodes = {id: node_row(node) for id, node in self.s.nodes.items()}
        self.copy = Copy(
            source=self.source,
            row=self._row(stored.row, {**early.inputs, **inputs}, seen),
            journal=early.taken,
            events=seen,
            read=full.taken,
            unit=unit,
            without=without,
            attempts={id: node.attempt for id, node in self.s.nodes.items()},
            kept=self._kept(without),
            values=values,
        )

    # --- what is to change --------------------------------------------------------------------

    def _named(self, node: Any) -> list[str]:
        if node is None:
            return []
        if not isinstance(node, str):
            raise ValidationError(f"node is a node's id, not {shorten(node)}", culprit="node", value=node)
        if node not in self.s.nodes:
            raise NodeNotFound(node, self.s.nodes)
        return [node]

    def _changed_inputs(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The run's inputs that are given and differ in content from what the run had."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise ValidationError(
                f"inputs are a mapping of names to values, not {shorten(given)}", culprit="inputs"
            )
        known = prepare.input_names(self.full)
        for name in given:
            if name not in known:
                raise ValidationError(
                    f"run {self.source!r} has no input {name!r}: {did_you_mean(str(name), known)}",
                    culprit=name,
                )
        changed = {k: v for k, v in given.items() if not self._is_same(self.loaded.inputs, k, v)}
        specs = [node.spec for node in self.full.scheduler.nodes.values()]
        return hide_secrets(specs, self.session.actions(), changed)[1]

    def _changed_outputs(self, given: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
        """All outputs of each node of which some are given: those, and what it had of the others."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise ValidationError(
                f"outputs map node ids to their outputs by name, unlike {shorten(given)}", culprit="outputs"
            )
        found = {}
        for id, new in given.items():
            if id not in self.s.nodes:
                raise NodeNotFound(str(id), self.s.nodes)
            node = self.s.nodes[id]
            if not isinstance(new, Mapping) or not all(isinstance(key, str) for key in new):
                raise ValidationError(
                    f"the outputs of node {id!r} are a mapping of names to values, such as "
                    f"outputs={{{id!r}: {{'result': ...}}}}, not {shorten(new)}",
                    culprit=id,
                )
            latest = self.full.scheduler.nodes.get(id)
            outcome = latest.outcome if latest is not None else None
            had = outcome.outputs if outcome is not None else {}
            known = {*had, *(node.spec.outputs or ())}
            if latest is None or latest.ended != node.ended:
                had = {}  # these are of another time
            for key in new:
                if known and key not in known:
                    raise ValidationError(
                        f"node {id!r} has no output {key!r}: {did_you_mean(key, known)}", culprit=key
                    )
            self._check_storable(id, new)
            changed = {k: v for k, v in new.items() if not self._is_same(had, k, v)}
            if changed or node.outcome is None:
                found[id] = {**{key: had[key] for key in had if key not in new}, **new}
        return found

    def _check_storable(self, id: str, outputs: Mapping[str, Any]) -> None:
        """A given output that is lost with this process would be replaced by what the node's action gives."""
        for key, value in outputs.items():
            encoded = self.session.codec.encode(value)
            if encoded.codec == "memory":
                raise ValidationError(
                    f"the output {key!r} given to node {id!r} cannot be stored ({encoded.reason}): "
                    f"give one that can be, or fork with node={id!r} so that it runs again",
                    culprit=key,
                )

    def _is_same(self, had: Mapping[str, Any], key: str, value: Any) -> bool:
        return prepare.is_same(self.session.codec, had, key, value)

    def _reached_by(self, inputs: Mapping[str, Any]) -> list[str]:
        """Nodes that refer to one of these inputs of the run."""
        return [
            node.id
            for node in self.s.nodes.values()
            if not node.cut
            and any(
                r.target == "inputs" and (not r.path or str(r.path[0]) in inputs)
                for r in (_refs(node) if inputs else ())
            )
        ]

    # --- the new run --------------------------------------------------------------------------

    def _become(self, taken: int, nodes: tuple[str, ...], outputs: Mapping[str, Any]) -> Unit:
        """Bring the scheduler into the state in which the new run begins."""
        unit, s, codec = Unit(self.run_id), self.s, self.session.codec
        s.run_id = self.run_id
        if s.status is RunStatus.PENDING:
            if nodes or outputs:
                text = f"run {self.source!r} has not begun: start another one with the inputs it should have"
                raise InvalidState(text, culprit=self.source)
            return unit
        hooks = list(self.session.hooks)
        s.listens = lambda event: any(hook.matches(event, s.dag_name) for hook in hooks)
        message = m.Forked(self.now, nodes, outputs)
        for effect in s.handle(message):
            if isinstance(effect, m.Event):
                event: Any = effect
                about = getattr(event, "node", None)
                id = about.node_id if about is not None else getattr(event, "branch_id", None)
                unit.events.append((event.seq, event.at, type(event).__name__, id, dump_event(codec, event)))
        asked = ",".join(map(str, s.asked)) or None
        unit.journal.append((taken + 1, self.now, "Forked", dump_input(codec, message), asked))
        return unit

    def _check_actions(self, executor: Any) -> None:
        """What is still to run is defined, and there is where it runs."""
        session = self.session
        actions = session.actions()
        nodes = [n for n in self.s.nodes.values() if not n.final]
        for given in self.then or ():
            nodes += reached(self.s, given) if isinstance(given, m.RetryNodes) else ()
        still = [node.spec for node in nodes]
        prepare.check_actions(still, actions)
        settings = prepare.settings_with(actions, session.executor_name(executor))
        prepare.check_executors(still, settings, session.executors)

    def _kept(self, without: set[str]) -> list[str]:
        """Nodes whose stored results are those that they have in the new run."""
        latest = self.full.scheduler.nodes
        ended = [node for node in self.s.nodes.values() if node.ended and node.id not in without]
        return [node.id for node in ended if latest[node.id].ended == node.ended]

    def _values(self, without: set[str], inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The stored values that the new run shares with the old one."""
        s, latest = self.s, self.full.scheduler.nodes
        found = []
        for namespace, values in self.full.namespaces.items():
            node = s.nodes.get(namespace)
            if namespace in without:
                continue
            if namespace in latest and (node is None or node.ended != latest[namespace].ended):
                continue  # of a node that ran later, or again
            for key in values:
                if namespace == "inputs" and key in inputs:
                    continue
                if namespace == "human_input" and key not in s.human:
                    continue
                found.append((namespace, key))
        return found

    def _row(self, old: Mapping[str, Any], inputs: Mapping[str, Any], seen: int) -> dict[str, Any]:
        codec = self.session.codec
        kept = ("dag_name", "config", "settings", "code", "version")
        return {
            "run_id": self.run_id,
            "created_at": self.now,
            **{column: old[column] for column in kept},
            **run_row(self.s, None),
            "attempts": sum(node.attempt for node in self.s.nodes.values() if not node.is_group),
            "inputs": codec.dumps(self.session.in_short(inputs)),
            "parent_run_id": self.source,
            "extra": codec.dumps({**self.loaded.extra, "forked": {"run_id": self.source, "seq": seen}}),
        }

    def _then(self, as_it_is: bool) -> list[m.Input] | None:
        """What the new run goes on with; a copy of a run that failed or was cancelled tries again."""
        status, pauses = self.s.status, self.s.pauses.values()
        if status not in OVER and status is not RunStatus.PAUSED:
            return [m.Tick(self.now)]
        by_failure = status is RunStatus.PAUSED and all(pause.kind == "failure" for pause in pauses)
        mends = as_it_is and status is not RunStatus.COMPLETED and (status in OVER or by_failure)
        return [m.RetryNodes(self.now)] if mends else None


def _event_number(at: Any, full: Loaded) -> int:
    """The event that is meant: its number, the event itself, or its row of `run.events()`."""
    last, run_id = full.scheduler.seq, full.scheduler.run_id
    try:
        number = operator.index(getattr(at, "seq", at))
    except (TypeError, ValueError):  # a list or an array has no one number
        number = None
    if number is None or isinstance(at, bool):
        raise ValidationError(
            f"at is the number of an event (the column seq of run.events()), not {shorten(at)}",
            culprit="at",
            value=at,
        )
    if not 1 <= number <= last:
        there = f"its events have the numbers 1 to {last}" if last else "it has none yet"
        raise ValidationError(
            f"run {run_id!r} has no event {number}: {there} (run.events() lists them)",
            culprit="at",
            value=number,
        )
    return number


def _overwritten(early: Scheduler, latest: Scheduler) -> list[str]:
    """Nodes that had ended well by then, and whose outputs have been replaced or dropped since."""
    return [
        node.id
        for node in early.nodes.values()
        if node.status in SUCCESS_STATES
        and not node.is_group
        and not node.cut
        and (node.id not in latest.nodes or latest.nodes[node.id].ended != node.ended)
    ]


def _course(node: Node) -> tuple[int, int, float | None]:
    return node.ended, node.attempt, node.started_at


def _refs(node: Node) -> Iterable[Any]:
    for value in (node.spec.inputs, node.spec.over):
        yield from iter_refs(value)
