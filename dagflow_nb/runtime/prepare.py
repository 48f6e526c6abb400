"""From a workflow to what a run needs: everything that can be known before the start is checked here."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..actions import (
    MISSING,
    Action,
    ActionRegistry,
    FunctionAction,
    LateAction,
    NodeAction,
    function_of,
    settings_of,
)
from ..cache import Cache
from ..codec import Codec
from ..config import DagConfig
from ..core import messages as m
from ..core.model import EMPTY, NodeDef, iter_refs
from ..errors import ActionNotFound, ValidationError, did_you_mean, shorten
from ..fingerprint import Code, code_of, read_source
from ..workflow.builder import Workflow
from ..workflow.naming import REQUIRED, is_another
from .executors import Executors
from .outline import Outline
from .recovery import Loaded, StoredOutputs

if TYPE_CHECKING:
    from ..hooks import HookSet

log = logging.getLogger("dagflow_nb")


@dataclass(slots=True)
class Prepared:
    """A run that is ready to begin."""

    workflow: Workflow
    outline: Outline
    specs: tuple[NodeDef, ...]  # those of the outline, with secrets hidden
    config: DagConfig
    inputs: dict[str, Any]
    actions: dict[str, NodeAction]
    settings: dict[str, m.ActionSettings]
    codes: dict[str, Code]
    cache: Cache = field(default_factory=Cache)
    executors: set[str] = field(default_factory=set)  # the names of those that it needs
    hides: bool = False  # whether some of its values are secrets by what takes them


def _names(specs: Iterable[NodeDef]) -> set[str]:
    return {spec.action for spec in specs} | {spec.failure for spec in specs if spec.failure is not None}


def find_late(specs: Iterable[NodeDef], registry: ActionRegistry) -> None:
    """Look for the functions of actions that nodes name and of which only the place is known so far.

    Raises `ValidationError` for one that is not there.
    """
    for spec in specs:
        template = spec.result["template"] if spec.kind == "map" and spec.result is not None else ()
        if template:
            find_late(template, registry)
        for name in (spec.action, spec.failure):
            if name is not None and isinstance(action := registry.get(name), LateAction):
                registry.register(action.resolve())


def read_sources(specs: Iterable[NodeDef], registry: ActionRegistry) -> None:
    """Read the source of each action that the nodes name, as far as it is there."""
    for name in _names(specs):
        if (action := registry.get(name)) is not None:
            read_source(action)


def codes_of(specs: Iterable[NodeDef], actions: Mapping[str, NodeAction]) -> dict[str, Code]:
    """The code of each action that the nodes name, to tell later what has changed; without big values."""
    return {name: code_of(actions[name], light=True) for name in sorted(_names(specs) & actions.keys())}


def codes_to_go_on(
    loaded: Loaded, more: Iterable[m.Input], still: Iterable[NodeDef], actions: Mapping[str, NodeAction]
) -> tuple[dict[str, str], dict[str, Code]]:
    """The digests of a run's code from now on, by action, and the code of what will run again.

    What has ended well is kept although its code has changed since: that is said.
    """
    scheduler = loaded.scheduler
    named = [x.node_id for x in more if isinstance(x, m.RetryNodes) and x.node_id in scheduler.nodes]
    again = [node.spec for id in named if id is not None for node in scheduler.graph.branch(id)]
    codes = codes_of([*still, *again], actions)
    known: dict[str, str] = json.loads(loaded.row.get("code") or "{}")
    kept = [node for node in scheduler.nodes.values() if node.spec.action in known.keys() - codes.keys()]
    now = codes_of([node.spec for node in kept], actions)
    changed = [n.id for n in kept if (code := now.get(n.spec.action)) and code.digest != known[n.spec.action]]
    if changed:
        log.warning(
            "run %s: the code of %s has changed since; what ended well is kept, flow.retry(run, %r) runs it",
            scheduler.run_id,
            ", ".join(map(repr, changed[:5])),
            changed[0],
        )
    return known | {name: code.digest for name, code in codes.items()}, codes


def say_what_changed(
    run_id: str, known: Mapping[str, str], codes: Mapping[str, Code], at: float
) -> list[tuple[Any, ...]]:
    """Log which actions are no longer the ones that the run had (`known`: digests); rows of its own log."""
    changed = [repr(name) for name, code in codes.items() if known.get(name, code.digest) != code.digest]
    if not changed:
        return []
    text = f"{', '.join(changed)} changed since the run was left: what still runs, runs the new code"
    log.warning("run %s: %s", run_id, text)
    return [(None, None, at, "WARNING", "log", text)]


def check_functions(workflow: Workflow, registry: ActionRegistry, brought: Collection[str]) -> None:
    """No function of a workflow has the name of another action that is defined: which would run, nobody sees.

    `brought`: names of functions that came along with workflows; these are replaced.
    """
    for name, function in workflow.functions.items():
        known = registry.get(name) if name not in brought else None
        if known is None or isinstance(function, Action):
            continue
        if is_another(function_of(known), function_of(function)):
            raise ValidationError(
                f"workflow {workflow.name!r} brings a function {name!r}, but another action of that name is "
                f"defined: decorate it with @flow.action to replace that one, or with @flow.action(name=...)",
                culprit=name,
            )


def check_actions(specs: Iterable[NodeDef], actions: Mapping[str, NodeAction]) -> None:
    """Every action that the nodes name is there; raises `ActionNotFound` naming the first node without."""
    found: set[tuple[str, str, str | None]] = set()
    for spec in specs:
        kind = (spec.kind, spec.action, spec.failure)
        if kind in found:
            continue
        if spec.kind == "action":
            found.add(kind)
        names = [spec.failure] if spec.failure is not None else []
        template = spec.kind == "map" and spec.result is not None
        if spec.kind == "action" or (spec.kind == "map" and not template):
            names.insert(0, spec.action)
        if template:
            check_actions(spec.result["template"], actions)
        for name in names:
            if name not in actions:
                raise ActionNotFound(name, actions, spec.id)
            for other in needed_by(actions[name]):
                if other not in actions:
                    raise ActionNotFound(other, actions, spec.id)


def tell_unmatched(
    name: str, config: DagConfig, specs: Iterable[NodeDef], actions: Mapping[str, NodeAction], hooks: HookSet
) -> None:
    """Log what a run's settings and hooks name and nothing is called: no error, as it may be added later."""
    limits, budgets = config.limits, config.branch_budgets
    asked = {hook.action for hook in hooks if hook.action is not None and hook.is_of(name)}
    unmatched: list[tuple[str, str, str, Iterable[str]]] = []
    unmatched += (("a hook", "action", one, actions) for one in sorted(asked - actions.keys()))
    if limits or budgets:
        specs = list(specs)
        inside = [s for spec in specs if spec.kind == "map" and spec.result for s in spec.result["template"]]
        tags = {tag for spec in (*specs, *inside) for tag in spec.tags}
        tags |= {tag for action in actions.values() for tag in settings_of(action).tags}
        known = {*actions, *tags}
        unmatched += [("limits", "action or tag", one, known) for one in limits if one not in known]
        ids = {spec.id for spec in specs}
        groups = tuple(f"{spec.id}/" for spec in specs if spec.kind in ("map", "workflow"))
        for one in budgets:
            if not one.startswith(groups) and not any(fnmatchcase(id, one) for id in ids):
                unmatched.append(("branch_budgets", "node", one, ids))
    for where, what, one, there in unmatched:
        hint = did_you_mean(one, there)
        log.warning("%s names %r, and no %s of workflow %r is called so: %s", where, one, what, name, hint)


