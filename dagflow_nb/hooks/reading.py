"""`Reader`: what the lines of a function do, and to what, as far as it is harmless.

A value is a set of what an expression may give: exact types, and ways (`looks.Way`) that say where a value
will lie when the function is called. What is not listed here is not proved.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import fields
from types import CodeType, FunctionType
from typing import Any

from ..core.model import NodeSpec
from ..fingerprint import tree_of
from .harmless import (
    ANSWERS,
    BOOL,
    CALLS,
    CHANGES,
    FIELDS,
    KINDS,
    MADE,
    METHODS,
    TESTABLE,
    TEXT,
    Value,
)
from .looks import ATOMS, DICTS, EVENTS, MISSING, NUMBERS, REFUSED, Names, Way

_MOST_SOURCE = 10_000  # characters that are read to find the function
_MOST_CODE = 2_000  # bytes of a function that is looked at
_ODD = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Unproved(Exception):
    """There is something in a function that is not known to be harmless."""


class Reader:
    """Reads a function once; raises `Unproved`.

    `ways`: the types that are harmless at the end of each (None: any); `same`: what has to lie there, as it
    does now; `set`: attributes that are set, each with the way to its object.
    """

    def __init__(self, function: FunctionType) -> None:
        code = function.__code__
        nested = any(isinstance(constant, CodeType) for constant in code.co_consts)
        if nested or code.co_cellvars or code.co_flags & _ODD or len(code.co_code) > _MOST_CODE:
            raise Unproved
        tree = tree_of(code, _MOST_SOURCE)
        if tree is None:
            raise Unproved
        self._names = Names(function, {})
        # There are no loops: what is assigned further down has not been assigned yet.
        self._locals: dict[str, Value] = {name: frozenset() for name in code.co_varnames}
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            self._locals[name] = frozenset({Way(name)})
        self.ways: dict[Way, Value | None] = {}
        self.same: dict[Way, Any] = {}
        self.set: dict[tuple[Way, str], None] = {}
        if isinstance(tree, ast.Lambda):
            self._of(tree.body, ANSWERS, only_ways=True)
        else:
            self._read(tree.body)

    def _read(self, body: list[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.Pass() | ast.Global() | ast.Nonlocal() | ast.Expr(ast.Constant()):
                    pass
                case ast.Return(None) | ast.Expr(ast.Yield(None)):
                    pass
                case ast.Return(value) | ast.Expr(ast.Yield(value)):
                    # a wrong answer is told of where all answers are looked at
                    self._of(value, ANSWERS, only_ways=True)
                case ast.If(test, then, otherwise):
                    self._of(test, TESTABLE)
                    self._read(then)
                    self._read(otherwise)
                case ast.Assign([target], given):
                    self._assign(target, self._of(given))
                case ast.AnnAssign(ast.Name() as target, _, ast.expr() as given):
                    self._assign(target, self._of(given))
                case ast.AugAssign(target, ast.Add() | ast.Sub(), added):
                    self._assign(target, self._sum(self._of(target), self._of(added)))
                case _:
                    raise Unproved

    def _assign(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name) and target.id in self._locals:
            self._locals[target.id] |= value
            return
        # Nothing but numbers, in place of what is as plain: where a way leads over one afterwards, there is
        # what is harmless, or Python's own error.
        self._need(value, NUMBERS)
        for way in self._of(target, ATOMS):
            if not isinstance(way, Way):
                raise Unproved
            if way.steps and way.steps[-1][0]:
                self.set[Way(way.root, way.steps[:-1]), way.steps[-1][1]] = None

    # --- values ---

    def _need(self, value: Value, kinds: Value | None, *, only_ways: bool = False) -> Value:
        """What is done with the value is harmless with these types."""
        if kinds is None:
            return value
        for one in value:
            if isinstance(one, Way):
                known = self.ways.get(one)
                self.ways[one] = kinds if known is None else known & kinds
            elif one not in kinds and not only_ways:
                raise Unproved
        return value

    def _step(self, value: Value, is_attribute: bool, key: Any) -> Value:
        return frozenset(self._way(one, (is_attribute, key)) for one in value)

    def _keys(self, value: Value) -> None:
        """No key of these dicts may be somebody's object, which would be compared with others."""
        self._step(frozenset(one for one in value if isinstance(one, Way)), False, "")

    def _way(self, start: Any, *steps: tuple[bool, Any]) -> Way:
        if not isinstance(start, Way):
            raise Unproved
        way = Way(start.root, start.steps + steps)
        if way not in self.ways:
            self.ways[way] = None
            self._names.follow(way)  # what is imported by being asked for is imported now
        return way

    def _sum(self, left: Value, right: Value) -> Value:
        kinds = ATOMS
        for sure in (NUMBERS, TEXT):
            if sure.issuperset(left) or sure.issuperset(right):
                kinds &= sure
        self._need(left | right, kinds)
        return kinds

    # --- expressions ---

    def _of(self, node: Any, kinds: Value | None = None, *, only_ways: bool = False) -> Value:
        """What the expression may give; what is done with that is harmless with these types."""
        return self._need(self._found(node), kinds, only_ways=only_ways)

    def _found(self, node: Any) -> Value:
        match node:
            case ast.Constant(value) if type(value) in ATOMS:
                return frozenset({type(value)})
            case ast.Name(name) if not name.startswith("__"):
                known = self._locals.get(name)
                return frozenset({self._way(Way(name))}) if known is None else known
            case ast.Attribute(of, name) if not name.startswith("__"):  # a class may call it otherwise
                return self._step(self._of(of), True, name)
            case ast.Subscript(of, key):
                return self._step(self._of(of), False, _constant(key))
            case ast.JoinedStr(parts):
                for part in parts:
                    self._part(part)
                return TEXT
            case ast.List(items) | ast.Tuple(items):
                for one in items:
                    self._of(one)
                return frozenset({list if isinstance(node, ast.List) else tuple})
            case ast.Dict(keys, values):
                for at, inside in zip(keys, values, strict=True):
                    if at is None:
                        self._keys(self._of(inside, DICTS))
                    else:
                        self._of(at, ATOMS), self._of(inside)
                return frozenset({dict})
            case ast.IfExp(test, then, otherwise):
                self._of(test, TESTABLE)
                return self._of(then) | self._of(otherwise)
            case ast.BoolOp(_, [*tests, last]):
                return frozenset().union(*(self._of(test, TESTABLE) for test in tests), self._of(last))
            case ast.UnaryOp(ast.Not(), operand):
                self._of(operand, TESTABLE)
                return BOOL
            case ast.UnaryOp(ast.UAdd() | ast.USub(), operand):
                self._of(operand, NUMBERS)
                return NUMBERS
            case ast.BinOp(left, ast.Add(), right):
                return self._sum(self._of(left), self._of(right))
            case ast.BinOp(left, ast.Sub() | ast.Mult() | ast.Div() | ast.FloorDiv() | ast.Mod(), right):
                self._of(left, NUMBERS)
                self._of(right, NUMBERS)
                return NUMBERS
            case ast.Compare(left, operators, others):
                for a, how, b in zip((left, *others), operators, others, strict=False):
                    self._compare(a, how, b)
                return BOOL
            case ast.Call(ast.Attribute(of, name), arguments, named) if name in {"get", *METHODS, *CHANGES}:
                return self._method(self._of(of), name, arguments, named)
            case ast.Call(function, arguments, named):
                return self._call(self._known(function), arguments, named)
        raise Unproved

    def _part(self, part: ast.expr) -> None:
        match part:
            case ast.Constant():
                return
            case ast.FormattedValue(value, _, None):
                self._of(value, ATOMS)
                return
            case ast.FormattedValue(value, _, ast.JoinedStr([ast.Constant(str() as how)])):
                self._of(value, ATOMS)
                if not re.search(r"\d{4}", how):  # thousands of characters
                    return
        raise Unproved

    def _compare(self, left: ast.expr, how: ast.cmpop, right: ast.expr) -> None:
        if isinstance(how, ast.Is | ast.IsNot):
            self._of(left), self._of(right)
        elif not isinstance(how, ast.In | ast.NotIn):
            self._of(left, ATOMS), self._of(right, ATOMS)
        elif isinstance(right, ast.List | ast.Tuple | ast.Set):
            for one in (left, *right.elts):
                self._of(one, ATOMS)
        elif isinstance(left, ast.Constant):
            self._keys(self._of(right, DICTS | TEXT))
            self._of(left, ATOMS)
        else:
            self._of(left, ATOMS), self._of(right, TEXT)

    # --- calls ---

    def _known(self, function: ast.expr) -> Any:
        """The very object that is called, which is looked for again when the hook is."""
        match [*self._of(function)] if isinstance(function, ast.Name | ast.Attribute) else []:
            case [Way(root) as way] if root not in self._locals:
                found = self._names.follow(way)
                if found is not MISSING and found is not REFUSED:
                    self.same[way] = found
                    return found
        raise Unproved

    def _call(self, called: Any, arguments: Sequence[ast.expr], named: Sequence[ast.keyword]) -> Value:
        kind = MADE.get(id(called))
        if kind is not None:
            order = [field.name for field in fields(kind)]
            by_name = [(one.arg, one.value) for one in named]
            for name, given in (*zip(order, arguments, strict=False), *by_name):
                self._of(given, FIELDS.get(str(name), ATOMS))
            if len(arguments) > len(order) or any(name is None for name, _ in by_name):
                raise Unproved
            return frozenset({kind})
        if called is isinstance and len(arguments) == 2 and not named:
            kinds = arguments[1].elts if isinstance(arguments[1], ast.Tuple) else [arguments[1]]
            self._of(arguments[0], TESTABLE | EVENTS)
            if not all(id(self._known(one)) in KINDS for one in kinds):
                raise Unproved
            return BOOL
        if id(called) not in CALLS or named:
            raise Unproved
        takes, gives = CALLS[id(called)]
        for given in arguments:
            self._of(given, takes)
        return gives

    def _method(
        self, of: Value, name: str, arguments: Sequence[ast.expr], named: Sequence[ast.keyword]
    ) -> Value:
        if name in CHANGES:
            if of != {NodeSpec}:
                raise Unproved
            for name_of, given in (
                *((None, one) for one in arguments),
                *((one.arg, one.value) for one in named),
            ):
                if name != "with_inputs":
                    self._of(given, CHANGES[name])
                elif name_of in (None, "inputs"):
                    self._keys(self._of(given, CHANGES[name]))  # it is merged with the others
                else:
                    self._of(given)
            return of
        if named or (not arguments and name == "get"):
            raise Unproved
        if name == "get":
            key, *default = arguments
            self._need(of, DICTS)
            found = self._step(of, False, _constant(key))
            return found.union(*map(self._of, default) if default else [{type(None)}])
        self._need(of, TEXT)
        for given in arguments:
            self._of(given, ATOMS | {tuple})
        return METHODS[name]


def _constant(node: ast.expr) -> str | int:
    """A text or a whole number that stands there."""
    match node:
        case ast.UnaryOp(ast.USub(), ast.Constant(int() as number)):
            return -number
        case ast.Constant((str() | int()) as value):
            return value
    raise Unproved
