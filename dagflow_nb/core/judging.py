"""Whose turn it is: nodes whose dependencies have all been released are judged, then started.

Rules kept here: nothing starts whose rule does not hold, that is disabled, paused or cut off; a node
that asks a person asks before its first attempt; while the run stops, or is paused because a node
failed, only what is there to rescue a failed node starts.
"""

from __future__ import annotations

from typing import Any

from . import branches, messages as m
from .endings import cancel, close_if_done, skip
from .graph import Node, rule_problem
from .model import Form, NodeStatus
from .state import NO_SETTINGS, RUN, Pause, State


def decide(s: State, node: Node) -> None:
    """A node's turn has come, or not."""
    if node.status is not NodeStatus.PENDING or node.unmet or node.ready or node.gone:
        return
    if s.ending is not None:
        cancel(s, node, "run", "the run is being ended")
        return
    if s.stopping is not None and not s.is_urgent(node):
        skip(s, node, f"the run stops because {s.stopping!r} failed", s.stopping)
        return
    if node.disabled:
        skip(s, node, node.reason or "it is disabled", node.disabled_by)
        return
    if node.spec.deps and (problem := rule_problem(node, s.nodes)):
        skip(s, node, *problem)
        return
    if not node.answered:
        ask = None
        if node.spec.kind != "map":  # its items ask, each for itself
            ask = node.spec.ask
            if ask is None and (settings := s.settings.get(node.spec.action)) is not None:
                ask = settings.ask
        if ask is None and node.asks_again:
            ask = node.form or Form()
        if ask is not None:
            branches.pause(s, node.id, Pause("ask", s.now, ask.question or None, ask))
            return
    s.make_ready(node)


def start_ready(s: State) -> None:
    """Start what is ready, as far as the limits and the state of the run let it."""
    if s.ending is not None:
        return
    pause = s.pauses.get(RUN) if s.pauses else None
    urgent, slots = s.urgent, s.slots
    if urgent.length and (pause is None or pause.kind == "failure"):
        while urgent.length and (node := urgent.pop(s.now)) is not None:
            start(s, node)
    if pause is None and s.stopping is None:
        while slots.length and (node := slots.pop(s.now)) is not None:
            start(s, node)


def start(s: State, node: Node) -> None:
    """Start the next attempt of a node; its slot has been taken."""
    node.attempt += 1
    if node.started_at is None or node.started_at < (s.active_since or 0.0):
        node.started_at = s.now  # the time before the run was taken up again is not the node's
    s.set_status(node, NodeStatus.RUNNING)
    node.busy = True
    s.busy += 1
    if node.is_group:
        if not node.told:
            tell_started(s, node)
        s.effects.append(m.OpenGroup(node.id, node.attempt))
        return
    spec = node.spec
    settings = s.settings.get(spec.action, NO_SETTINGS)
    if not node.told and not (settings.cached if spec.cache is None else is_cacheable(spec.cache, settings)):
        tell_started(s, node)
    s.effects.append(m.StartAttempt(node.id, node.attempt))
    seconds = spec.timeout if spec.timeout is not None else settings.timeout
    if seconds is not None:
        s.timer(s.now + seconds, "timeout", node.id, node.attempt)


def is_cacheable(cache: Any, settings: m.ActionSettings) -> bool:
    """Whether a result may be known: `NodeStarted` waits until it is clear that the node has to run."""
    return settings.cached if cache is None else cache is not False and cache != "never"


def tell_started(s: State, node: Node) -> None:
    """The first attempt of a node runs."""
    s.seq += 1
    node.told = True
    s.send(m.node_started(node.ref, s.run_id, s.seq, s.now), None, node)


def open_group(s: State, node: Node, message: m.GroupOpened) -> None:
    """A group's inputs are there: its children have their turn."""
    s.leave(node)
    node.opened = True
    if message.children:
        for child in s.add(list(message.children), node.added_by, node.depth):
            enroll(s, child)
            branches.share_fate(s, child)
    else:
        for id in node.children:
            child = s.nodes[id]
            child.unmet -= 1
            if child.unmet == 0:
                s.to_judge(child)
    close_if_done(s, node)


def enroll(s: State, node: Node) -> None:
    """A node is part of the run from now on: its branch budgets, and its turn if nothing is unmet."""
    if s.config.branch_budgets:
        branches.enroll(s, node)
    if node.unmet == 0:
        s.judging.append(node)