def needed_by(action: NodeAction) -> tuple[str, ...]:
    """The names of the actions that an action needs: its failure's handler, the tools that it offers."""
    handler = getattr(settings_of(action), "failure", None)
    offered = getattr(getattr(action, "action", None), "offers", ())
    return offered if handler is None else (handler, *offered)


def executor_of(spec: NodeDef, settings: Mapping[str, m.ActionSettings]) -> str:
    """The name of the executor on which a node runs."""
    return spec.executor or (settings[spec.action].executor if spec.action in settings else "async")


def check_executors(
    specs: Iterable[NodeDef], settings: Mapping[str, m.ActionSettings], executors: Executors
) -> set[str]:
    """Every executor that nodes and their actions name is there; returns their names."""
    alike: dict[tuple[str | None, str], NodeDef] = {}
    for spec in specs:
        alike.setdefault((spec.executor, spec.action), spec)
    found: set[str] = set()
    for spec in alike.values():
        name = executor_of(spec, settings)
        if name not in found:
            executors.check(name, spec.id)
            found.add(name)
    return found


def no_workflow(given: Any) -> ValidationError:
    """The error for what is to be run and is neither a workflow nor a name."""
    name = getattr(given, "name", None) or getattr(given, "__name__", shorten(given))
    if callable(given):
        text = (
            f"{name!r} is no workflow but an action or a function: make a workflow of it, such as "
            f"wf = Workflow('w'); wf.add({name}); flow.run(wf)"
        )
    elif hasattr(given, "command_in"):
        text = f"{name} adds nodes to a run: run.apply(plan), or return it from a hook or a planner"
    else:
        text = f"a Workflow, or the name of one, is run, not {name}"
    return ValidationError(text, culprit=name, value=given)


