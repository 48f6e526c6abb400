"""Names in a workflow: of actions (and the functions behind them), of nodes without an id, of inputs."""

from __future__ import annotations

import inspect
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from ..core.model import Ref
from ..errors import ValidationError, shorten
from . import settings
from .handles import Lazy
from .values import same

if TYPE_CHECKING:
    from .builder import Workflow


class _Required:
    """The one value `REQUIRED`: an input that has no default."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "REQUIRED"

    def __reduce__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


def input_defaults(inputs: Any) -> dict[str, Any]:
    """The declared inputs as a dict of defaults, `REQUIRED` where there is none."""
    if inputs is None:
        return {}
    if isinstance(inputs, str):
        inputs = (inputs,)
    if isinstance(inputs, Mapping):
        found = dict(inputs)
    elif isinstance(inputs, Iterable):
        names = list(inputs)
        for name in names:
            if not isinstance(name, str):
                raise _bad_input_name(name)
        found = dict.fromkeys(names, REQUIRED)
        if len(found) < len(names):
            twice = next(name for name in found if names.count(name) > 1)
            raise ValidationError(f"input {twice!r} is declared twice: leave one of them", culprit=twice)
    else:
        raise ValidationError(
            f"inputs is a list of names or a mapping of names to defaults, not {shorten(inputs)}",
            culprit="inputs",
            value=inputs,
        )
    for name, default in found.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise _bad_input_name(name)
        if isinstance(default, Lazy | Ref):
            raise ValidationError(
                f"the default of input {name!r} is a value, not a reference ({default!r})", culprit=name
            )
    return found


def _bad_input_name(name: object) -> ValidationError:
    return ValidationError(
        f"an input is named by a printable text, not by {shorten(name)}", culprit="inputs", value=name
    )


@dataclass(frozen=True, slots=True)
class Named:
    """An action's name, with what was given for it (`source`) and what is to be registered (`given`)."""

    name: str
    source: Any = None
    given: Any = None
    workflow: Workflow | None = None
    outputs: tuple[str, ...] | None = None


class Naming:
    """What a workflow's action names stand for, and which ids come next."""

    def __init__(self) -> None:
        self.functions: dict[str, Any] = {}
        self.workflows: dict[str, Workflow] = {}
        self._known: dict[int, Named] = {}  # by identity of `source`, which is kept alive so
        self._next: dict[str, int] = {}

    def name_action(self, action: Any, owner: Workflow, setting: str = "action") -> Named:
        """The name of what was given as an action; nothing is kept yet (`keep`)."""
        from .builder import Workflow

        if isinstance(action, str):
            return Named(settings.name("an action's name" if setting == "action" else setting, action))
        known = self._known.get(id(action))
        if known is not None:
            return known
        if isinstance(action, Workflow) and setting == "action":
            return self._name_workflow(action, owner)
        if inspect.iscoroutine(action):
            action.close()
            raise ValidationError(
                "the action was called instead of added: write wf.add(action, ...), without ()",
                culprit=setting,
            )
        if isinstance(action, Lazy | Ref | Workflow) or not (callable(action) or hasattr(action, "execute")):
            also = "a NodeAction or a Workflow" if setting == "action" else "or a NodeAction"
            raise ValidationError(
                f"{setting} takes an action's name, a function, {also}, not {shorten(action)}",
                culprit=setting,
                value=action,
            )
        from ..actions import as_action  # pydantic comes in only where a function is given

        made = as_action(action)
        name = settings.name("an action's name", made.name)
        given = made if isinstance(action, type) else action
        self._check_redefinition(name, given)
        outputs = getattr(getattr(made, "options", None), "outputs", None)
        return Named(name, action, given, outputs=outputs)

    def _name_workflow(self, action: Workflow, owner: Workflow) -> Named:
        if action is owner:
            raise ValidationError(f"workflow {owner.name!r} cannot contain itself", culprit=owner.name)
        other = self.workflows.get(action.name)
        if other is not None and other is not action and other != action:
            raise ValidationError(
                f"two different workflows are called {action.name!r} here: give one of them another name",
                culprit=action.name,
            )
        return Named(action.name, workflow=action)

    def _check_redefinition(self, name: str, given: Any) -> None:
        old = self.functions.get(name)
        if old is not None and is_another(old, given):
            raise ValidationError(
                f"two different actions are called {name!r} here: give one of them another name "
                f"(flow.action(name='...'))",
                culprit=name,
            )

    def keep(self, named: Named) -> None:
        """Remembers the function or workflow behind a name that is now used."""
        if named.given is not None:
            self.functions[named.name] = named.given
            self._known[id(named.source)] = named
        if named.workflow is not None:
            self.workflows[named.name] = named.workflow

    def free_id(self, name: str, taken: Container[str]) -> str:
        """`name`, or the first free one of `name_2`, `name_3`, ..."""
        if name not in taken:
            return name
        number = self._next.get(name, 2)
        while f"{name}_{number}" in taken:
            number += 1
        self._next[name] = number
        return f"{name}_{number}"


def is_same(one: Any, other: Any) -> bool:
    """Whether two functions or actions do the same: made by the same code, with equal things in them.

    >>> def adder(n):
    ...     return lambda x: x + n
    >>> is_same(adder(1), adder(1)), is_same(adder(1), adder(2))
    (True, False)
    """
    a, b = inspect.unwrap(one), inspect.unwrap(other)
    if isinstance(a, FunctionType) and isinstance(b, FunctionType):
        return a is b or (a.__code__ is b.__code__ and same(_held(a), _held(b)))
    if type(a) is type(b) and hasattr(a, "execute"):
        return same(getattr(a, "__dict__", {}), getattr(b, "__dict__", {}))
    return same(a, b)


def _held(function: FunctionType) -> list[Any]:
    """What a function has besides its code: defaults, and what it closes over."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            cells.append(cell)
    return [function.__defaults__, function.__kwdefaults__, cells]


def is_another(old: Any, new: Any) -> bool:
    """Whether `new` is another action than `old`, not the same one or a newer definition of it."""
    a, b = inspect.unwrap(old), inspect.unwrap(new)
    if a is b:
        return False
    if isinstance(a, FunctionType) and isinstance(b, FunctionType):
        # a cell that is run again makes new code in the same place; a factory the same code twice,
        # perhaps with other things closed over
        redefined = (a.__module__, a.__qualname__) == (b.__module__, b.__qualname__)
        return not redefined or a.__code__ is b.__code__
    return not is_same(a, b)
