"""Asking the hooks: one event after the other, in a task beside the loop's work."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import messages as m
from ..core.model import EMPTY, NodeOutput
from ..errors import DagError
from ..hooks import Hook, HookContext, SomeFailed
from ..people.checking import load_checker
from .capture import CURRENT
from .tracebacks import describe
from .workers import ENDED_BY, is_shutting_down

if TYPE_CHECKING:
    from .coordinator import RunCoordinator

log = logging.getLogger("dagflow_nb")
GRACE = 5.0  # seconds that hooks have to answer once a run is being ended, and again for the end itself
ONE = 1.0  # of these, seconds that may pass without an answer before the end is told
AT_ONCE = 20  # events about which hooks that do not wait are asked in one turn of the loop
WISHES = "dagflow_nb:wishes"  # in an outcome's metadata, so that they outlive a crash


def with_wishes(outcome: NodeOutput, node_id: str, commands: Iterable[Any], pause: bool) -> NodeOutput:
    """An outcome with what its action wants done once its node has completed."""
    commands = tuple(commands)
    if not commands and not pause:
        return outcome
    wishes = {"node": node_id, "commands": commands, "pause": pause}
    return replace(outcome, metadata={**outcome.metadata, WISHES: wishes})


def _wishes_of(event: Any) -> Any:
    if type(event) is not m.NodeCompleted or event.outcome.metadata is EMPTY:
        return None
    wishes = event.outcome.metadata.get(WISHES)
    # a node that is recovered has the metadata of who did it
    return wishes if wishes is not None and wishes["node"] == event.node.node_id else None


def _asks_a_person(command: Any) -> bool:
    if type(command) is m.AddNode:
        return getattr(command.spec, "ask", None) is not None
    specs = getattr(command, "specs", ())
    return bool(getattr(command, "form", None) or any(getattr(spec, "ask", None) for spec in specs))


def _forget_cancellation() -> None:
    """A hook has cancelled the task in which it was asked: others are asked in it all the same."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