def check_given(inputs: Any, cache: Any) -> None:
    """What a run is given is of the right kind."""
    if inputs is not None and not (isinstance(inputs, Mapping) and all(isinstance(k, str) for k in inputs)):
        raise ValidationError(
            f"inputs are a mapping of names to values, not {shorten(inputs)}", culprit="inputs"
        )
    if cache is not None and not isinstance(cache, Cache):
        raise ValidationError(f"cache takes a Cache, not {shorten(cache)}", culprit="cache")


def check_run_id(run_id: Any) -> None:
    """A run's id is a text that can be told from others by its look, or None."""
    if run_id is None:
        return
    if not isinstance(run_id, str) or not run_id.strip() or len(run_id) > 200 or not run_id.isprintable():
        raise ValidationError(
            f"run_id is a text of 1 to 200 printable characters, not {shorten(run_id)}",
            culprit="run_id",
            value=run_id,
        )


def gather_inputs(
    workflow: Workflow,
    specs: Iterable[NodeDef],
    given: Mapping[str, Any],
    by_name: Mapping[str, Any],
    cached: Mapping[str, Any],
) -> dict[str, Any]:
    """The run's inputs: the workflow's defaults, those of a cache, a mapping, and keywords, the last wins.

    Where a workflow declares inputs, one that only references name has to be given, as one
    without default has.
    """
    declared = workflow.inputs
    some = (spec for spec in specs if spec.inputs is not EMPTY or spec.over is not None)
    given_values = [*((spec.inputs, spec.over) for spec in some), workflow.result]
    refs = [ref for values in given_values for ref in iter_refs(values) if ref.target == "inputs"]
    known = dict.fromkeys([*declared, *(str(ref.path[0]) for ref in refs if ref.path)])
    for name in by_name:
        if name not in known:
            raise ValidationError(
                f"workflow {workflow.name!r} has no input {name!r}: {did_you_mean(name, known)}", culprit=name
            )
    surplus = [name for name in given if name not in known] if declared else []
    for name in surplus:
        # no error: one mapping may serve several workflows, and a hook may read what no node names
        hint = did_you_mean(name, known)
        log.warning("no node of workflow %r reads the input %r: %s", workflow.name, name, hint)
    defaults = {name: value for name, value in declared.items() if value is not REQUIRED}
    inputs = {**defaults, **cached, **given, **by_name}
    for name in known if declared else ():
        if name in inputs:
            continue
        give = f"flow.run({workflow.name!r}, {name}=...)"
        if name in declared:
            problem = f"workflow {workflow.name!r} needs the input {name!r}: give it, such as {give}"
            problem += f", in place of {shorten(surplus)}" if surplus else ""
        else:
            problem = (
                f"a node of workflow {workflow.name!r} refers to 'inputs.{name}', which is neither declared "
                f"nor given (such as {give}): {did_you_mean(name, declared)}"
            )
        raise ValidationError(problem, culprit=name)
    return inputs


