"""What a function's code says: its source without what means nothing, and the names that it uses.

Rules kept here: the source counts only if it compiles to the very code that runs (a file may have been
edited since it was imported); where there is none, the bytecode counts. Left out are comments, layout,
docstrings (unless some code asks for `__doc__`), annotations (who needs them adds them), and of the
function itself decorators and defaults: these are there as values. Names of globals stand as numbers, so
that what a name stands for counts, and not how an import calls it.
"""

from __future__ import annotations

import ast
import dis
import linecache
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from .hashing import digest_of

_GLOBAL = frozenset(
    {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
)
_FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_SKIPPED = frozenset({"EXTENDED_ARG", "PUSH_NULL", "CACHE", "NOP"})
_FUTURE = 0x1FF0000  # the flags of `from __future__ import`
_MOST = 4096
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True, slots=True)
class Source:
    """`digest`: of the normalised text. `names`: globals in the order of their numbers, each with the
    attributes that are read from it; `imports`: modules that it imports itself; `documented`: it asks
    for a docstring."""

    digest: str
    names: tuple[tuple[str, ...], ...]
    free: dict[str, tuple[tuple[str, ...], ...]]
    imports: tuple[str, ...]
    documented: bool


_known: dict[int, tuple[CodeType, Source]] = {}
_files: dict[str, tuple[str, dict[str, list[tuple[CodeType, Function]]]]] = {}


def source_of(code: CodeType, doc: str | None = None) -> Source:
    """What this code says; read once for each code object."""
    known = _known.get(id(code))
    if known is not None:
        return known[1]
    if len(_known) >= _MOST:
        _known.clear()
    made = _read(code, doc)
    _known[id(code)] = (code, made)
    return made


def _read(code: CodeType, doc: str | None) -> Source:
    codes = list(_nested(code))
    chains, free = _uses(codes)
    imports = tuple(sorted(_imports(codes)))
    local = {name for c in codes for name in (*c.co_varnames, *c.co_cellvars, *c.co_freevars)}
    documented = any("__doc__" in c.co_names for c in codes)
    node = _find(code)
    roots = dict.fromkeys(chain[0] for chain in chains)
    if node is None:
        text = repr(_bytecode(code, doc))
        ordered = list(roots)
    else:
        names = {name for name in roots if name not in local}
        normal = _Normal(names)
        text = ast.dump(normal.function(node))
        ordered = [*normal.numbers, *(name for name in roots if name not in normal.numbers)]
    rank = {name: n for n, name in enumerate(ordered)}
    chains.sort(key=lambda chain: (rank[chain[0]], chain))
    digest = digest_of(text.encode("utf-8", "surrogatepass"))
    return Source(digest, tuple(chains), free, imports, documented)


# --- names ------------------------------------------------------------------------------------


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _uses(codes: list[CodeType]) -> tuple[list[tuple[str, ...]], dict[str, tuple[tuple[str, ...], ...]]]:
    """Globals, and free variables, each with the attributes read from it at once."""
    chains: dict[tuple[str, ...], None] = {}
    free: dict[tuple[str, ...], None] = {}
    for code in codes:
        chain: list[str] = []
        into = chains
        for step in dis.get_instructions(code):
            if step.opname in _SKIPPED:
                continue
            if step.opname in _ATTRIBUTE and chain:
                chain.append(str(step.argval))
                continue
            if chain:
                into[tuple(chain)] = None
                chain = []
            if step.opname in _GLOBAL:
                chain, into = [str(step.argval)], chains
            elif step.opname in _FREE:
                chain, into = [str(step.argval)], free
        if chain:
            into[tuple(chain)] = None
    by_name: dict[str, tuple[tuple[str, ...], ...]] = {}
    for name, *rest in free:
        by_name[name] = (*by_name.get(name, ()), tuple(rest))
    return list(chains), by_name


def _imports(codes: list[CodeType]) -> Iterator[str]:
    for code in codes:
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                yield str(step.argval)


# --- text -------------------------------------------------------------------------------------


def tree_of(code: CodeType, most: int) -> Function | None:
    """The part of the syntax tree that compiles to this code; None if no source does, or if it takes more
    than `most` characters to see (a function whose own lines say everything takes no more than these)."""
    lines = linecache.getlines(code.co_filename)
    if sum(map(len, lines)) <= most:
        return _find(code)
    return _alone(code, lines, most)


def _find(code: CodeType) -> Function | None:
    """The part of the syntax tree that compiles to this code; None if no source does."""
    filename = code.co_filename
    lines = linecache.getlines(filename)
    if not lines:
        return None
    known = _files.get(filename)
    if known is None and (alone := _alone(code, lines)) is not None:
        return alone
    text = "".join(lines)
    if known is None or known[0] != text:
        if len(_files) >= 256:
            _files.clear()
        _files[filename] = known = (text, _index(text, code.co_flags & _FUTURE))
    same = [pair for pair in known[1].get(code.co_qualname, ()) if _same(pair[0], code)]
    same.sort(key=lambda pair: list(pair[0].co_positions()) != list(code.co_positions()))
    return same[0][1] if same else None


