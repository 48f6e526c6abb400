"""Running again: after a failure, after an interruption, after a crash.

Rules kept here: what has ended well does not run again unless it is asked for, what it depends on runs
again, or its outputs are lost; what was grown from the events of a node that runs again is withdrawn
first; a cancelled branch stays cancelled; a call costs what it changes, not the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import InvalidState, NodeNotFound
from . import branches, messages as m
from .endings import close_if_done, free_rescuers, reopen_group, unrelease
from .graph import Node
from .model import SUCCESS_STATES, NodeStatus, RunStatus
from .state import OVER, RUN, Pause, State

_WITHOUT_A_RUN = frozenset({NodeStatus.SKIPPED, NodeStatus.CANCELLED})


class Again:
    """What is to run again, collected before anything changes.

    `full`: nodes that start from nothing. `half`: groups that wait anew for those of their children
    that run again. `gone`: grown nodes and a map's items that are withdrawn.
    """

    def __init__(self, s: State) -> None:
        self.s = s
        self.full: dict[str, Node] = {}
        self.half: dict[str, Node] = {}
        self.gone: dict[str, Node] = {}

    def collect(self, targets: Iterable[Node], cascade: bool, *, mend: bool = True) -> None:
        """Targets, and with `cascade` what comes after them or ended because of them.

        `mend`: of a group among the targets that failed, what did not fail is kept.
        """
        nodes = self.s.nodes
        stack = [(node, mend) for node in targets]
        while stack:
            node, asked_for = stack.pop()
            if node.cut or node.id in self.full:
                continue
            if asked_for and node.is_group and node.opened and node.status in _MENDABLE:
                if node.id in self.half:
                    continue
                # it failed inside, or was stopped on the way: what it has is kept
                self.half[node.id] = node
                stack += [(nodes[id], True) for id in node.children if _is_to_retry(nodes[id])]
            else:
                self.full[node.id] = node
                self.half.pop(node.id, None)
                if node.is_group and node.spec.kind == "workflow":
                    stack += [(nodes[id], False) for id in node.children]
            if cascade:
                stack += [(other, False) for other in self._after(node)]
            stack += self._group_of(node, cascade)
            for held in held_by(self.s, node):
                if cascade:
                    stack += [(other, False) for other in self._after(held) if held.id not in other.met]
                stack += self._group_of(held, cascade)

    def _after(self, node: Node) -> list[Node]:
        """What has begun or ended on the strength of this node's end, or because of it."""
        nodes = self.s.nodes
        after = [other for id in node.dependants if _has_begun(other := nodes[id])]
        return after + list(ended_because(self.s, node.id))

    def _group_of(self, node: Node, cascade: bool) -> list[tuple[Node, bool]]:
        """The group of a child that runs again, if it has ended: it waits anew, and so does what follows."""
        if node.spec.parent is None:
            return []
        group = self.s.nodes[node.spec.parent]
        if not group.final or group.cut or group.id in self.full or group.id in self.half:
            return []
        if not group.opened:
            return [(group, False)]  # it has to open first
        self.half[group.id] = group
        after = [(other, False) for other in self._after(group)] if cascade else []
        return after + self._group_of(group, cascade)

    def withdraw(self) -> None:
        """Find what was grown from the events of these nodes, and of each other."""
        s = self.s
        stack = [*self.full.values(), *self.half.values()]
        while stack:
            node = stack.pop()
            ids = [id for id in s.grown.get(node.id, ()) if id not in s.fresh]
            if node.spec.kind == "map" and node.id in self.full:
                ids += node.children
            if node.id in self.gone:
                ids += [*node.children, *node.dependants]
            for id in ids:
                other = s.nodes.get(id)
                if other is not None and id not in self.gone and other is not node:
                    self.gone[id] = other
                    stack.append(other)

    def apply(self, *, asked_for: frozenset[str]) -> None:
        """Change what was found."""
        s = self.s
        for node in self.gone.values():
            self.full.pop(node.id, None)
            self.half.pop(node.id, None)
        forget(s, self.gone)
        for node in (*self.half.values(), *self.full.values()):
            withdraw_question(s, node)
        for group in self.half.values():
            if group.final:
                reopen_group(s, group)
        for node in self.full.values():
            reset(s, node, asked_for=node.id in asked_for)
        for node in (*self.half.values(), *self.full.values()):
            hold_again(s, node)
        for node in self.full.values():
            link_to_failed(s, node)
            undo_choice(s, node)
            if node.unmet == 0:
                s.to_judge(node)
        for group in self.half.values():
            close_if_done(s, group)
        s.unchecked = True