def check_inputs(
    specs: Iterable[NodeDef], actions: Mapping[str, NodeAction], inputs: Mapping[str, Any]
) -> None:
    """What is known before the start of each node's inputs: missing ones, and those that nobody takes."""
    found: list[str] = []
    culprit = None
    content: set[str] = set()  # actions that need no inputs
    for spec in specs:
        if (spec.inputs is EMPTY or not spec.inputs) and spec.kind == "action" and spec.action in content:
            continue
        action = actions.get(spec.action)
        if spec.kind == "workflow" or spec.kind == "branch" or action is None:
            continue
        names = set(spec.inputs)
        if spec.kind == "map":
            if not isinstance(spec.over, Mapping):
                continue  # its rows say what the items get
            names.update(spec.over)
        before = len(found)
        if isinstance(action, FunctionAction) or hasattr(action, "input_problems"):
            for name, text in action.input_problems(names):
                found.append(f"node {spec.id!r}: {text}")
                culprit = culprit or name
        if not names and len(found) == before:
            content.add(spec.action)
        for name, value in spec.inputs.items():
            if name in spec.defaults:
                continue
            default_of = getattr(action, "default_of", None)
            if default_of is not None and default_of(name) is not MISSING:
                continue
            for ref in iter_refs(value):
                if ref.target == "inputs" and ref.path and str(ref.path[0]) not in inputs:
                    missing = str(ref.path[0])
                    found.append(
                        f"node {spec.id!r} needs the run's input {missing!r} (for its own {name!r}), "
                        f"which was not given and has no default"
                    )
                    culprit = culprit or missing
    if found:
        raise ValidationError("; ".join(found[:10]), culprit=culprit)


def input_names(loaded: Loaded) -> set[str]:
    """The inputs of a stored run by name: those that it has, and those that its nodes refer to."""
    specs = [node.spec for node in loaded.scheduler.nodes.values()]
    refs = [ref for spec in specs for value in (spec.inputs, spec.over) for ref in iter_refs(value)]
    return {*loaded.inputs, *(str(ref.path[0]) for ref in refs if ref.target == "inputs" and ref.path)}


def is_same(codec: Codec, had: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether a value has the content that is stored under its key."""
    if key not in had:
        return False
    old, new = (codec.encode(v) for v in (had[key], value))
    return "memory" not in (old.codec, new.codec) and (old.codec, old.data) == (new.codec, new.data)


def check_given_again(loaded: Loaded, given: Any, codec: Codec) -> None:
    """A run that goes on may be given what could not be stored of its inputs, and nothing else."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ValidationError(
            f"inputs are a mapping of names to values, not {shorten(given)}", culprit="inputs"
        )
    run_id, had = loaded.scheduler.run_id, loaded.inputs
    known = input_names(loaded)
    for name, value in given.items():
        if name not in known:
            raise ValidationError(
                f"run {run_id!r} has no input {name!r}: {did_you_mean(str(name), known)}", culprit=name
            )
        stored = isinstance(had, StoredOutputs) and name in had and had.is_stored(name)
        if stored and not is_same(codec, had, name, value):
            raise ValidationError(
                f"run {run_id!r} has the input {name!r} already, and keeps it: "
                f"a new run with another value is made by flow.fork({run_id!r}, inputs={{{name!r}: ...}})",
                culprit=name,
            )


def settings_with(actions: Mapping[str, NodeAction], executor: str | None) -> dict[str, m.ActionSettings]:
    """The actions' settings, with this executor (if it is one) for those that name none."""
    settings = {name: settings_of(action) for name, action in actions.items()}
    if executor is None:
        return settings
    return {
        name: replace(found, executor=executor)
        if isinstance(actions[name], FunctionAction) and not names_executor(actions[name])
        else found
        for name, found in settings.items()
    }


def names_executor(action: Any) -> bool:
    """Whether the action's definition names an executor."""
    return action.options.executor is not None
