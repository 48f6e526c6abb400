"""Budgets: what a run and its branches use up, and what happens when it is too much.

Rules kept here: a breach pauses, it never fails and never forgets: what was added stays and waits; a
resumed run whose budget is still used up pauses again at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from . import branches
from . import messages as m
from .budget import Usage
from .graph import Node

if TYPE_CHECKING:
    from .scheduler import Scheduler

RUN = ""


def enroll(s: Scheduler, node: Node) -> None:
    """A node counts for the budgeted branches above it, and may itself be the root of one."""
    roots = dict.fromkeys(root for dep in node.spec.deps for root in s.nodes[dep].budgets)
    if node.spec.parent is not None:
        roots.update(dict.fromkeys(s.nodes[node.spec.parent].budgets))
    if any(fnmatchcase(node.id, glob) for glob in s.config.branch_budgets):
        roots[node.id] = None
        s.branch_usage.setdefault(node.id, Usage(base=node.depth))
    node.budgets = tuple(roots)


def count_growth(s: Scheduler, added: Iterable[Node]) -> None:
    """Nodes were added: they count, and the depth of their growth does."""
    for node in added:
        for usage in usages(s, node):
            usage.max_nodes += 1
        count_depth(s, node)


def count_depth(s: Scheduler, node: Node) -> None:
    """A chain of growth has become as long as this node says."""
    from .scheduler import Pause

    for usage in usages(s, node):
        usage.max_iterations = max(usage.max_iterations, node.depth - usage.base)
    every = s.config.review_frequency
    if every is not None and node.depth > s.reviewed and node.depth % every == 0:
        s.reviewed = node.depth
        s.pause_run(Pause("review", s.now, f"review after {node.depth} rounds of growth"))


def usages(s: Scheduler, node: Node) -> list[Usage]:
    """The accounts a node counts for: the run's and those of its budgeted branches."""
    return [s.usage, *(s.branch_usage[root] for root in node.budgets if root in s.branch_usage)]


def check(s: Scheduler) -> None:
    """Pause what has used up one of its budgets."""
    from .scheduler import Pause

    if s.ending is not None or s.finishing:
        return
    if RUN not in s.pauses and (found := s.usage.exceeded(s.config)) is not None:
        breach(s, *found)
    for root, usage in s.branch_usage.items():
        if root not in s.nodes or root in s.pauses or s.nodes[root].cut:
            continue
        for glob, budgets in s.config.branch_budgets.items():
            if fnmatchcase(root, glob) and (found := usage.exceeded(budgets)) is not None:
                name, limit, used = found
                reason = f"{name} of branch {root!r} is used up: {used:g} of {limit:g}"
                branches.pause(s, root, Pause("budget", s.now, reason))
                s.emit(m.BudgetExceeded, name, limit, used, root, node=s.nodes[root])
                break


def breach(s: Scheduler, name: str, limit: float, used: float) -> None:
    """A budget of the whole run is used up."""
    from .scheduler import Pause

    if RUN in s.pauses:
        return
    s.pause_run(Pause("budget", s.now, f"{name} is used up: {used:g} of {limit:g}"))
    s.emit(m.BudgetExceeded, name, limit, used, None)
