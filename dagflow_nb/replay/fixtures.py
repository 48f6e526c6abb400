"""A run's external results as a JSON file that people can read and compare: what a replay needs.

External is what comes from outside of hooks and planner: how attempts ended, what they used and emitted,
what people answered and decided. Values keep their types by the codec; secrets are left out.

    {"format": 1, "workflow": "pipeline", "status": "completed", "inputs": {"source": "db"},
     "plan": {"fetch": {"action": "fetch", "after": [], "inputs": {...}, "status": "completed"}, ...},
     "steps": [{"at": 0.01, "node": "fetch", "outputs": {"rows": [1, 2]}},
               {"at": 0.02, "node": "check", "error": "ValueError: no rows", "retryable": true}, ...]}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..codec import Codec
from ..core import messages as m
from ..core.graph import Node
from ..core.model import NodeDef, NodeOutput, map_refs
from ..errors import InvalidState, ValidationError, shorten
from ..files import write_file

FORMAT = 1
# what is written of a node beside its action, dependencies and inputs, where it is set
_DEFAULTS = NodeDef(id="x", action="x")
_SAID = ("id", "action", "deps", "inputs", "parent", "item", "defaults", "description", "instructions")
_SETTINGS = tuple(
    f.name
    for f in fields(NodeDef)
    if f.name
    not in ("id", "action", "deps", "inputs", "parent", "item", "defaults", "description", "instructions")
)
_NESTED = frozenset({dict, list})
_MANY = 100  # items of a list that stand in one line, however long
_OUTCOME = ("metadata", "success", "error", "recovered", "returned")


def plain(codec: Codec, value: Any) -> Any:
    """A value as plain JSON: by the codec, and references as texts."""
    return json.loads(codec.dumps(map_refs(_listed(value), lambda r: {"ref": str(r)})))


def _listed(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def valued(codec: Codec, found: Any) -> Any:
    """The value that `plain` wrote."""
    return codec.loads(json.dumps(found))


def plan_of(codec: Codec, nodes: Iterable[Node]) -> dict[str, Any]:
    """The nodes of a run: what they are, what they come after, what goes into them, how they ended."""
    plan = {}
    for node in nodes:
        spec = node.spec
        told: dict[str, Any] = {"action": spec.action, "after": sorted(spec.deps)}
        told["inputs"] = {name: plain(codec, value) for name, value in spec.inputs.items()}
        for name in _SETTINGS:
            value = getattr(spec, name)
            if value != getattr(_DEFAULTS, name):
                told[name] = plain(codec, value)
        if node.added_by is not None:
            told["added_by"] = node.added_by
        told["status"] = str(node.status)
        plan[spec.id] = told
    return plan


class Recorder:
    """Gathers the steps while a run's journal is replayed: `watch` is told each input and its effects."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.steps: list[dict[str, Any]] = []
        self.begun: float | None = None
        self.config: Any = None
        self._said: dict[str, dict[str, Any]] = {}
        self._asked: dict[int, tuple[str, str | None, int]] = {}

    def watch(self, scheduler: Any, message: Any, effects: Iterable[Any]) -> None:
        """An input of the run, and what came of it."""
        if isinstance(message, m.Begin):
            self.begun, self.config = message.at, message.config
        elif isinstance(message, m.AttemptEnded):
            node = scheduler.nodes.get(message.node_id)
            if node is not None and not node.is_group and node.spec.kind != "branch":
                self._attempt(message)
        elif isinstance(message, m.UsageReported):
            used = self._said.setdefault(message.node_id, {}).setdefault("usage", {"tokens": 0, "cost": 0.0})
            used["tokens"] += message.tokens
            used["cost"] += message.cost
        elif isinstance(message, m.Applied) and message.node_id is not None:
            told = self._said.setdefault(message.node_id, {}).setdefault("emits", [])
            told += [[c.name, plain(self.codec, c.data)] for c in message.commands if type(c) is m.EmitEvent]
        elif isinstance(message, m.Resume):
            step = {"resume": message.branch_id, "answers": plain(self.codec, message.answers)}
            self._add(message.at, step)
        elif isinstance(message, m.Applied | m.PauseRun | m.CancelRun | m.RetryNodes):
            self._add(message.at, {"input": json.loads(self.codec.dumps(message))})
        elif isinstance(message, m.Forked):
            self._forked(scheduler, message)
        elif isinstance(message, m.Answered) and message.seq in self._asked:
            kind, id, steps = self._asked.pop(message.seq)
            if steps < len(self.steps):  # other things happened before: that may matter
                self._add(message.at, {"answered": kind, "of": id})
        elif isinstance(message, m.Tick) and any(not isinstance(effect, m.WakeAt) for effect in effects):
            self._add(message.at, {"tick": True})  # a delay was over, or an attempt had taken too long
        for effect in effects:
            if isinstance(effect, m.AskHooks):
                self._asked[effect.event.seq] = (*asked_about(effect.event), len(self.steps))

    def _add(self, at: float, step: dict[str, Any]) -> None:
        self.steps.append({"at": round(at - (self.begun or at), 6), **step})

    def _attempt(self, message: m.AttemptEnded) -> None:
        step: dict[str, Any] = {"node": message.node_id, **self._said.pop(message.node_id, {})}
        outcome = message.outcome
        if message.cached:
            step["cached"] = True
        if outcome is None:
            step |= {"error": message.error, "retryable": message.retryable}
        else:
            step["outputs"] = {}  # they stand in the database under the node; its last result has them
            for name in _OUTCOME:
                value = getattr(outcome, name)
                if value != getattr(NodeOutput(), name) and (name != "metadata" or value):
                    step[name] = plain(self.codec, value)
        self._add(message.at, step)

    def _forked(self, scheduler: Any, message: m.Forked) -> None:
        if message.outputs:
            names = ", ".join(map(repr, message.outputs))
            raise InvalidState(
                f"run {scheduler.run_id!r} is a fork in which {names} got outputs from outside, which no "
                f"replay has; record the run that it was forked from",
                culprit=scheduler.run_id,
            )
        left_out = {node.id for node in scheduler.nodes.values() if not node.attempt}
        gone = {step["node"] for step in self.steps if "node" in step} - scheduler.nodes.keys()
        self.steps = [step for step in self.steps if step.get("node") not in left_out | gone]

    def with_outputs(self, nodes: Mapping[str, Node]) -> list[dict[str, Any]]:
        """The steps, each node's last result with its outputs."""
        seen: set[str] = set()
        for step in reversed(self.steps):
            id = step.get("node")
            if id is None or "outputs" not in step or id in seen:
                continue
            seen.add(id)
            outcome = nodes[id].outcome if id in nodes else None
            if outcome is not None and not (outcome.recovered and not step.get("recovered")):
                step["outputs"] = {key: plain(self.codec, outcome.outputs[key]) for key in outcome.outputs}
        return self.steps


