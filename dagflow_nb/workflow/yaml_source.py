"""A YAML text as nodes that know their lines, and plain values made of them: safe, bounded, strict.

Only the plain types of YAML are made (as `yaml.safe_load` does), plus two tags of ours inside values:
`!ref node.key` (or `!ref [node, key, 0]`) and `!tuple [...]`. A key that stands twice, an alias that
would blow up, and nesting that would overflow the stack are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ..core.model import EMPTY, Ref
from ..errors import ValidationError, did_you_mean, shorten

MAX_BYTES = 50_000_000
MAX_DEPTH = 100
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
YAML = "tag:yaml.org,2002:"
_BOOL, _NULL, _MERGE = YAML + "bool", YAML + "null", YAML + "merge"
_DEEPER = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_BACK = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class MissingFile(ValidationError, FileNotFoundError):
    """There is no such workflow file."""


def read(
    path: str | os.PathLike[str],
    kind: str = "YAML",
    files: str = "*.y*ml",
    instead: str = "use load_yaml_string(text)",
) -> tuple[str, str]:
    """The text of a file, and its name for errors; `ValidationError` if it cannot be one of ours.

    `kind` of file, which `files` it may be, and what to do `instead` with a text.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValidationError(f"a workflow file is named by a path, not by {shorten(path)}", culprit=path)
    if isinstance(path, str) and "\n" in path:
        raise ValidationError(f"this is a {kind} text, not a path: {instead}", culprit="path")
    file = Path(path).expanduser()
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValidationError(
                f"a workflow file has at most {MAX_BYTES // 10**6} MB: keep data in files of its own and "
                f"pass their paths as inputs",
                culprit=str(file),
                file=str(file),
            )
        data = file.read_bytes()
    except FileNotFoundError:
        folder = file.parent
        near = [p.name for p in folder.glob(files)] if folder.is_dir() else []
        hint = did_you_mean(file.name, near) if near else f"no {kind} file is in {str(folder.absolute())!r}"
        if not folder.is_dir():
            hint = f"there is no folder {str(folder)!r}"
        raise MissingFile(f"there is no file {str(file)!r}: {hint}", culprit=str(file)) from None
    except OSError as error:
        raise ValidationError(
            f"{str(file)!r} cannot be read as a workflow file: {error.strerror or error}", culprit=str(file)
        ) from error
    try:
        return data.decode("utf-8-sig"), str(file)
    except UnicodeDecodeError as error:
        raise ValidationError(
            f"this is no UTF-8 text (byte {error.start}): save it as UTF-8",
            culprit=str(file),
            file=str(file),
            line=data.count(b"\n", 0, error.start) + 1,
        ) from None


def located(error: ValidationError, file: str | None, line: int) -> ValidationError:
    """The same error with the place where it stands, if it has none yet."""
    if error.line is None:
        error.file, error.line = file, line
        error.args = (f"{file or '<text>'}:{line}: {error.message}",)
    return error