def run_again(s: State, targets: Iterable[Node], *, cascade: bool) -> None:
    """Reset these nodes and, with `cascade`, what depends on them or ended because of them."""
    again = Again(s)
    chosen = list(targets)
    again.collect(chosen, cascade)
    again.withdraw()
    again.apply(asked_for=frozenset(node.id for node in chosen))
    forgive(s)


def give_turn(s: State, node: Node) -> None:
    """What was skipped because this node had failed has its turn again, now that it has outputs."""
    unrelease(s, node)
    again = Again(s)
    stack = [node]
    while stack:
        ended = stack.pop()
        for other in ended_because(s, ended.id):
            if other.status is NodeStatus.SKIPPED and not other.cut and other.id not in again.full:
                again.full[other.id] = other
                stack.append(other)
        parent = ended.spec.parent
        if parent is not None and parent not in again.half and parent not in again.full:
            group = s.nodes[parent]
            if group.opened and group.final and not group.cut and group.status is NodeStatus.FAILED:
                again.half[parent] = group
                stack.append(group)
    again.withdraw()
    again.apply(asked_for=frozenset())


def held_by(s: State, node: Node) -> Iterator[Node]:
    """The node that this one goes on for, the one that that goes on for, and so on."""
    held = s.nodes.get(node.holds or "")
    while held is not None:
        yield held
        held = s.nodes.get(held.holds or "")


def hold_again(s: State, node: Node) -> None:
    """What a node goes on for that runs again waits for it again."""
    for held in held_by(s, node):
        if not held.final:
            return
        held.goes_on, held.holders = True, held.holders | {node.id}
        unrelease(s, held)
        node = held


def ended_because(s: State, id: str) -> list[Node]:
    """What was skipped or cancelled on a node's account, and still is."""
    found = [s.nodes[other] for other in s.because.get(id, ()) if other in s.nodes]
    return [n for n in found if n.cause == id and n.status in _WITHOUT_A_RUN]


def _has_begun(node: Node) -> bool:
    return node.status not in _WAITING or node.started_at is not None


def _is_to_retry(node: Node) -> bool:
    if node.cut:
        return False
    return node.status is NodeStatus.FAILED or (
        node.status is NodeStatus.CANCELLED and node.cause in ("run", "deadline")
    )


def forget(s: State, gone: dict[str, Node]) -> None:
    """Withdraw nodes; with each of them go all that depend on it and its children."""
    for node in gone.values():
        s.stop_attempt(node, "withdrawn")
        s.count[node.status] -= 1
        s.changed.add(node.id)
        for index in (s.failed, s.held, s.retrying):
            index.pop(node.id, None)
        s.quiet.discard(node.id)
        s.pauses.pop(node.id, None)
        s.branch_usage.pop(node.id, None)
        s.names.pop(node.spec.action, None)
        s.grown.pop(node.id, None)
        s.because.pop(node.id, None)
        if node.added_by in s.grown:
            s.grown[node.added_by].pop(node.id, None)
        free_rescuers(s, node)
        held = s.nodes.get(node.holds or "")
        if held is not None and held.id not in gone:
            held.holders -= {node.id}
            held.heir = None if held.heir == node.id else held.heir
            if not held.holders and not held.released:
                s.settling.append(held)
        if node.guardian is not None and node.guardian not in gone:
            guarded = s.nodes[node.guardian]
            guarded.rescuers -= {node.id}
            if not guarded.rescuers:
                s.settling.append(guarded)
    s.graph.remove(gone)
    if s.stopping in gone:
        s.stopping = None


