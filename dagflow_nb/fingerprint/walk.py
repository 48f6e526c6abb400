"""The walk over an action's code: its function and, transitively, all of one's own that it uses.

Rules kept here: what is live counts, not what the text says of it (decorators, defaults, closures and
globals are read as the values they are); one's own functions and classes are followed, each once, so that
circles end; installed ones count by their package; every part has a name of its own, so that what has
changed can be told.
"""

from __future__ import annotations

import builtins
import logging
import re
import sys
import types
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ..actions import Action, ClassAction, FunctionAction, NodeAction
from ..codec.base import SCALARS
from .classes import annotations_of, class_parts
from .hashing import NotCacheable, digest_of, is_big, packed_digest, sorted_json
from .objects import Reader
from .packages import Package, of_module, package_of, package_of_file
from .source import Source, source_of
from .trace import MISSING, Trace

_HIDDEN = re.compile(r"(?i)key|token|secret|passw|credential")
_SHOWN = 60
_UNREAD = "not read"
_CONSTANT = SCALARS | {tuple, frozenset, bytes}


class Part(NamedTuple):
    """One thing that a result depends on: the digest of it, and how it looks where it is short."""

    digest: str
    shown: str | None = None


class Walk:
    """Collects the parts of one action's code.

    `module`: whose names need no module before them. `light`: of values only constants are
    read, so that what an action keeps in a list of its own is no change of its code.
    """

    def __init__(self, module: str, *, light: bool = False) -> None:
        self.module, self.light = module, light
        self.parts: dict[str, Part] = {}
        self.paths = False
        self.trace = Trace()
        self._labels: dict[int, tuple[str, Any]] = {}
        self._times: dict[str, int] = {}
        self._annotated: dict[int, types.FunctionType] = {}
        self._documented = False
        self._docs: dict[str, str | None] = {}

    def finish(self) -> dict[str, Part]:
        """All parts, by their names; where code asks for docstrings these count too."""
        if self._documented:
            docs = {label: doc for label, doc in self._docs.items() if doc}
            self.parts["docstrings"] = Part(digest_of(sorted_json(docs)))
        return self.parts

    # --- parts --------------------------------------------------------------------------------

    def _label(self, what: str, obj: Any, module: str, name: str) -> str:
        own = module == self.module or (module == "__main__" and self.module.startswith("__main__"))
        label = f"{what} {name}" if own else f"{what} {module}.{name}"
        times = self._times[label] = self._times.get(label, 0) + 1
        if times > 1:
            label = f"{label} ({times})"
        self._labels[id(obj)] = (label, obj)
        return label

    def package(self, package: Package) -> str:
        """An installed distribution, by its version."""
        label = f"package {package.name}"
        self.parts[label] = Part(digest_of(package.version.encode()), package.version)
        return label

    def value_of(self, value: Any, label: str) -> str:
        """The digest of a value, which `label` names if it cannot be read."""
        if self.light and (type(value) not in _CONSTANT or is_big(value)):
            return _UNREAD
        known = len(self.parts), len(self._labels)
        digest, paths = packed_digest(lambda: Reader(self), value, f"{label}: ")
        self.paths |= paths
        if (len(self.parts), len(self._labels)) != known:
            self.trace.reusable = False  # there is code in it
        elif type(value) not in SCALARS and not isinstance(value, logging.Logger | re.Pattern):
            self.trace.value(value, digest)
        return digest

    def _value(self, label: str, value: Any) -> str:
        """A plain value as a part of its own."""
        digest = self.value_of(value, label)
        self.parts[label] = Part(digest, None if digest == _UNREAD else shown(label, value))
        return label

    def refer(self, value: Any, label: str) -> str:
        """What code uses under some name: the name of the part that it is, or was made."""
        known = self._labels.get(id(value))
        if known is not None:
            return known[0]
        if isinstance(value, Action):
            return self.refer(value.__wrapped__, label)
        if isinstance(value, types.FunctionType):
            return self.function(value)
        if isinstance(value, type):
            return self.class_(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, types.BuiltinFunctionType) and isinstance(
            value.__self__, types.ModuleType | None
        ):
            package = package_of(value.__module__ or "builtins")
            if package is not None:
                self.package(package)
            return f"{value.__module__}.{value.__qualname__}"
        return self._value(label, value)

    def _module(self, module: types.ModuleType) -> str:
        package = of_module(module)
        if package is not None:
            self.package(package)
            return f"module {module.__name__}"
        label = self._label("module", module, module.__name__, "")
        self.trace.space(vars(module))
        names = {n: v for n, v in vars(module).items() if not n.startswith("__")}
        refs = [[n, self.refer(v, f"global {module.__name__}.{n}")] for n, v in sorted(names.items())]
        self.parts[label] = Part(digest_of(sorted_json(refs)))
        return label

    # --- functions ----------------------------------------------------------------------------

    def function(self, fn: types.FunctionType, *, annotated: bool = False) -> str:
        """One's own function with all it uses; an installed one by its package, and what it wraps.

        `annotated`: somebody may read its annotations, so that they count, too.
        """
        label = self._follow(fn)
        if annotated and id(fn) not in self._annotated:
            self._annotated[id(fn)] = fn
            name = label.partition(" ")[2]
            self.parts[f"annotations {name}"] = Part(digest_of(sorted_json(self._annotations(fn, name))))
        return label

    def _follow(self, fn: types.FunctionType) -> str:
        known = self._labels.get(id(fn))
        if known is not None:
            return known[0]
        package = package_of_file(fn.__code__.co_filename)
        if package is not None and not _has_own_parts(fn):
            self.package(package)
            return f"{fn.__module__}.{fn.__qualname__}"
        module = str(fn.__module__)
        self.trace.function(fn)
        label = self._label("function", fn, module, fn.__qualname__.replace("<locals>.", ""))
        registry = fn.__dict__.get("registry")
        if package is not None and isinstance(registry, types.MappingProxyType):  # functools.singledispatch
            self.trace.reusable = False
            kinds = sorted([self.class_(kind), self.refer(f, label)] for kind, f in registry.items())
            self.parts[label] = Part(digest_of(sorted_json([self.package(package), kinds])))
            return label
        name = label.partition(" ")[2]
        refs: list[Any]
        if package is not None:  # a decorator of theirs around a function of one's own
            refs = [self.package(package), fn.__code__.co_name]
            source = None
        else:
            source = source_of(fn.__code__, fn.__doc__)
            refs = [source.digest, *self._names(fn, source), *self._imported(source)]
            self._documented |= source.documented
            self._docs[label] = fn.__doc__
        refs += self._closure(fn, name, source)
        refs += self._defaults(fn, name)
        if fn.__dict__:
            for key in sorted(fn.__dict__):
                value = fn.__dict__[key]
                if key == "__wrapped__" and isinstance(value, types.FunctionType):
                    # who is wrapped may be asked for its annotations
                    refs.append(["wraps", self.function(value, annotated=True)])
                elif not key.startswith("__pydantic"):
                    refs.append([key, self.refer(value, f"attribute {name}.{key}")])
        self.parts[label] = Part(digest_of(sorted_json(refs)))
        return label

    def _names(self, fn: types.FunctionType, source: Source) -> list[Any]:
        """Globals that the function uses, in the order of their numbers."""
        found: list[Any] = []
        for root, *attributes in source.names:
            value = fn.__globals__.get(root, MISSING)
            self.trace.name(fn.__globals__, root, value)
            if value is MISSING:
                builtin = getattr(builtins, root, MISSING)
                found.append(f"builtin {root}" if builtin is not MISSING else f"unknown {root}")
                continue
            found.append(self._through(value, root, attributes, str(fn.__module__)))
        return found

    def _through(self, value: Any, name: str, attributes: list[str], module: str) -> Any:
        """What `name.a.b` leads to: into modules of one's own only what is used of them."""
        way = list(attributes)
        while isinstance(value, types.ModuleType) and of_module(value) is None and way:
            module, name = value.__name__, way.pop(0)
            space = vars(value)
            value = space.get(name, MISSING)
            self.trace.name(space, name, value)
            if value is MISSING:
                return f"unknown {module}.{name}"
        own = module == self.module
        return self.refer(value, f"global {name}" if own else f"global {module}.{name}")

    def _imported(self, source: Source) -> list[Any]:
        """Modules that a function imports when it runs; one's own ones as a whole."""
        found: list[Any] = []
        for name in source.imports:
            package = package_of(name)
            module = sys.modules.get(name)
            if package is not None:
                found.append(self.package(package))
            elif module is not None:
                found.append(self._module(module) if id(module) not in self._labels else name)
            else:
                found.append(self._not_imported(name))
        return found

    def _not_imported(self, name: str) -> str:
        from importlib import util

        try:
            spec = util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None:
            return f"unknown {name}"
        package = package_of_file(spec.origin)
        if package is not None:
            return self.package(package)
        raise NotCacheable(
            f"it imports {name}, a module of your own, only when it runs: import it at the top of the cell"
        )

    def _closure(self, fn: types.FunctionType, name: str, source: Source | None) -> list[Any]:
        found: list[Any] = []
        for free, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                found.append([free, "unset"])
                self.trace.reusable = False
                continue
            self.trace.cell(cell, value)
            if free == "__class__" and isinstance(value, type):
                found.append([free, self.class_(value)])
                continue
            ways = source.free.get(free, ((),)) if source is not None else ((),)
            for way in ways:
                module = isinstance(value, types.ModuleType)
                ref = (
                    self._through(value, free, list(way), str(fn.__module__))
                    if module
                    else self.refer(value, f"closure {name}.{free}")
                )
                found.append([free, ref])
        return found

    def _defaults(self, fn: types.FunctionType, name: str) -> list[Any]:
        code, defaults = fn.__code__, fn.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        pairs = [*zip(names, defaults, strict=True), *sorted((fn.__kwdefaults__ or {}).items())]
        return [[key, self.refer(value, f"default {name}({key})")] for key, value in pairs]

    def _annotations(self, fn: types.FunctionType, name: str) -> list[Any]:
        found = []
        for key, value in sorted(annotations_of(fn).items()):
            if key != "return":
                found.append([key, self.refer(value, f"annotation {name}({key})")])
        return found

    # --- classes ------------------------------------------------------------------------------

    def class_(self, cls: type) -> str:
        """One's own class with its methods, constants and bases; an installed one by its package."""
        known = self._labels.get(id(cls))
        if known is not None:
            return known[0]
        package = package_of(cls.__module__)
        if package is not None:
            self.package(package)
            return f"{cls.__module__}.{cls.__qualname__}"
        self.trace.space(cls.__dict__)
        label = self._label("class", cls, cls.__module__, cls.__qualname__.replace("<locals>.", ""))
        self._docs[label] = cls.__doc__
        refs = class_parts(self, cls, label.partition(" ")[2])
        self.parts[label] = Part(digest_of(sorted_json(refs)))
        return label

    # --- actions ------------------------------------------------------------------------------

    def action(self, action: NodeAction, annotations: Mapping[str, Any]) -> None:
        """An action: its function or class, the annotations that convert its inputs, its outputs' names."""
        refs: list[Any] = []
        if isinstance(action, FunctionAction):
            if isinstance(action.fn, types.FunctionType):
                refs.append(self.function(action.fn))
            else:
                refs.append(self.refer(action.fn, f"callable {action.name}"))
            refs += [[k, self.refer(v, f"annotation {k}")] for k, v in sorted(annotations.items())]
            refs.append(action.options.outputs)
        else:
            inner = action.action if isinstance(action, ClassAction) else action
            refs += [self.class_(type(inner)), self._value(f"instance {type(inner).__qualname__}", inner)]
            refs.append(action.options.outputs if isinstance(action, ClassAction) else None)
        self.parts[""] = Part(digest_of(sorted_json(refs)))


def _has_own_parts(fn: types.FunctionType) -> bool:
    """Whether an installed function was made around something of one's own."""
    if fn.__closure__ is None:
        return False
    return hasattr(fn, "__wrapped__") or package_of(str(fn.__module__)) is None


def shown(label: str, value: Any) -> str | None:
    """A short value as text, unless its name says that it is a secret."""
    kind = type(value)
    items = (value,) if kind in SCALARS else _items(value) if kind in (list, tuple, dict, set) else None
    if items is None or _HIDDEN.search(label) or len(items) > 16 or not all(map(_is_short, items)):
        return None
    text = repr(value)
    return text if len(text) <= _SHOWN else None


def _is_short(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= _SHOWN
    return type(value) in SCALARS and (type(value) is not int or value.bit_length() < 200)


def _items(value: Any) -> Collection[Any]:
    return [*value.keys(), *value.values()] if type(value) is dict else value
