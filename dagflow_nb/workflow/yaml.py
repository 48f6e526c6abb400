"""Workflows from YAML, each error with its file and line, and what to write instead.

A workflow is `name`, `description`, `author`, `version`, `signature`, `tags`, `inputs`, `config`,
`nodes`, `result`; name and nodes are required. A node is `id` and `action` (or `workflow`, the name of
another one), with `description`, `dependencies`, `inputs`, `outputs`, `failure`, `onfailure` (true:
continue, false: stop) or `on_failure`, `timeout` (seconds), `try_count`, `when`, `cache` (`always`,
`never`, `{ttl: 300}`, `24h`), `executor`, `ask`, `tags`, `instructions`, `map`, `branch`:

    name: smooth_all
    inputs: [folder, {name: window, default: 6}]      # or a mapping of defaults; empty: required
    nodes:
      - id: scan
        action: scan_folder
        inputs:
          - {name: folder, reference: inputs.folder}
        outputs: [{name: files}]                      # then references to others are refused
      - id: smooth
        action: smooth_file
        map:                                          # a node for each combination
          over:
            - {name: path, reference: scan.files}     # or over: {path: scan.files, method: [...]}
            - {name: method, value: [mean, median]}   # or rows: {reference: scan.table} (value: [{...}, ...])
          limit: 4
        inputs:
          - {name: window, reference: inputs.window, default: 6}
      - id: choose
        branch: {then: [report], otherwise: [mend]}   # instead of an action
        inputs:
          - {name: condition, reference: scan.complete}
      - {id: report, action: write_report}
      - {id: mend, action: mend}
    result: {files: scan.files}                       # references, in mappings and lists

References are `inputs.KEY`, `NODE`, `NODE.KEY`, `NODE.KEY.sub.0`; where keys have dots or look like
numbers, `[NODE, "a.b", 0]`. In a `value`, `!ref scan.files` is a reference and `!tuple [6, 24]` a
tuple; in `result`, `!value text` is a text that is no reference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from ..errors import ValidationError, shorten
from .builder import Workflow
from .check import Place, problems
from .naming import REQUIRED
from .yaml_dump import dump_yaml
from .yaml_node import NodeReader
from .yaml_source import YAML, Source, located, read

_ABOUT = ("description", "author", "version", "signature")
_TOP = ("name", *_ABOUT, "tags", "inputs", "config", "nodes", "result")


def load_yaml_text(text: str, file: str | None = None) -> Workflow:
    """The workflow that a YAML text describes; `file` is named in errors.

    `ValidationError` (`CycleError`, `DependencyNotFound`, `NodeAlreadyExists` where they fit) with
    `file` and `line`; nothing comes from a text with an error.

    >>> wf = load_yaml_text("name: w\\nnodes:\\n- {id: a, action: fetch}\\n- {id: b, action: use, "
    ...                     "inputs: [{name: rows, reference: a.rows}]}")
    >>> wf.nodes["b"].deps
    ('a',)
    """
    return _Loader(Source(text, file)).workflow()


def load_yaml_file(path: str | os.PathLike[str]) -> Workflow:
    """The workflow of one file (UTF-8); errors as of `load_yaml_text`, also for a file that is none."""
    text, file = read(path)
    return load_yaml_text(text, file)


def load_yaml_dir(path: str | os.PathLike[str]) -> list[Workflow]:
    """The workflows of a folder's `*.yaml` and `*.yml` files, by file name; with an error in one, none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValidationError(f"there is no folder {str(folder)!r}", culprit=str(folder))
    loaded: dict[str, tuple[str, Workflow]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in (".yaml", ".yml") or file.name.startswith(".") or not file.is_file():
            continue
        workflow = load_yaml_file(file)
        if workflow.name in loaded:
            raise ValidationError(
                f"workflow {workflow.name!r} is also in {loaded[workflow.name][0]}: give one of them another "
                f"name",
                culprit=workflow.name,
                file=str(file),
            )
        loaded[workflow.name] = (file.name, workflow)
    return [workflow for _, workflow in loaded.values()]


class _Loader:
    """Makes the workflow of one text; `places` remembers where things stand for what is found at the end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._places: dict[Place, yaml.Node] = {}
        self._reader = NodeReader(source, self._places)

    def workflow(self) -> Workflow:
        source = self._source
        top = source.fields(source.root, "a workflow", _TOP)
        name = source.text(source.required(top, source.root, "name", "a workflow"), "name")
        nodes = source.required(top, source.root, "nodes", "a workflow")
        about = {key: source.text(top[key], key) for key in _ABOUT if key in top}
        tags = source.texts(top.get("tags"), "tags")
        inputs, config = self._inputs(top.get("inputs")), self._config(top.get("config"))
        with source.at(top["name"]):
            workflow = Workflow(name, **about, tags=tags, inputs=inputs, config=config)
        for node in source.items(nodes, "nodes", "[{id: a, action: fetch}]"):
            made = self._reader.read(node)
            with source.at(self._places[made.id, "node", made.id]):
                workflow._put(made)
        workflow._notes.update(self._reader.notes)
        if "result" in top:
            self._places["", "result", ""] = top["result"]
            workflow.result = self._result(top["result"])
        for error, place in problems(workflow.nodes, workflow.result):
            where = self._places.get(place) or self._places.get((place[0], "node", place[0])) or source.root
            raise located(error, source.file, source.line(where))
        return workflow

    def _inputs(self, node: yaml.Node | None) -> dict[str, Any]:
        source, found = self._source, dict[str, Any]()
        if isinstance(node, yaml.MappingNode):
            with source.at(node):
                for name, default in source.value(node).items():
                    found[self._input_name(name)] = REQUIRED if default is None else default
            return found
        for part in source.items(node, "inputs", "[folder, {name: window, default: 6}]"):
            if isinstance(part, yaml.MappingNode):
                known = ("name", "default", "description")
                fields = source.fields(part, "an input", known, empty=("default",))
                name = source.text(source.required(fields, part, "name", "an input"), "name")
                default = source.value(fields["default"]) if "default" in fields else REQUIRED
                if "description" in fields:
                    self._reader.notes["", "inputs", name] = source.text(fields["description"], "description")
            else:
                name, default = source.text(part, "an input"), REQUIRED
            if name in found:
                raise source.error(f"input {name!r} is declared twice: leave one of them", part, name)
            found[name] = default
        return found

    def _input_name(self, name: Any) -> str:
        if not isinstance(name, str):
            raise ValidationError(
                f"an input is named by a text, not by {shorten(name)}: write it in quotes", culprit=name
            )
        return name

    def _config(self, node: yaml.Node | None) -> Any:
        if node is None:
            return None
        from ..config import DagConfig  # pydantic comes in only where a config is given

        try:
            return DagConfig.of(self._source.value(node))
        except ValidationError as error:
            parts = node.value if isinstance(node, yaml.MappingNode) else []
            at = next((key for key, _ in parts if key.value == error.culprit), node)
            raise located(error, self._source.file, self._source.line(at)) from None

    def _result(self, node: yaml.Node) -> Any:
        source = self._source
        if isinstance(node, yaml.ScalarNode) and node.tag == "!value":
            return str(node.value)
        if node.tag == "!ref" or (isinstance(node, yaml.ScalarNode) and node.tag == YAML + "str"):
            return source.reference(node)
        if isinstance(node, yaml.SequenceNode) and node.tag in (YAML + "seq", "!tuple"):
            parts = [self._result(part) for part in node.value]
            return tuple(parts) if node.tag == "!tuple" else parts
        if isinstance(node, yaml.MappingNode) and node.tag == YAML + "map":
            return {source.key(key): self._result(value) for key, value in source.pairs(node)}
        return source.value(node)


__all__ = ["dump_yaml", "load_yaml_dir", "load_yaml_file", "load_yaml_text"]