def withdraw_question(s: State, node: Node) -> None:
    """What a hook asked about a node's end is not to be answered any more: the node runs again."""
    pause = s.pauses.get(node.id)
    if node.final and pause is not None and pause.kind == "branch" and pause.form is not None:
        branches.lift(s, node.id)


def reset(s: State, node: Node, *, asked_for: bool = False) -> None:
    """A node is as if it had not run; one that runs is stopped. `asked_for`: it itself is to run again."""
    s.stop_attempt(node, "it runs again")
    unrelease(s, node)
    if node.status is not NodeStatus.PENDING and node.status is not NodeStatus.PAUSED:
        _wait(s, node)
    node.spent = node.ended = 0
    node.since = s.seq
    node.outcome = node.error = node.reason = node.cause = None
    node.started_at = node.finished_at = node.ready_at = None
    node.handled = node.ready = node.told = node.goes_on = False
    node.holders, node.heir = frozenset(), None
    if asked_for:
        node.disabled = False
    else:
        node.answered = node.answered and node.id in s.pauses
    s.changed.add(node.id)
    s.quiet.discard(node.id)
    free_rescuers(s, node)
    if node.opened:
        node.opened = False
        for id in node.children:
            s.nodes[id].unmet += 1
            s.nodes[id].ready = False


def undo_choice(s: State, node: Node) -> None:
    """A node that runs again has not taken a way: what it disabled is not any more."""
    for id in list(s.because.get(node.id, ())):
        other = s.nodes.get(id)
        if other is not None and other.disabled and other.disabled_by == node.id and not other.final:
            other.disabled, other.disabled_by, other.reason = False, None, None
            s.changed.add(id)


def _wait(s: State, node: Node) -> None:
    """A node is to be started again, once nothing holds it."""
    s.set_status(node, NodeStatus.PENDING)
    if node.pauses:
        s.set_status(node, NodeStatus.PAUSED)


def link_to_failed(s: State, node: Node) -> None:
    """A rescue that runs again is there for the failed node as before."""
    failed = s.nodes.get(node.rescues) if node.rescues is not None else None
    if failed is not None and failed.status is NodeStatus.FAILED:
        node.guardian = failed.id
        failed.rescuers |= {node.id}


def forgive(s: State) -> None:
    """A failure has been mended: what it meant for the run is lifted if no other failure means it too."""
    if s.stopping is not None and s.stopping not in s.failed:
        s.stopping = None
    pause = s.pauses.get(RUN)
    if pause is not None and pause.kind == "failure" and not s.held:
        branches.resume_run(s, {}, None)
    if s.ending is None and (s.error_node is None or s.error_node not in s.failed):
        first = next(iter(s.failed), None)
        s.error_node, s.error = first, s.nodes[first].error if first is not None else None


# --- going on -------------------------------------------------------------------------------------


def retry(s: State, message: m.RetryNodes) -> None:
    """Run failed nodes (or one node) again; after a cancelled run, what was cancelled with it too."""
    if message.node_id is not None:
        node = s.nodes.get(message.node_id)
        if node is None:
            raise NodeNotFound(message.node_id, s.nodes)
        if not node.final:
            raise InvalidState(
                f"node {node.id!r} is {node.status}: only what has ended runs again", culprit=node.id
            )
        if node.cut:
            raise InvalidState(f"node {node.id!r} is in a cancelled branch, which stays so", culprit=node.id)
    run_again(s, _targets(s, message), cascade=message.cascade)
    pause = s.pauses.get(RUN)
    if pause is not None and pause.kind == "failure":
        # what is held stays so; the run pauses again once the rest has moved
        branches.resume_run(s, {}, message.by)


def _targets(s: State, message: m.RetryNodes) -> list[Node]:
    if message.node_id is None:
        return [node for node in s.nodes.values() if _is_to_retry(node)]
    return [s.nodes[message.node_id]] if message.node_id in s.nodes else []


