"""What people answer and ask for, checked before a run hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretBytes, SecretStr

from ..core.messages import Resume
from ..core.model import HumanTimeoutAction
from ..errors import InvalidState, NodeNotFound, ValidationError, shorten
from ..runtime.commands import who

_BY_NAME = "; answers are given by name, such as run.resume(comment='fine')"


def commands_in(answer: Any) -> list[Any]:
    """What `apply` was given, as commands; nothing in it is awaited."""
    from ..hooks import commands_of

    coroutine = commands_of(answer)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return list(done.value)
    coroutine.close()
    raise ValidationError("apply() takes commands, not something to be awaited", culprit=answer)


def need_node(nodes: Mapping[str, Any], id: Any, hint: str = "") -> Any:
    """The node of that id; raises `NodeNotFound`, or `ValidationError` (with `hint`) for what is no id."""
    if not isinstance(id, str):
        own = getattr(id, "id", None)
        which = f" (write {own!r})" if isinstance(own, str) else ""
        raise ValidationError(
            f"a node is named by its id, not by {shorten(id)}{which}{hint}", culprit=id, value=id
        )
    if id not in nodes:
        raise NodeNotFound(id, nodes)
    return nodes[id]


def checked_resume(
    scheduler: Any,
    branch: str | None,
    answers: Mapping[str, Any],
    models: Mapping[str, Any],
    at: float,
    *,
    closed: bool = True,
) -> Resume:
    """What is told the run: each form that waits gets those of the answers that it knows, and its own
    defaults; one that wants a decision, and of which none is spoken, waits on. Raises `ValidationError` or
    `InvalidState`.

    `closed`: a name that no form knows is refused, unless one of them allows any.
    """
    from .checking import check_answers, names_of, refuse_unknown

    pauses = dict(scheduler.pauses)
    if branch is not None:
        node = need_node(scheduler.nodes, branch, _BY_NAME)
        if branch not in pauses:
            paused = ", ".join(repr(id) for id in pauses if id) or "none"
            why = "was cancelled" if node.cut else f"is not paused (paused: {paused})"
            raise InvalidState(f"branch {branch!r} {why}: it cannot be resumed", culprit=branch)
        pauses = {branch: pauses[branch]}
    if closed:
        refuse_unknown([pause.form for pause in pauses.values()], answers)
    own: dict[str, dict[str, Any]] = {}
    hidden: dict[str, Any] = {}
    # those that take any answer last: what is a secret elsewhere is none to be written here
    for root, pause in sorted(pauses.items(), key=lambda item: names_of(item[1].form) is None):
        form, names = pause.form, names_of(pause.form)
        given = {k: hidden.get(k, v) for k, v in answers.items() if names is None or k in names}
        if branch is None and form is not None and form.decision and not given:
            continue
        own[root] = given if form is None else check_answers(form, given, models.get(root))
        hidden |= {k: v for k, v in own[root].items() if isinstance(v, SecretStr | SecretBytes)}
    if branch is not None:
        return Resume(at, branch, own[branch], who())
    return Resume(at, by=who(), own=own)


def time_is_over(scheduler: Any, branch: str | None, at: float) -> bool:
    """Whether nobody answered within `human_wait_minutes`, and something is to happen then."""
    minutes, action = scheduler.config.human_wait_minutes, scheduler.config.human_timeout_action
    if minutes is None or action == HumanTimeoutAction.PAUSE:
        return False
    asking = [
        pause
        for root, pause in scheduler.pauses.items()
        if pause.is_human and (branch is None or root == branch)
    ]
    return any(at >= pause.since + 60 * minutes for pause in asking)
