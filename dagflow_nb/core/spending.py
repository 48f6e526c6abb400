"""Budgets: what a run and its branches use up, and what happens when it is too much.

Rules kept here: a breach pauses, it never fails and never forgets: what was added stays and waits; a
resumed run whose budget is still used up pauses again at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from . import branches, messages as m
from .budget import Usage
from .graph import Node
from .state import RUN, Pause, State


def count_growth(s: State, added: Iterable[Node]) -> None:
    """Nodes were added: they count, and the depth of their growth does; children of groups do not."""
    for node in added:
        if node.spec.parent is None:
            count_depth(s, node, 1)


def count_depth(s: State, node: Node, nodes: int = 0) -> None:
    """A chain of growth has become as long as this node says, and the graph larger by so many nodes."""
    for usage in usages(s, node) if node.budgets else (s.usage,):
        usage.max_nodes += nodes
        length = node.depth - usage.base
        if length > usage.max_iterations:
            usage.max_iterations = length
    every = s.config.review_frequency
    if every is not None and node.depth > s.reviewed and node.depth % every == 0:
        s.reviewed = node.depth
        branches.pause_run(s, Pause("review", s.now, f"review after {node.depth} rounds of growth"))


def usages(s: State, node: Node) -> list[Usage]:
    """The accounts a node counts for: the run's and those of its budgeted branches."""
    if not node.budgets:
        return [s.usage]
    return [s.usage, *(s.branch_usage[root] for root in node.budgets if root in s.branch_usage)]


def check(s: State) -> None:
    """Pause what has used up one of its budgets."""
    s.unchecked = False
    if s.ending is not None or s.finishing:
        return
    pause = s.pauses.get(RUN) if s.pauses else None
    if (pause is None or pause.kind == "failure") and (found := s.usage.exceeded(s.budgets)) is not None:
        name, limit, used = found
        branches.pause_run(s, Pause("budget", s.now, f"{name} is used up: {used:g} of {limit:g}"))
        s.emit(m.BudgetExceeded, name, limit, used, None)
    for root, usage in s.branch_usage.items():
        if root in s.nodes and root not in s.pauses and not s.nodes[root].cut:
            _check_branch(s, root, usage)


def _check_branch(s: State, root: str, usage: Usage) -> None:
    for glob, budgets in s.config.branch_budgets.items():
        if fnmatchcase(root, glob) and (found := usage.exceeded(budgets)) is not None:
            if all(node.final for node in s.graph.branch(root)):
                return  # nothing of it is left to be held
            name, limit, used = found
            reason = f"{name} of branch {root!r} is used up: {used:g} of {limit:g}"
            branches.pause(s, root, Pause("budget", s.now, reason))
            s.emit(m.BudgetExceeded, name, limit, used, root, node=s.nodes[root])
            return
