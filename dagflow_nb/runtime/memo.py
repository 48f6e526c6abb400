"""Memoisation in one run: the key of an attempt, what is known under it, and what is kept.

Rules kept here: the key is made of the code and the content of the inputs as they are now; what cannot be
read by content makes a node run, and is said; only results of attempts that ended well are kept, together
with their values in one transaction; a result that was found starts no attempt. Nodes without `cache=`
never come here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..actions import CachePolicy, NodeAction
from ..codec import Codec, MissingValue
from ..core import messages as m
from ..core.graph import Node, seen_by
from ..core.judging import is_cacheable
from ..core.model import EMPTY, NodeOutput, Ref, map_refs
from ..fingerprint import NotCacheable, code_of, content, files_in, is_big
from ..store import INLINE, Unit
from .attempts import Result, Talk
from .keying import Key, Refresh, make_key, policy_of
from .known import Found, Known, Results, landing
from .rows import STEP
from .values import MissingReference
from .workers import cancelled

if TYPE_CHECKING:
    from .coordinator import RunCoordinator

T = TypeVar("T")
SLOW = 0.002  # seconds from which on the code of an action is read in a thread


class Memo:
    """What one run knows already. `refresh`: globs of ids and action names that run all the same."""

    def __init__(self, run: RunCoordinator, results: Results, refresh: Refresh = frozenset()) -> None:
        self._run, self.results, self.refresh = run, results, refresh

    def handles(self, node: Node, settings: m.ActionSettings | None) -> bool:
        """Whether a node's result may be known."""
        cache = node.spec.cache
        if cache is None:
            return settings is not None and settings.cached
        return is_cacheable(cache, m.ActionSettings())

    # --- before an attempt --------------------------------------------------------------------

    def begin(self, own: Talk, node: Node, action: NodeAction) -> None:
        """An attempt is to start: its result is found, waited for, or it runs."""
        policy = policy_of(node.spec, action)
        if not policy.on:
            self._start(own, node, action, None)
            return
        known = {} if policy.key is not None else self._digests(node)
        if outputs := self._must_load(node, known):
            again = partial(self.begin, own, node, action)
            self._after(own, lambda: asyncio.to_thread(_load, outputs), lambda _: again())
            return
        try:
            values = self._values(node, action, known)
        except Exception:  # the attempt says what is wrong with them
            self._start(own, node, action, None)
            return
        make = partial(self._key, node.id, action, policy, values, known)
        go_on = partial(self._go_on, own, node, action, policy)
        if action.name in self.results.quick and not is_big(values):
            go_on(make())
        else:
            self._after(own, lambda: asyncio.to_thread(make), go_on)

    def _after(self, own: Talk, wait: Callable[[], Awaitable[T]], then: Callable[[T], None]) -> None:
        """Wait for what takes its time, and go on with what it gives if the attempt is still under way."""

        async def wait_and_go_on() -> None:
            found = await wait()
            if not own.cancelled and self._run.workers.is_under_way(own):
                then(found)

        def waited(task: asyncio.Task[None]) -> None:
            if task.cancelled() and not own.cancelled:
                self._run.workers.end_later(own, cancelled(asyncio.CancelledError(), None))

        own.task = self._run.loop.create_task(wait_and_go_on())
        own.task.add_done_callback(waited)

    def _key(
        self,
        node_id: str,
        action: NodeAction,
        policy: CachePolicy,
        values: dict[str, Any],
        known: dict[str, str],
    ) -> Key:
        begun = time.perf_counter()
        code = code_of(action)
        if time.perf_counter() - begun < SLOW:
            self.results.quick.add(action.name)
        else:
            self.results.quick.discard(action.name)
        return make_key(action, policy, values, known, node_id, code)

    def _go_on(self, own: Talk, node: Node, action: NodeAction, policy: CachePolicy, key: Key) -> None:
        """The key is there: is there a result under it?"""
        if key.text is None:
            self._tell(own, action, key.reason or "")
            self._start(own, node, action, key)
            return
        if node.told or self._is_refreshed(node):
            self._start(own, node, action, key)
            return
        known = self.results.find(key.text, policy.ttl)
        if known is not None:
            self._hit(own, node, key, known)
            return
        if key.code is not None and key.code.digest not in self.results.unstorable:
            flight = self.results.take_off(key.text)
            if flight is not None:
                go_on = partial(self._go_on, own, node, action, policy, key)
                self._after(own, lambda: landing(flight), lambda _: go_on())
                return
            key.flying = key.text
        self._start(own, node, action, key)

    def _is_refreshed(self, node: Node) -> bool:
        names = (node.id, node.spec.action)
        return any(fnmatchcase(name, pattern) for pattern in self.refresh for name in names)

    def _start(self, own: Talk, node: Node, action: NodeAction, key: Key | None) -> None:
        """It has to run."""
        own.key, own.task, own.recorded = key, None, False
        if not node.told:
            self._run.post(m.AttemptStarted(node.id, own.attempt, self._run.clock.now()))
        self._run.workers.launch(own, node, action)

    def _hit(self, own: Talk, node: Node, key: Key, known: Known) -> None:
        run = self._run
        outputs = Found(known, run.codec, run.store.blob)
        outcome = replace(known.outcome, outputs=outputs)
        key.known, own.key = known, key
        if outputs.big and self._is_read_elsewhere(node):
            self._after(own, lambda: asyncio.to_thread(outputs.load), lambda _: self._end(own, outcome))
        else:
            self._end(own, outcome)

    def _end(self, own: Talk, outcome: NodeOutput) -> None:
        own.result = Result(outcome, None, None)
        self._run.post(m.AttemptEnded(own.node_id, own.attempt, self._run.clock.now(), outcome, cached=True))

    # --- inputs -------------------------------------------------------------------------------

    def _digests(self, node: Node) -> dict[str, str]:
        """Inputs that are outputs of known results, which nobody has looked at: their digests are known."""
        found = {}
        for name, value in node.spec.inputs.items():
            if type(value) is Ref and len(value.path) <= 1:
                other = self._run.scheduler.nodes.get(value.target)
                outcome = (
                    seen_by(node, other, self._run.scheduler.nodes).outcome if other is not None else None
                )
                if outcome is None or not isinstance(outcome.outputs, Found):
                    continue
                alone = "result" if outcome.returned == "value" else None
                digest = outcome.outputs.digest(value.path[0] if value.path else alone)
                if digest is not None:
                    found[name] = digest
        return found

    def _must_load(self, node: Node, known: Mapping[str, str]) -> list[Found]:
        """Known results in the database that the inputs, but those in `known`, are made of."""
        found: dict[int, Found] = {}
        nodes = self._run.scheduler.nodes
        for dep in node.spec.deps:
            outcome = nodes[dep].outcome if dep in nodes else None
            if outcome is not None and isinstance(outcome.outputs, Found) and outcome.outputs.big:
                found[id(outcome.outputs)] = outcome.outputs
        return list(found.values()) if found and len(known) < len(node.spec.inputs) else []

    def _values(self, node: Node, action: NodeAction, known: Mapping[str, str]) -> dict[str, Any]:
        """The inputs as values, without those in `known`."""
        spec = node.spec
        if not known or spec.item is not None or node.human is not None or node.answered:
            return self._run.workers.inputs_of(node, action)
        lookup = partial(self._run.values.lookup, asker=node)
        try:
            values = {k: map_refs(v, lookup) for k, v in spec.inputs.items() if k not in known}
        except MissingReference:
            values = self._run.workers.inputs_of(node, action)
        if any(type(value) is MissingValue for value in values.values()):
            return self._run.workers.inputs_of(node, action)
        return {k: v for k, v in values.items() if k not in known}

    def _is_read_elsewhere(self, node: Node) -> bool:
        """Whether a node without `cache=` waits for this one: it would read its outputs on the loop."""
        scheduler = self._run.scheduler
        others = [scheduler.nodes[id] for id in node.dependants if id in scheduler.nodes]
        return any(not self.handles(o, scheduler.settings.get(o.spec.action)) for o in others if not o.final)

    # --- after an attempt ---------------------------------------------------------------------

    def read(self, own: Talk, result: Result) -> None:
        """The digests of big outputs, for those who depend on them, and the files that outputs name.

        Where the attempt ran.
        """
        outcome = result.outcome
        if own.key is None or own.key.text is None or outcome is None or not outcome.success:
            return
        big = {row[1] for row in result.rows or () if len(row) > 3 and row[4] > INLINE}
        for name, value in outcome.outputs.items():
            digest, moment = None, True
            if name in big:
                with suppress(NotCacheable):
                    digest, moment, _ = content(value)
            own.key.digests[name] = (files_in(value) or None) if moment else digest

    def record(self, message: m.AttemptEnded, own: Talk, unit: Unit) -> None:
        """The end of an attempt is taken: what is known from now on goes to the store with it."""
        key, outcome = own.key, message.outcome
        if key is None:
            return
        id = own.node_id
        known = key.known
        if known is not None and message.cached:
            self._record_hit(id, key, known, unit)
        elif outcome is not None and outcome.success and not outcome.recovered:
            known = self._keep(id, key, outcome, own, unit)
        else:
            known = None
        self.drop(own, known)

    def _keep(self, id: str, key: Key, outcome: NodeOutput, own: Talk, unit: Unit) -> Known | None:
        run, at = self._run, self._run.clock.now()
        rows = own.result.rows if own.result is not None and own.result.rows else []
        unstorable = [(row[1], row[5]) for row in rows if len(row) > 3 and row[2] == "memory"]
        if unstorable and key.text is not None and key.code is not None:
            self.results.unstorable.add(key.code.digest)
            name, why = unstorable[0]
            key.text, key.reason = None, f"output {name!r} cannot be stored: {why}"
            node = run.scheduler.nodes.get(id)
            if node is not None and self.results.say(node.spec.action, key.reason):
                unit.logs.append((id, own.attempt, at, "WARNING", "log", f"not cacheable: {key.reason}"))
        bare = replace(outcome, outputs=EMPTY)
        texts = (_outcome_text(run.codec, bare), json.dumps(key.digests))
        self._write(id, key, at if key.text is not None else None, texts, unit)
        if key.text is None:
            return None
        scalars = rows[0][1] if rows and len(rows[0]) == 3 else {}
        kept = {row[1]: (row[2], row[3], row[4]) for row in rows if len(row) > 3}
        known = Known(run.run_id, id, at, bare, key.digests, kept, scalars, texts)
        self.results.keep(key.text, known)
        return known

    def _record_hit(self, id: str, key: Key, known: Known, unit: Unit) -> None:
        at = self._run.clock.now()
        if known.scalars:
            unit.artifacts.append((id, dict(known.scalars), at))
        for k, (kind, data, size) in known.rows.items():
            unit.artifacts.append((id, k, kind, data, size, None, at))
            at += STEP
        self._write(id, key, known.made_at, known.texts, unit)

    def _write(self, id: str, key: Key, made_at: float | None, texts: tuple[str, str], unit: Unit) -> None:
        code = key.code
        if code is not None:
            unit.codes += self.results.new_codes((code,))
        digest = code.digest if code is not None else None
        unit.memo.append((id, made_at, key.text, digest, key.reason, *texts, json.dumps(key.inputs)))

    def drop(self, own: Talk, known: Known | None = None) -> None:
        """An attempt is over, or given up: who waits for its key is told."""
        key = own.key
        if key is not None and key.flying is not None:
            text, key.flying = key.flying, None
            self.results.land(text, known)

    def _tell(self, own: Talk, action: NodeAction, reason: str) -> None:
        if self.results.say(action.name, reason):
            own.logged("WARNING", f"not cacheable: {reason}")


def _outcome_text(codec: Codec, outcome: NodeOutput) -> str:
    if outcome.metadata or outcome.error is not None:
        return codec.dumps(outcome)
    return _plain_text(codec, outcome.returned)


@lru_cache(maxsize=16)
def _plain_text(codec: Codec, returned: str) -> str:
    return codec.dumps(NodeOutput(returned=returned))


def _load(outputs: Iterable[Found]) -> None:
    for found in outputs:
        found.load()