def reached(s: State, message: m.RetryNodes) -> list[Node]:
    """What `retry` would run again or withdraw; nothing is changed."""
    again = Again(s)
    again.collect(_targets(s, message), message.cascade)
    again.withdraw()
    return [*again.full.values(), *again.half.values(), *again.gone.values()]


def put_back(s: State, reason: str) -> list[Node]:
    """Attempts under way do not count: their nodes wait to be started again. Returns them."""
    back = []
    for node in s.nodes.values():
        if node.status is NodeStatus.RUNNING and not node.opened:
            if node.busy and not node.is_group:
                s.effects.append(m.CancelAttempt(node.id, node.attempt, reason))
            back.append(node)
            _wait(s, node)
        elif node.opened and node.busy:
            node.attempt += 1
        elif node.status is NodeStatus.RETRYING and node.ready:
            s.timer(s.now, "retry", node.id, node.attempt)
        node.busy = node.ready = False
        node.slot = ()
    s.busy = 0
    s.slots.clear()
    s.urgent.clear()
    return back


def reopen(s: State, message: m.Reopened, last: float) -> None:
    """A process takes the run up, which `last` heard something at that time. Nothing moves yet."""
    if s.status is RunStatus.PENDING:
        raise InvalidState(f"run {s.run_id!r} has not begun", culprit=s.run_id)
    lost = [s.graph[id] for id in message.lost]
    if other := next((node for node in lost if node.status not in SUCCESS_STATES), None):
        text = f"node {other.id!r} is {other.status}: it has no outputs to lose"
        raise InvalidState(text, culprit=other.id)
    died = s.status is RunStatus.RUNNING
    if died and s.active_since is not None:
        s.elapsed += last - s.active_since
    if s.status in OVER:
        s.elapsed, s.stopping = 0.0, None
        s.ending, s.finishing = None, False
        forgive(s)
    back = put_back(s, "its process ended")
    s.configure(message.config, message.settings, message.pools)
    if s.config.branch_budgets:
        for node in s.graph.in_order():
            branches.enroll(s, node)
    s.unchecked = True
    s.status, s.finished_at, s.active_since = RunStatus.RUNNING, None, s.now
    if s.ending is None and not s.finishing:
        _restore(s, [node for node in lost if not node.cut])
    for id, names in message.unanswered.items():
        _ask_again(s, s.graph[id], names)
    for node in s.nodes.values():
        if node.status is NodeStatus.PENDING and node.unmet == 0:
            s.to_judge(node)
        elif node.opened:
            close_if_done(s, node)
    for root in s.pauses:
        branches.arm_human(s, root)
    for node in back:  # only a process that died leaves any
        if not node.is_group and not s.settings_of(node).idempotent:
            reason = f"{node.id!r} was running when its process ended and may have done its work: decide"
            branches.pause(s, node.id, Pause("decision", s.now, reason))


def _ask_again(s: State, node: Node, names: tuple[str, ...]) -> None:
    """Answers that were never stored are asked for by the same form, when the node's turn comes."""
    node.human = {name: value for name, value in (node.human or {}).items() if name not in names}
    node.answered, node.asks_again = False, True
    if node.status is NodeStatus.RETRYING:
        _wait(s, node)


def _restore(s: State, lost: list[Node]) -> None:
    """Outputs that were never stored are made again; hooks have heard of these nodes."""
    groups: dict[str, Node] = {}
    for node in lost:
        if not (node.is_group and node.opened):
            reset(s, node, asked_for=True)
            s.quiet.add(node.id)
        above: Node | None = node
        while above is not None:
            if above.is_group and above.opened and above.final and not above.cut:
                groups[above.id] = above
            above = s.nodes[above.spec.parent] if above.spec.parent is not None else None
    for group in groups.values():
        reopen_group(s, group)
        s.quiet.add(group.id)
    for group in groups.values():
        close_if_done(s, group)


_WAITING = frozenset({NodeStatus.PENDING, NodeStatus.PAUSED})
_MENDABLE = frozenset({NodeStatus.FAILED, NodeStatus.CANCELLED})