def _alone(code: CodeType, lines: list[str], most: int | None = None) -> Function | None:
    """The same for a function whose own lines say everything; a long file need not be read for it."""
    first = code.co_firstlineno
    last = max((place[1] or first for c in _nested(code) for place in c.co_positions()), default=first)
    text = textwrap.dedent("".join(lines[first - 1 : last]))
    if most is not None and len(text) > most:
        return None
    if code.co_freevars:  # of a function around it
        text = f"def around({', '.join(code.co_freevars)}):\n{textwrap.indent(text, ' ')}"
    # what is imported is called in another way
    imports = [line for line in lines if line.startswith(("import ", "from ")) and line[-2:-1] not in "(\\"]
    found = [p for ps in _index("".join([*imports, text]), code.co_flags & _FUTURE).values() for p in ps]
    start = len(imports) + (2 if code.co_freevars else 1)
    same = [node for made, node in found if made.co_firstlineno == start and _same(made, code)]
    return same[0] if len(same) == 1 and not isinstance(same[0], ast.Lambda) else None


def _index(text: str, future: int) -> dict[str, list[tuple[CodeType, Function]]]:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | future
    try:
        tree = ast.parse(text)
        whole = compile(text, "<source>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    nodes: dict[tuple[str, int], list[Function]] = {}
    _walk(tree, nodes)
    found: dict[str, list[tuple[CodeType, Function]]] = {}
    for code in _nested(whole):
        key = (code.co_qualname.rpartition(".")[2], code.co_firstlineno)
        for node in nodes.get(key, ()):
            if not isinstance(node, ast.Lambda) or _is_body(node, code):
                found.setdefault(code.co_qualname, []).append((code, node))
    return found


def _walk(node: ast.AST, nodes: dict[tuple[str, int], list[Function]]) -> None:
    for child in ast.walk(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            line = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            nodes.setdefault((child.name, line), []).append(child)
        elif isinstance(child, ast.Lambda):
            nodes.setdefault(("<lambda>", child.lineno), []).append(child)


def _is_body(node: ast.Lambda, code: CodeType) -> bool:
    body = node.body
    place = (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)
    return place in set(code.co_positions())


def _same(a: CodeType, b: CodeType) -> bool:
    return _bytecode(a, None) == _bytecode(b, None)


def _bytecode(code: CodeType, doc: str | None) -> tuple[Any, ...]:
    """Everything about a code object that decides what it does; the docstring is none of it."""
    constants = [c for c in code.co_consts if not (doc is not None and c == doc)]
    return (
        code.co_code,
        code.co_name,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        tuple(map(_constant, constants)),
    )


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _bytecode(value, None)
    if isinstance(value, frozenset):
        return ("frozenset", sorted(map(repr, value)))
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    return (type(value).__name__, repr(value))


class _Normal(ast.NodeTransformer):
    """Takes out what means nothing and numbers the globals; works on a copy."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.numbers: dict[str, int] = {}

    def function(self, node: Function) -> ast.AST:
        """The outermost function: its decorators and defaults count as values, its name does not."""
        copy: Any = _copy(node)
        arguments = copy.args
        arguments.defaults, arguments.kw_defaults = [], [None] * len(arguments.kwonlyargs)
        if isinstance(copy, ast.Lambda):
            return self.generic_visit(copy)
        copy.decorator_list, copy.returns = [], None
        copy.body = _without_docstring(copy.body)
        _drop_annotations(arguments)
        return self.generic_visit(copy)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._names:
            node.id = f"${self.numbers.setdefault(node.id, len(self.numbers))}"
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        # inside of a function an annotation of a variable is never looked at
        if isinstance(node.target, ast.Name):
            node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        body = _without_docstring(node.body)
        node.body = []
        self.generic_visit(node)
        # an annotation of a class may make a field
        for part in body:
            visit = self.generic_visit if isinstance(part, ast.AnnAssign) else self.visit
            visited: Any = visit(part)
            node.body.append(visited)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        if not node.decorator_list:  # a decorator may look at them
            node.returns = None
            _drop_annotations(node.args)
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef


def _copy(node: ast.AST) -> ast.AST:
    """A copy of a syntax tree, without its positions."""

    def part(value: Any) -> Any:
        if isinstance(value, ast.AST):
            return _copy(value)
        return [part(item) for item in value] if isinstance(value, list) else value

    return type(node)(**{name: part(value) for name, value in ast.iter_fields(node)})


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and type(first.value.value) is str
    ):
        return body[1:]
    return body


def _drop_annotations(arguments: ast.arguments) -> None:
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for argument in (*found, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None