class Asking:
    """The questions of one run to its hooks, in the order of the events.

    Running nodes, timeouts, pause and cancel go on meanwhile; only the dependants of a node whose event
    is not answered yet are held (by the scheduler).
    """

    def __init__(self, coordinator: RunCoordinator, hooks: list[Hook]) -> None:
        self._run, self.hooks = coordinator, hooks
        self.post: Callable[..., None] = (
            self._post
        )  # a replay takes answers in the order in which they once came
        run = coordinator
        # for each kind of event the hooks that it may concern, and whether it does so in any case
        self._concerned: dict[type, list[tuple[Hook, bool]]] = {}
        self._unheard: set[type] = set()  # of these nobody wants to hear, whatever they say
        self._context = HookContext(run.run_id, run.dag_name, run.app_data, run.cache, run.growth.view)
        self.waiting: deque[Any] = deque()
        self._task: asyncio.Task[None] | None = None
        self._gave_up = False  # hooks that do not answer are not waited for any more
        self._giving_up: asyncio.TimerHandle | None = None
        self._until: float | None = None  # when they are given up at the latest; None while nothing ends
        self._told = False  # whether that is about the end itself

    def listens(self, event: Any) -> bool:
        """Whether anybody is to be asked about this event."""
        kind = type(event)
        if kind in self._unheard:
            return False
        if kind is m.NodeCompleted and event.outcome.metadata is not EMPTY and _wishes_of(event):
            return True
        hooks = self._concerned.get(kind)
        for hook, always in self._hooks_for(kind) if hooks is None else hooks:
            if always or self._wants(hook, event):
                return True
        # until this is answered the run cannot end before what a strict flow makes of it has come
        return self._run.strict and type(event) is m.CommandRejected

    def _hooks_for(self, kind: type) -> list[tuple[Hook, bool]]:
        found = self._concerned.get(kind)
        if found is None:
            outlooks = [(hook, hook.outlook(kind, self._run.dag_name)) for hook in self.hooks]
            sure = kind is not m.HookFailed
            found = [(hook, sure and outlook is True) for hook, outlook in outlooks if outlook is not False]
            self._concerned[kind] = found
            if not found and kind not in (m.NodeCompleted, m.CommandRejected):  # these may be heard without
                self._unheard.add(kind)
        return found

    def _wants(self, hook: Hook, event: Any) -> bool:
        # a hook is not told of its own failure: it might fail of it again
        if type(event) is m.HookFailed and event.hook == hook.name:
            return False
        return hook.matches(event, self._run.dag_name)

    def go(self) -> None:
        """Ask what waits to be asked; hooks that do not answer are not waited for once the run ends."""
        if self.waiting and (self._task is None or self._task.done()):
            self._task = self._run.tasks.start(self._ask_all(), self._run.context.copy())
        if self._run.scheduler.ending is not None and self._run.scheduler.asks:
            self._hurry()

    def at_once(self, event: Any) -> m.Answered | None:
        """The answer of hooks that provably only look and decide; None where a task is to ask them.

        They are asked before anything is stored, so that the event and its answer are stored together.
        """
        run = self._run
        if next(iter(run.scheduler.asks), None) != event.seq:
            return None  # an earlier one is not answered yet, if only as it waits to be stored
        concerned = self._hooks_for(type(event))
        for hook, _ in concerned:
            if not hook.is_proved:
                return None
        if self.waiting or (self._task is not None and not self._task.done()) or _wishes_of(event):
            return None
        given: list[tuple[Hook, list[Any]]] = []
        answers: list[tuple[str, Any]] = []
        for hook, always in concerned:
            if not (always or self._wants(hook, event)):
                continue
            found = hook.ask_at_once(self._context, event)
            if found is not None:
                given.append((hook, found))
            if found is None or (found and not self._make_ready(hook.name, found, answers)):
                for earlier, commands in given:
                    earlier.keep(event, commands)
                return None
        return m.Answered(event.seq, run.clock.now(), tuple(answers), (), run.growth.new_settings())

    def _make_ready(self, hook: str, found: list[Any], answers: list[tuple[str, Any]]) -> bool:
        """Add commands for the scheduler to `answers`; False where that takes long, or where one is wrong."""
        growth = self._run.growth
        for command in found:
            if type(command) is not m.AddNode or not growth.is_ready(command.spec):
                if _asks_a_person(command):
                    return False
                try:
                    command = growth.ready(command)
                except Exception:
                    return False  # it is told by the task, which finds it again
            answers.append((hook, command))
        return True

    async def _ask_all(self) -> None:
        run, asked = self._run, 0
        changing: int | None = None  # the event that was answered last, if by commands
        listener = run.workers.listener()
        while self.waiting:
            event = self.waiting.popleft()
            if changing is not None and self.post == self._post:
                await run.taken_in(changing)  # who is asked next sees what it has changed
            # what hooks print meanwhile is logged with the event's node
            node = getattr(event, "node", None)
            listener.node_id = node.node_id if node is not None else ""
            answers: list[tuple[str, Any]] = []
            failures: list[tuple[str, str]] = []
            first: list[m.Input] = []
            if wishes := _wishes_of(event):
                try:
                    answers += [(event.node.action, run.growth.ready(wish)) for wish in wishes["commands"]]
                except Exception as error:
                    failures.append((event.node.action, describe(error)))
                if wishes["pause"]:
                    reason = f"{event.node.node_id!r} paused the run"
                    first = [m.PauseRun(run.clock.now(), reason, event.node.action)]
            for hook, always in self._hooks_for(type(event)):
                if not (always or self._wants(hook, event)):
                    continue
                failed: list[tuple[str, BaseException]] = []
                try:
                    token = CURRENT.set(listener)
                    try:
                        found = await hook.ask(self._context, event)
                    except SomeFailed as some:
                        found = some.answers
                        failed += [(f"{name}: ", error) for name, error in some.errors]
                    finally:
                        CURRENT.reset(token)
                        if listener.lines:
                            run.workers.end_lines(listener)
                    if any(map(_asks_a_person, found)):
                        await asyncio.to_thread(load_checker)
                    answers += [(hook.name, run.growth.ready(command)) for command in found]
                except BaseException as error:
                    # whatever a hook raises (SystemExit, too) is its own failure, never the loop's
                    if isinstance(error, asyncio.CancelledError):
                        if self._gave_up:
                            raise
                        if is_shutting_down():
                            self.waiting.appendleft(event)  # asked again, should the loop go on all the same
                            run.loop.call_later(ENDED_BY, self.go)
                            raise
                        _forget_cancellation()
                    failed.append(("", error))
                for who, wrong in failed:
                    text = who + describe(wrong)
                    failures.append((hook.name, text))
                    run.growth.hook_errors[hook.name] = wrong
                    log.warning("hook %s failed on %s: %s", hook.name, type(event).__name__, text)
            if failures:
                # told before the answer: the last answer of a run may be what completes it
                name, why = failures[0]
                found_error = run.growth.hook_errors.get(name) or DagError(f"hook {name!r} failed: {why}")
                first += run.end_strictly(found_error)
            now = run.clock.now()
            answer = m.Answered(event.seq, now, tuple(answers), tuple(failures), run.growth.new_settings())
            self.post(*first, answer)
            changing = event.seq if answers else None
            asked += 1
            if asked % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _post(self, *messages: m.Input) -> None:
        self._run.post_at_once(*messages, alone=not self.waiting)

    def _hurry(self) -> None:
        """The run is being ended: an answer is waited for some time longer, all of them for a little more."""
        now, told = self._run.loop.time(), self._run.scheduler.finishing
        if self._until is None or told is not self._told:
            self._until, self._told = now + GRACE, told
        if self._giving_up is not None:
            self._giving_up.cancel()
        at = self._until if told else min(self._until, now + ONE)
        self._giving_up = self._run.loop.call_at(at, self._give_up)

    def _give_up(self) -> None:
        run, self._gave_up = self._run, True
        if self._task is not None:
            self._task.cancel()
        late = (("hooks", "no answer in time after the run was told to end"),)
        run.post(*(m.Answered(seq, run.clock.now(), (), late) for seq in list(run.scheduler.asks)))
        self.waiting.clear()
        self._giving_up = None

    def close(self) -> None:
        """The run is over for this process."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        self._gave_up = True
        self.waiting.clear()
        if self._task is not None and not self._task.done():
            self._task.cancel()