def asked_about(event: Any) -> tuple[str, str | None]:
    """What hooks are asked about: the kind of event, and the node or branch that it is of."""
    node = getattr(event, "node", None)
    return type(event).__name__, node.node_id if node is not None else getattr(event, "branch_id", None)


def write(path: str | Path, fixture: Mapping[str, Any]) -> Path:
    """Write a fixture: one line for what is short, sorted as it happened, so that two can be compared."""
    if not isinstance(path, str | os.PathLike):
        raise ValidationError(f"a fixture is written to a path, not to {shorten(path)}", culprit=path)
    return write_file(path, _text(dict(fixture)) + "\n")


def _text(value: Any, indent: int = 0) -> str:
    """JSON in which what fits into a line stands in one, and a long list of texts or numbers, too."""
    kind = type(value)
    if kind not in _NESTED or (kind is list and len(value) > _MANY and _NESTED.isdisjoint(map(type, value))):
        return json.dumps(value, ensure_ascii=False)
    if kind is dict:
        items = [f"{json.dumps(k, ensure_ascii=False)}: {_text(v, indent + 2)}" for k, v in value.items()]
    else:
        items = [_text(item, indent + 2) for item in value]
    first, last = "{}" if kind is dict else "[]"
    if sum(map(len, items)) + 2 * max(len(items), 1) + indent <= 100 and not any("\n" in x for x in items):
        return f"{first}{', '.join(items)}{last}"
    pad = " " * (indent + 2)
    return f"{first}\n" + ",\n".join(pad + item for item in items) + f"\n{' ' * indent}{last}"


def read(path: str | Path) -> dict[str, Any]:
    """The fixture in a file; `ValidationError` where it is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValidationError(
            f"there is no file {str(path)!r}: record one with run.to_fixture({str(path)!r})",
            culprit=str(path),
        ) from None
    except (OSError, ValueError) as bad:
        raise ValidationError(f"{str(path)!r} is no fixture: {bad}", culprit=str(path)) from bad
    if not isinstance(found, dict) or not {"format", "workflow", "plan", "steps", "inputs"} <= found.keys():
        raise ValidationError(
            f"{str(path)!r} is no fixture: {shorten(found)}; run.to_fixture(path) writes one",
            culprit=str(path),
        )
    if found["format"] != FORMAT:
        raise ValidationError(
            f"{str(path)!r} has format {shorten(found['format'])}, and this version reads {FORMAT}: "
            f"record it anew",
            culprit=str(path),
        )
    return found


def lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """A plan as lines of text, for a difference that people read."""
    for id, node in plan.items():
        yield f"{id}:"
        for name, value in node.items():
            if name == "inputs":
                for key, given in value.items():
                    yield f"  input {key}: {json.dumps(given, ensure_ascii=False, sort_keys=True)}"
            elif value not in ([], None):
                yield f"  {name}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}"