class Source:
    """One YAML document: its root, and what turns its nodes into texts, lists, mappings and values."""

    def __init__(self, text: str, file: str | None = None) -> None:
        if not isinstance(text, str):
            raise ValidationError(f"a YAML workflow is a text, not {shorten(text)}", culprit="text")
        self.file = file
        if len(text) > MAX_BYTES:
            raise ValidationError(
                f"a workflow's text has at most {MAX_BYTES // 10**6} million characters",
                culprit="text",
                file=file,
            )
        self._constructor = yaml.constructor.SafeConstructor()
        self._check_depth(text)
        root = self._parse(text, lambda loader: loader.get_single_node())
        if root is None:
            raise ValidationError(
                "the text is empty: a workflow has at least a name and nodes",
                culprit="text",
                file=file,
                line=1,
            )
        self.root: yaml.Node = root
        if "*" in text:  # else there are no aliases, and the text is as large as it is
            self._check_size()

    # --- reading ----------------------------------------------------------------------------------

    def _parse(self, text: str, act: Any) -> Any:
        loader = None
        try:
            loader = _LOADER(text)
            return act(loader)
        except yaml.YAMLError as error:
            raise self._syntax_error(error, text) from None
        except UnicodeError as error:
            raise self._not_text(text, getattr(error, "start", 0)) from None
        finally:
            if loader is not None:
                loader.dispose()

    def _syntax_error(self, error: yaml.YAMLError, text: str) -> ValidationError:
        if isinstance(error, yaml.reader.ReaderError):
            return self._not_text(text, error.position if isinstance(error.position, int) else 0)
        mark = getattr(error, "problem_mark", None)
        rows = text.splitlines()
        line = min(mark.line + 1, len(rows)) if mark is not None else 1  # an end of text lies after it
        said = str(getattr(error, "problem", None) or error)
        if "another document" in said:
            message = "a file holds one workflow: put what comes after '---' into a file of its own"
        else:
            context = getattr(error, "context", None)
            message = f"this is no valid YAML: {said}{f' ({context})' if context else ''}"
            row = rows[line - 1] if rows else ""
            if "\t" in row:
                message += "; indent with spaces, not with tabs"
            elif "{{" in row or row.partition(": ")[2].lstrip()[:1] in tuple("@`%{[&*!|>"):
                message += "; a text with special characters goes in quotes"
        return ValidationError(message, culprit="yaml", file=self.file, line=line)

    def _not_text(self, text: str, position: int) -> ValidationError:
        return ValidationError(
            f"this is no text that YAML allows: character {shorten(text[position : position + 1])} "
            f"(a binary file?)",
            culprit="text",
            file=self.file,
            line=text.count("\n", 0, position) + 1,
        )

    def _check_depth(self, text: str) -> None:
        # libyaml composes by recursion in C: a text nested deep enough would end the process
        def scan(loader: Any) -> None:
            depth = 0
            while loader.check_event():
                event = loader.get_event()
                if isinstance(event, _DEEPER):
                    depth += 1
                    if depth > MAX_DEPTH:
                        raise ValidationError(
                            f"the text is nested more than {MAX_DEPTH} levels deep",
                            culprit="yaml",
                            file=self.file,
                            line=self.line(event),
                        )
                elif isinstance(event, _BACK):
                    depth -= 1

        self._parse(text, scan)

    def _check_size(self) -> None:
        # aliases share nodes, values do not: count what the text would be if it were written out
        sizes: dict[int, int] = {}
        depths: dict[int, int] = {}
        todo: list[tuple[yaml.Node, bool]] = [(self.root, False)]
        open_nodes: set[int] = set()
        while todo:
            node, done = todo.pop()
            parts = _parts(node)
            if done:
                open_nodes.discard(id(node))
                sizes[id(node)] = size = 1 + sum(sizes[id(part)] for part in parts)
                if size > 100_000 and size > 10 * len(sizes):
                    raise self.error("the aliases (*name) here would expand to far too much", node, "alias")
                depths[id(node)] = depth = 1 + max((depths[id(part)] for part in parts), default=0)
                if depth > 2 * MAX_DEPTH:
                    raise self.error("the aliases (*name) here are nested too deeply", node, "alias")
            elif id(node) in open_nodes:
                raise self.error("an alias (*name) here leads back to what holds it", node, "alias")
            elif id(node) not in sizes:
                open_nodes.add(id(node))
                todo.append((node, True))
                todo.extend((part, False) for part in parts)

    # --- errors -----------------------------------------------------------------------------------

    def error(self, message: str, node: yaml.Node, culprit: Any = None, value: Any = None) -> ValidationError:
        """A `ValidationError` that says where `node` stands."""
        return ValidationError(message, culprit=culprit, value=value, file=self.file, line=self.line(node))

    @staticmethod
    def line(node: yaml.Node | yaml.Event) -> int:
        """The line a node begins on, from 1."""
        return node.start_mark.line + 1 if node.start_mark is not None else 1

    @contextmanager
    def at(self, node: yaml.Node) -> Iterator[None]:
        """A `ValidationError` from inside gets the place of `node`, unless it has one."""
        try:
            yield
        except ValidationError as error:
            raise located(error, self.file, self.line(node)) from None

    # --- nodes to values --------------------------------------------------------------------------

    def fields(
        self,
        node: yaml.Node,
        what: str,
        known: tuple[str, ...],
        empty: tuple[str, ...] = (),
        meant: Mapping[str, str] = EMPTY,
    ) -> dict[str, yaml.Node]:
        """A mapping with keys out of `known`; what says nothing is not given, except for keys in `empty`.

        `meant`: what to write for keys that are called so elsewhere.
        """
        if not isinstance(node, yaml.MappingNode):
            raise self.error(
                f"{what} is a mapping (key: value), not {self._kind(node)}", node, what, self._shown(node)
            )
        found: dict[str, yaml.Node] = {}
        for key, value in self.pairs(node):
            name = key.value if isinstance(key, yaml.ScalarNode) else self._kind(key)
            if name not in known:
                hint = meant.get(name) or did_you_mean(name, known, most=len(known))
                raise self.error(f"{what} has no key {name!r}: {hint}", key, name)
            if value.tag != _NULL or name in empty:
                found[name] = value
        return found

    def required(self, fields: Mapping[str, yaml.Node], node: yaml.Node, key: str, what: str) -> yaml.Node:
        """A field that has to be there."""
        if key not in fields:
            raise self.error(f"{what} needs {key!r}: write {key}: ...", node, key)
        return fields[key]

    def items(self, node: yaml.Node | None, what: str, such_as: str) -> list[yaml.Node]:
        """The parts of a list; none where it is not given."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(
                f"{what} is a list, such as {such_as}, not {self._kind(node)}", node, what, self._shown(node)
            )
        return list(node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        """A text; numbers and dates are taken as they are written."""
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL:
            raise self.error(f"{what} is a text, not {self._kind(node)}", node, what, self._shown(node))
        if node.tag == _BOOL:
            raise self.error(
                f"{what} is a text, but YAML reads {node.value} as true or false: write "
                f'"{node.value}" in quotes',
                node,
                what,
                node.value,
            )
        if not node.tag.startswith(YAML):
            raise self.error(f"{what} is a text, not {self._kind(node)}", node, what)
        return str(node.value)

    def texts(self, node: yaml.Node | None, what: str) -> list[str]:
        """A list of texts; none where it is not given."""
        return [self.text(part, what) for part in self.items(node, what, "[a, b]")]

    def value(self, node: yaml.Node) -> Any:
        """What a node says, as plain values; `Ref`s and tuples where they are tagged so."""
        if node.tag == "!ref":
            return self.reference(node)
        if isinstance(node, yaml.SequenceNode) and node.tag in (YAML + "seq", "!tuple"):
            parts = [self.value(part) for part in node.value]
            return tuple(parts) if node.tag == "!tuple" else parts
        if isinstance(node, yaml.MappingNode) and node.tag == YAML + "map":
            return {self.key(key): self.value(value) for key, value in self.pairs(node)}
        if not node.tag.startswith(YAML) or node.tag not in self._constructor.yaml_constructors:
            tag = node.tag.replace(YAML, "!!")
            raise self.error(f"the tag {tag} is unknown here: write plain values, !ref or !tuple", node, tag)
        try:
            return self._constructor.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            # PyYAML trusts explicit tags: `!!bool maybe` is a KeyError there
            said = getattr(error, "problem", None) or error
            raise self.error(f"{self._shown(node)} is no value: {said}", node, "value") from None

    def reference(self, node: yaml.Node) -> Ref:
        """A reference: `node.key` (told apart when all ids are known), or `[node, key, 0]`."""
        if isinstance(node, yaml.SequenceNode):
            if not node.value:
                raise self.error("a reference as a list is [node, key, ...]", node, "reference")
            target = self.text(node.value[0], "reference")
            path = [self.value(part) for part in node.value[1:]]
            if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in path):
                raise self.error("a reference as a list is [node, key, ...]", node, "reference", path)
            return Ref(target, tuple(path))
        text = self.text(node, "reference") if node.tag != "!ref" else str(node.value)
        if not text:
            raise self.error("a reference is a text such as node.key or inputs.key", node, "reference")
        return Ref(text)

    def key(self, node: yaml.Node) -> Any:
        """A key of a mapping: any plain value that is not made of others."""
        key = self.value(node)
        if isinstance(key, list | dict | set | tuple | Ref):
            raise self.error("a key is a text or a number, not a list or a mapping", node, "key")
        return key

    def pairs(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        """Keys and values; `<<: *other` gives what is not said here; a key that is said twice is refused."""
        own: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged.extend(self._merged(value))
                continue
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            if name in own:
                first = self.line(own[name][0])
                raise self.error(
                    f"the key {key.value!r} is here twice (first on line {first}): leave one of them",
                    key,
                    key.value,
                )
            own[name] = (key, value)
        for key, value in merged:
            own.setdefault((key.tag, key.value), (key, value))
        return list(own.values())

    def _merged(self, node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
        found: list[tuple[yaml.Node, yaml.Node]] = []
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(part, yaml.MappingNode):
                raise self.error("<< takes a mapping, or a list of mappings", node, "<<")
            found += self.pairs(part)
        return found

    @staticmethod
    def _kind(node: yaml.Node) -> str:
        if isinstance(node, yaml.MappingNode):
            return "a mapping"
        if isinstance(node, yaml.SequenceNode):
            return "a list"
        return "nothing" if node.tag == _NULL else shorten(str(node.value))

    @staticmethod
    def _shown(node: yaml.Node) -> Any:
        return str(node.value) if isinstance(node, yaml.ScalarNode) else type(node).__name__


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
