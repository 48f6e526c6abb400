"""YAML: what loads, what is refused and where, and that writing it back says the same."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from dagflow_nb.actions import make_action
from dagflow_nb.config import DagConfig
from dagflow_nb.core.model import Form, OnFailure, Ref, When, ref
from dagflow_nb.core.retry import RetryStrategy
from dagflow_nb.errors import CycleError, DependencyNotFound, NodeAlreadyExists, ValidationError
from dagflow_nb.workflow import REQUIRED, Workflow, yaml_node, yaml_source
from dagflow_nb.workflow.yaml import _TOP, dump_yaml, load_yaml_dir, load_yaml_file, load_yaml_text

GUIDE = """
name: data_processing_pipeline
description: Process customer data with validation
author: Engineering Team
version: 1.0.0
signature: unique_signature
tags:
  - production
  - etl

nodes:
  - id: validate_input
    dependencies: []
    inputs:
      - name: raw_data
        description: Raw customer data
        reference: inputs.customer_data
    outputs:
      - name: valid_data
        description: Validated data
    action: validate_data
    failure: handle_validation_error  # Failure handler action
    onfailure: false  # Stop on failure
    timeout: 300  # 5 minutes
    try_count: 2  # Retry once

  - id: transform_data
    dependencies: [validate_input]
    inputs:
      - name: data
        reference: validate_input.valid_data
    outputs:
      - name: transformed
    action: transform_customer_data
    onfailure: true
"""


def load(text: str) -> Workflow:
    return load_yaml_text(textwrap.dedent(text), "p.yaml")


def refused(text: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        load(text)
    error = caught.value
    assert error.file == "p.yaml"
    assert error.line is not None
    assert str(error).startswith(f"p.yaml:{error.line}: ")
    return error


def node(text: str) -> str:
    """A workflow of one node with these keys."""
    return "name: w\nnodes:\n- id: a\n  action: f\n" + textwrap.indent(textwrap.dedent(text), "  ")


# --- what loads -----------------------------------------------------------------------------------


def test_the_guides_structure_loads() -> None:
    """Every key of it ends up where it belongs."""
    wf = load(GUIDE)
    assert (wf.name, wf.author, wf.version) == ("data_processing_pipeline", "Engineering Team", "1.0.0")
    assert (wf.description, wf.signature) == ("Process customer data with validation", "unique_signature")
    assert wf.tags == ("production", "etl")
    assert wf.input_names == ("customer_data",)
    first, second = wf.nodes.values()
    assert first.inputs == {"raw_data": Ref("inputs", ("customer_data",))}
    assert (first.action, first.failure, first.on_failure) == (
        "validate_data", "handle_validation_error", OnFailure.STOP,
    )  # fmt: skip
    assert (first.timeout, first.try_count, first.outputs, first.deps) == (300.0, 2, ("valid_data",), ())
    assert second.inputs == {"data": Ref("validate_input", ("valid_data",))}
    assert (second.deps, second.on_failure) == (("validate_input",), OnFailure.CONTINUE)


def test_every_key_loads() -> None:
    """Settings, maps over parameters and rows, branches, sub-workflows, results."""
    wf = load(
        """
        name: all
        version: 1.10
        inputs: [folder, {name: window, default: 6, description: hours}, {name: none, default: null}]
        config:
          max_parallel_nodes: 2
          on_failure: stop
          retry_strategy: {linear: {delay: 1}}
        nodes:
          - id: scan
            action: scan_folder
            description: Looks
            instructions: Look well
            when: all_done
            cache: {ttl: 300}
            executor: process
            ask: {question: Which?, schema: {type: object, properties: {n: {type: integer, default: 3}}}}
            tags: [io, 2024]
            on_failure: halt
            timeout: 1.5
            inputs:
              - {name: a, reference: inputs.folder, default: here}
              - {name: b, value: null}
              - {name: c, value: [1, !ref inputs.window, {x: !tuple [1, a]}]}
          - id: smooth
            action: smooth_file
            map:
              over:
                - {name: path, reference: scan.files.0.names}
                - {name: method, value: [mean, median]}
              limit: 4
          - {id: short, action: f, map: {over: {path: scan.files.0.names, method: [mean, median]}}}
          - {id: rows, workflow: inner, map: {rows: {value: [{x: 1}, {x: !ref scan.n}]}}}
          - {id: table, action: f, map: {rows: {reference: scan.table}}}
          - {id: inner, workflow: inner, cache: never}
          - id: choose
            branch: {then: [report], otherwise: [mend]}
            inputs: [{name: condition, reference: scan.ok}]
          - {id: report, action: f, ask: true, cache: always}
          - {id: mend, action: f, ask: Go on?, cache: 1h 30m}
        result: {files: scan.files, all: [smooth, 3, !value text]}
        """
    )
    assert wf.version == "1.10"
    assert dict(wf.inputs) == {"folder": REQUIRED, "window": 6, "none": None}
    assert wf.config == DagConfig(
        max_parallel_nodes=2, on_failure=OnFailure.STOP, retry_strategy=RetryStrategy.linear(1)
    )
    n = wf.nodes
    scan = n["scan"]
    assert scan.inputs == {
        "a": Ref("inputs", ("folder",)), "b": None, "c": [1, Ref("inputs", ("window",)), {"x": (1, "a")}],
    }  # fmt: skip
    assert scan.defaults == {"a": "here"}
    assert (scan.when, scan.cache, scan.executor) == (When.ALL_DONE, timedelta(seconds=300), "process")
    assert (scan.tags, scan.on_failure, scan.timeout) == (("io", "2024"), OnFailure.STOP, 1.5)
    assert (scan.description, scan.instructions) == ("Looks", "Look well")
    assert scan.ask is not None
    assert (scan.ask.question, scan.ask.defaults) == ("Which?", {"n": 3})
    assert n["smooth"].over == {"path": Ref("scan", ("files", 0, "names")), "method": ["mean", "median"]}
    assert n["short"].over == n["smooth"].over and n["short"].deps == ("scan",)
    assert (n["smooth"].kind, n["smooth"].limit, n["smooth"].deps) == ("map", 4, ("scan",))
    assert n["rows"].over == [{"x": 1}, {"x": Ref("scan", ("n",))}]
    assert n["rows"].result == {"template": (), "result": None}
    assert n["table"].over == Ref("scan", ("table",))
    assert (n["inner"].kind, n["inner"].action, n["inner"].cache) == ("workflow", "inner", False)
    assert (n["choose"].kind, n["choose"].deps) == ("branch", ("scan",))
    assert n["choose"].over == {"then": ("report",), "otherwise": ("mend",)}
    assert n["report"].deps == n["mend"].deps == ("choose",)
    assert (n["report"].ask, n["mend"].ask) == (Form("", None, {}), Form("Go on?", None, {}))
    assert (n["report"].cache, n["mend"].cache) == (True, timedelta(minutes=90))
    assert wf.result == {"files": Ref("scan", ("files",)), "all": [Ref("smooth"), 3, "text"]}
    assert load_yaml_text(dump_yaml(wf)) == wf
    assert "hours" in dump_yaml(wf)


def test_inputs_may_be_a_mapping_of_defaults() -> None:
    """Where nothing stands after the colon, the input is required."""
    wf = load("name: w\ninputs: {folder: , window: 6}\nnodes: []")
    assert dict(wf.inputs) == {"folder": REQUIRED, "window": 6}


def test_the_longest_id_wins_and_lists_name_what_texts_cannot() -> None:
    """`a.b.c` is node `a.b` if there is one; a key with a dot is written as a list."""
    wf = load(
        """
        name: w
        nodes:
        - {id: a, action: f}
        - {id: a.b, action: f}
        - id: c
          action: f
          inputs:
          - {name: x, reference: a.b.c}
          - {name: y, reference: a.d.1.e}
          - {name: z, reference: [a, b.c, -1, "0"]}
          - {name: v, reference: a.b}
        """
    )
    assert wf.nodes["c"].inputs == {
        "x": Ref("a.b", ("c",)),
        "y": Ref("a", ("d", 1, "e")),
        "z": Ref("a", ("b.c", -1, "0")),
        "v": Ref("a.b"),
    }
    assert wf.nodes["c"].deps == ("a.b", "a")
    assert load_yaml_text(dump_yaml(wf)) == wf


def test_empty_keys_numbers_and_merges_are_taken_kindly() -> None:
    """`dependencies:` with nothing is none, numbers are names as they are written, `<<` merges."""
    wf = load(
        """
        name: 2024
        version: 1.0
        description:
        nodes:
        - &first
          id: 010
          action: f
          dependencies:
          inputs:
          timeout: 3
        - {<<: *first, id: b, dependencies: [010]}
        """
    )
    assert (wf.name, wf.version, wf.description) == ("2024", "1.0", "")
    assert list(wf.nodes) == ["010", "b"]
    assert (wf.nodes["b"].timeout, wf.nodes["b"].deps) == (3.0, ("010",))


def test_values_are_what_safe_load_makes() -> None:
    """The plain types of YAML, dates and bytes included; aliases in values are copies of the same."""
    value = """{a: [1, 1.5, .inf, true, ~, text, "1"], d: 2024-01-02, t: 2024-01-02 03:04:05,
        b: !!binary aGk=, s: !!set {x, y}, 3: &x [1], c: *x}"""
    wf = load(node(f"inputs: [{{name: x, value: {value}}}]"))
    assert wf.nodes["a"].inputs["x"] == yaml.safe_load(value)
    assert load_yaml_text(dump_yaml(wf)) == wf


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "culprit", "words"),
    [
        ("", 1, "text", "empty"),
        ("# only a comment", 1, "text", "empty"),
        ("nodes: []", 1, "name", "name: ..."),
        ("name: w", 1, "nodes", "nodes: ..."),
        ("- a", 1, "a workflow", "mapping"),
        ("name: w\nnodes: 3", 2, "nodes", "list"),
        ("name: w\nnodes: [3]", 2, "a node", "mapping"),
        ("name: [w]\nnodes: []", 1, "name", "text, not a list"),
        ("name: no\nnodes: []", 1, "name", '"no" in quotes'),
        ('name: ""\nnodes: []', 1, "", "printable"),
        ("name: w\nnode: []", 2, "node", "did you mean 'nodes'"),
        ("name: w\nname: v\nnodes: []", 2, "name", "twice (first on line 1)"),
        ("name: w\nnodes: []\ntags: production", 3, "tags", "list"),
        ("name: w\nnodes: []\nconfig:\n  max_paralel_nodes: 3", 4, "max_paralel_nodes", "did you mean"),
        ("name: w\nnodes: []\nconfig: {max_attempts: 0}", 3, "max_attempts", "greater"),
        ("name: w\nnodes: []\ninputs: [a, a]", 3, "a", "twice"),
        ("name: w\nnodes: []\ninputs: {3: 4}", 3, 3, "quotes"),
        ("name: w\nnodes: []\ninputs: 3", 3, "inputs", "list"),
        ("name: w\nnodes: []\nresult: a.b", 3, "a.b", "no node 'a'"),
        ("name: w\n---\nname: v", 2, "yaml", "one workflow"),
        ("name: w\nnodes:\n\t- id: a", 3, "yaml", "tabs"),
        ("name: w\nnodes: [", 2, "yaml", "no valid YAML"),
        ("name: *x", 1, "yaml", "undefined alias"),
        ("name: w\nnodes: []\n: [a", 3, "yaml", "YAML"),
        ("name: w\0", 1, "text", "binary"),
        ("name: w\nname2: \ud800", 2, "text", "no text that YAML allows"),
        ("name: w\nnodes: &a [*a]", 2, "alias", "leads back"),
        ("name: w\nnodes: " + "[" * 200, 2, "yaml", "deep"),
        ("name: w\n<<: 3", 2, "<<", "mapping"),
        ("name: w\nnodes: []\n? [a]\n: 1", 3, "a list", "no key"),
    ],
)
def test_a_wrong_text_is_refused_with_its_line(text: str, line: int, culprit: Any, words: str) -> None:
    """File, line, culprit, and what to write."""
    error = refused(text)
    assert (error.line, error.culprit) == (line, culprit)
    assert words in str(error)


@pytest.mark.parametrize(
    ("keys", "line", "culprit", "words"),
    [
        ("acton: g", 5, "acton", "did you mean 'action'"),
        ("id: b", 5, "id", "twice (first on line 3)"),
        ("workflow: g", 5, "workflow", "not both 'action' and 'workflow'"),
        ("timeout: soon", 5, "timeout", "number of seconds above 0, not 'soon'"),
        ("timeout: 0", 5, "timeout", "above 0"),
        ("timeout: .inf", 5, "timeout", "above 0"),
        ("timeout: [1]", 5, "timeout", "above 0"),
        ("try_count: 0", 5, "try_count", "at least 1"),
        ("try_count: yes", 5, "try_count", "at least 1"),
        ("when: never", 5, "when", "'one_success'"),
        ("onfailure: maybe", 5, "onfailure", "true: continue, false: stop"),
        ("onfailure: true\non_failure: stop", 6, "on_failure", "leave one"),
        ("cache: often", 5, "cache", "24h"),
        ("executor: [a]", 5, "executor", "name"),
        ("failure: true", 5, "failure", "quotes"),
        ("ask: 3", 5, "ask", "question"),
        ("ask: {question: a, schema: 3, defaults: {}}", 5, "schema", "mapping"),
        ("tags: a", 5, "tags", "list"),
        ("description: [a]", 5, "description", "text"),
        ("dependencies: b", 5, "dependencies", "[fetch, clean]"),
        ("dependencies:\n- b", 6, "b", "no node here"),
        ("dependencies: [a]", 3, ["a", "a"], "a -> a"),
        ("dependencies: [on]", 5, "a dependency", "quotes"),
        ("inputs: {x: 1}", 5, "inputs", "list"),
        ("inputs: [x]", 5, "an input", "mapping"),
        ("inputs:\n- name: x", 6, "x", "reference: node.key"),
        ("inputs:\n- {name: x, default: 3}", 6, "x", "reference"),
        ("inputs:\n- {name: x, value: 3, reference: inputs.x}", 6, "x", "not both"),
        ("inputs:\n- {value: 3}", 6, "name", "name: ..."),
        ("inputs:\n- {name: x, value: 1}\n- {name: x, value: 2}", 7, "x", "twice"),
        ("inputs:\n- name: x\n  reference: fetch.rows", 6, "fetch", "no node here"),
        ("inputs:\n- name: x\n  reference: inputs", 6, "inputs", "inputs.KEY"),
        ("inputs:\n- name: x\n  reference: a.rows", 3, ["a", "a"], "cycle"),
        ("inputs:\n- name: x\n  reference: [a, [b]]", 7, "reference", "[node, key, ...]"),
        ("inputs:\n- name: x\n  reference: []", 7, "reference", "[node, key, ...]"),
        ("inputs:\n- name: x\n  value: {y: 1, y: 2}", 7, "y", "twice"),
        ("inputs:\n- name: x\n  value: {[1]: 2}", 7, "key", "text or a number"),
        ("inputs:\n- name: x\n  value: 2024-13-45", 7, "value", "month"),
        ("inputs:\n- name: x\n  value: !!int abc", 7, "value", "no value"),
        ("inputs:\n- name: x\n  value: !!python/name:os.system ''", 7, "!!python/name:os.system", "!ref"),
        ("inputs:\n- name: x\n  value: !!bool maybe", 7, "value", "no value"),
        ("inputs:\n- name: x\n  value: !!timestamp soon", 7, "value", "no value"),
        ("inputs:\n- name: x\n  value: !mine 3", 7, "!mine", "!ref"),
        ("outputs: rows", 5, "outputs", "list"),
        ("outputs: [{name: x}, {name: x}]", 5, "x", "twice"),
        ("outputs: [{nam: x}]", 5, "nam", "did you mean 'name'"),
        ("map: {over: [{name: p, value: 3}]}", 5, "p", "list"),
        ("map: {over: []}", 5, "over", "at least one"),
        ("map: {over: {}}", 5, "over", "at least one"),
        ("map: {over: {p: [1], p: [2]}}", 5, "p", "twice"),
        ("map: {over: {p: null}}", 5, "reference", "reference is a text"),
        ("map:\n  over:\n    p: b.x", 7, "b", "no node here"),
        ("map: {limit: 3}", 5, "over", "rows"),
        ("map: {over: [{name: p, value: []}], limit: 0}", 5, "limit", "at least 1"),
        ("map: {rows: {value: [1]}}", 5, "rows", "mappings"),
        ("map: {over: [{name: p, value: [1]}]}\ninputs:\n- {name: p, value: 1}", 7, "p", "over"),
        ("map:\n  over:\n  - {name: p, reference: b.x}", 7, "b", "no node here"),
        ("branch: {then: [a]}", 5, "branch", "not both"),
    ],
)
def test_a_wrong_node_is_refused_with_its_line(keys: str, line: int, culprit: Any, words: str) -> None:
    """File, line, culprit, and what to write."""
    error = refused(node(keys))
    assert words in str(error)
    assert (error.line, error.culprit) == (line, culprit)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- {action: f}", 3, "'id'"),
        ("- {id: a}", 3, "write action: ..."),
        ("- {id: on, action: f}", 3, '"on" in quotes'),
        ("- {id: inputs, action: f}", 3, "reserved"),
        ("- {id: ~, action: f}", 3, "'id'"),
        ("- {id: b, branch: {}}", 3, "leads nowhere"),
        ("- {id: b, branch: {then: [c], otherwise: [c]}}", 3, "both sides"),
        ("- {id: b, branch: {then: [c]}}", 3, "condition"),
        ("- id: b\n  branch:\n    then:\n    - c\n  inputs: [{name: condition, value: 1}]", 6, "'c'"),
        ("- {id: b, branch: {then: [c]}, map: {}}", 3, "cannot be a map"),
        ("- {id: a, action: f, outputs: [{name: rows}]}\n- id: b\n  action: f\n  inputs:\n  - {name: x, "
         "reference: a.row}", 7, "did you mean 'rows'"),
    ],
)  # fmt: skip
def test_other_wrong_nodes(text: str, line: int, words: str) -> None:
    """Ids, kinds of nodes, branches, outputs that are not declared."""
    error = refused(f"name: w\nnodes:\n{text}")
    assert words in str(error)
    assert error.line == line


def test_errors_are_of_the_kind_that_fits() -> None:
    """An id twice, an unknown dependency, a cycle: each its own class, with its own attributes."""
    twice = refused("name: w\nnodes:\n- {id: a, action: f}\n- {id: a, action: g}")
    assert isinstance(twice, NodeAlreadyExists)
    assert (twice.node_id, twice.line) == ("a", 4)
    assert "line 3" in str(twice)
    missing = refused("name: w\nnodes:\n- {id: abc, action: f}\n- {id: b, action: f, dependencies: [abd]}")
    assert isinstance(missing, DependencyNotFound)
    assert (missing.node_id, missing.dependency, missing.line) == ("b", "abd", 4)
    assert "did you mean 'abc'" in str(missing)
    cycle = refused(
        "name: w\nnodes:\n- {id: a, action: f, dependencies: [c]}\n- {id: b, action: f, dependencies: [a]}\n"
        "- {id: c, action: f, inputs: [{name: x, reference: b.x}]}"
    )
    assert isinstance(cycle, CycleError)
    assert cycle.cycle == ["a", "b", "c", "a"]


def test_alias_bombs_do_not_go_off() -> None:
    """Neither wide nor deep ones; harmless aliases are fine."""
    wide = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
    )
    deep = "a0: &a0 [x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 5000))
    begin = time.perf_counter()
    assert "expand" in str(refused(wide))
    assert "deep" in str(refused(deep))
    assert time.perf_counter() - begin < 5
    load(node("inputs: [{name: x, value: &x [1, 2]}, {name: y, value: [*x, *x]}]"))


def test_a_text_is_a_text() -> None:
    """Bytes and other things are refused by name."""
    with pytest.raises(ValidationError, match="text"):
        load_yaml_text(b"name: w")  # type: ignore[arg-type]  # refused at run time


# --- files ----------------------------------------------------------------------------------------


def test_files_load_with_their_name_in_errors(tmp_path: Path) -> None:
    """UTF-8 with or without a mark at its start; the file is named."""
    file = tmp_path / "w.yaml"
    file.write_text("\ufeffname: grüße\nnodes: []", encoding="utf-8")
    assert load_yaml_file(str(file)).name == "grüße"
    file.write_text("name: w\nnodes: 3", encoding="utf-8")
    with pytest.raises(ValidationError) as caught:
        load_yaml_file(file)
    assert (caught.value.file, caught.value.line) == (str(file), 2)


def test_files_that_are_none_of_ours_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, a folder, not UTF-8, binary, huge, a text instead of a path: each says what it is."""
    (tmp_path / "pipeline.yaml").write_text("name: w\nnodes: []")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'pipeline\.yaml'"):
        load_yaml_file(tmp_path / "pipline.yaml")
    with pytest.raises(ValidationError, match="no file"):
        load_yaml_file(tmp_path / "nowhere" / "x.yaml")
    with pytest.raises(ValidationError, match="cannot be read"):
        load_yaml_file(tmp_path)
    with pytest.raises(ValidationError, match="load_yaml_string"):
        load_yaml_file("name: w\nnodes: []")
    with pytest.raises(ValidationError, match="path"):
        load_yaml_file(3)  # type: ignore[arg-type]  # refused at run time
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"name: w\nauthor: M\xfcller\n")
    with pytest.raises(ValidationError, match="UTF-8") as caught:
        load_yaml_file(bad)
    assert caught.value.line == 2
    bad.write_bytes(bytes(range(32)) * 10)
    with pytest.raises(ValidationError, match="binary"):
        load_yaml_file(bad)
    monkeypatch.setattr(yaml_source, "MAX_BYTES", 10)
    with pytest.raises(ValidationError, match="at most"):
        load_yaml_file(tmp_path / "pipeline.yaml")
    with pytest.raises(ValidationError, match="at most"):
        load("name: w\nnodes: []")


def test_a_folder_loads_in_order_or_not_at_all(tmp_path: Path) -> None:
    """`*.yaml` and `*.yml` by name; one mistake, or one name twice, and nothing is loaded."""
    (tmp_path / "b.yaml").write_text("name: one\nnodes: []")
    (tmp_path / "a.yml").write_text("name: two\nnodes: []")
    (tmp_path / ".hidden.yaml").write_text("name: three\nnodes: []")
    (tmp_path / "notes.txt").write_text("nothing")
    assert [wf.name for wf in load_yaml_dir(tmp_path)] == ["two", "one"]
    (tmp_path / "c.yaml").write_text("name: two\nnodes: []")
    with pytest.raises(ValidationError, match=r"a\.yml") as caught:
        load_yaml_dir(str(tmp_path))
    assert caught.value.file == str(tmp_path / "c.yaml")
    with pytest.raises(ValidationError, match="no folder"):
        load_yaml_dir(tmp_path / "nowhere")


# --- writing --------------------------------------------------------------------------------------


def test_a_written_workflow_reads_as_the_guides() -> None:
    """Descriptions of inputs and outputs are kept, numbers are plain, texts are not quoted in vain."""
    text = dump_yaml(load(GUIDE))
    assert load_yaml_text(text) == load(GUIDE)
    for line in (
        "- {name: raw_data, description: Raw customer data, reference: inputs.customer_data}",
        "- {name: valid_data, description: Validated data}",
        "dependencies: [validate_input]",
        "timeout: 300",
        "on_failure: stop",
        "version: 1.0.0",
    ):
        assert line in text
    yaml.safe_load(text)


@pytest.mark.parametrize(
    "value",
    [pd.DataFrame({"a": [1]}), object(), {"x": [Path("a")]}, {(1, 2): 3}, timedelta(1), 1j, print,
     [datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=1)))]],
)  # fmt: skip
def test_what_yaml_cannot_say_is_refused_with_node_and_input(value: Any) -> None:
    """In inputs, in what is mapped over, in defaults of inputs."""
    wf = Workflow("w")
    wf.add("a", id="n", x=value)
    with pytest.raises(ValidationError, match="input 'x' of node 'n'") as caught:
        dump_yaml(wf)
    assert caught.value.culprit == "x"
    wf = Workflow("w", inputs={"y": value})
    with pytest.raises(ValidationError, match=r"(?s)'y'.*(without a default|as text, 'a')"):
        dump_yaml(wf)
    wf = Workflow("w")
    wf.map("a", over={"x": [value]}, id="n")
    with pytest.raises(ValidationError, match="'x' of over of node 'n'"):
        dump_yaml(wf)


def test_a_number_beyond_reading_is_refused() -> None:
    """Python itself would not read it back from a text."""
    wf = Workflow("w")
    wf.add("a", x=10**5000)
    with pytest.raises(ValidationError, match="'x'"):
        dump_yaml(wf)


def test_a_workflow_with_a_mistake_is_not_written() -> None:
    """What would not load again raises what `check` raises."""
    wf = Workflow("w")
    wf.add("a", x=ref("b.rows"))
    with pytest.raises(DependencyNotFound) as caught:
        dump_yaml(wf)
    assert caught.value.line is None


def test_a_cache_key_function_is_refused() -> None:
    """A function cannot be written; the error names the node."""
    wf = Workflow("w")
    wf.add("a", cache=lambda inputs: 1)
    with pytest.raises(ValidationError, match="'a'"):
        dump_yaml(wf)


def test_forms_configs_and_outputs_of_actions_are_written() -> None:
    """What came from Python objects is said in full."""

    def halve(rows: list[int]) -> tuple[int, int]:
        return 1, 2

    config = DagConfig(
        max_attempts=3,
        on_failure=OnFailure.PAUSE,
        limits={"a": 2, "b": "60/min"},
        retry_strategy=RetryStrategy.exponential(1, 5, 3, 0.5),
        branch_budgets={"x*": {"max_nodes": 3}},
    )
    wf = Workflow("w", config=config)
    wf.add(make_action(halve, outputs=("left", "right")), ask={"limit": int}, rows=[1])
    wf.add("f", ask={"limit": 3})
    again = load_yaml_text(dump_yaml(wf))
    assert again == wf
    assert again.nodes["halve"].outputs == ("left", "right")
    for strategy in (RetryStrategy.immediate(), RetryStrategy.linear(3), RetryStrategy("linear", 1, 2)):
        wf = Workflow("w", config={"retry_strategy": strategy})
        assert load_yaml_text(dump_yaml(wf)) == wf


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
odd_texts = st.sampled_from(
    ["on", "1", "1.0", "~", "", "=", "<<", "2024-01-01", "a: b", "- a", "#", "!ref a", "a\n b\n"]
)
names = st.one_of(
    st.sampled_from(["a", "b", "a.b", "no", "1", "x y", "a.b.c", "0", "é", "a/b", "yes", "null", "=", "<<"]),
    texts.filter(lambda t: t.isprintable() and t == t.strip() and t not in ("", "inputs", "human_input")),
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, odd_texts, st.binary(max_size=5), st.dates(),
    st.datetimes(), st.datetimes(timezones=st.just(UTC)), st.sets(st.integers(), max_size=3),
)  # fmt: skip
settings_of_nodes = st.fixed_dictionaries(
    {},
    optional={
        "when": st.sampled_from(list(When)),
        "timeout": st.sampled_from([1, 0.25, 1e9, 1e300]),
        "try_count": st.just(2),
        "on_failure": st.sampled_from(list(OnFailure)),
        "failure": st.just("handle it"),
        "cache": st.sampled_from([True, False, "24h", timedelta(milliseconds=1500)]),
        "executor": st.just("process"),
        "ask": st.sampled_from([True, "Go?", {"n": int}, {"n": 3}]),
        "tags": st.lists(texts.filter(bool), max_size=2),
    },
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    keys = st.one_of(texts, odd_texts, st.integers())
    return st.one_of(lists, lists.map(tuple), st.dictionaries(keys, inner, max_size=3))


def references(handles: list[Any], wf: Workflow) -> st.SearchStrategy[Any]:
    """Handles, and references some steps into what they or the run's inputs give."""

    def go(value: Any, key: str, path: list[Any]) -> Any:
        for part in [key, *path]:
            value = value[part]
        return value

    starts: list[st.SearchStrategy[Any]] = [names.map(wf.input)]
    if handles:
        starts.append(st.sampled_from(handles))
    start = st.one_of(starts)
    steps = st.lists(st.one_of(names, st.integers(-3, 12)), max_size=2)
    return st.one_of(start, st.builds(go, start, names, steps))


@st.composite
def workflows(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Workflow:
    wf = Workflow(
        draw(names),
        description=draw(texts),
        version=draw(odd_texts),
        tags=draw(st.lists(texts.filter(bool), max_size=2)),
        inputs=draw(st.dictionaries(names, st.one_of(st.just(REQUIRED), leaves), max_size=3)),
    )
    inner = Workflow("inner workflow")
    handles: list[Any] = []
    for id in draw(st.lists(names, unique=True, max_size=5)):
        some = references(handles, wf)
        values = st.recursive(st.one_of(leaves, some), nested, max_leaves=4)
        inputs = draw(st.dictionaries(names.map("x{}".format), values, max_size=3))
        common = {"id": id, "inputs": inputs, **draw(settings_of_nodes)}
        if handles:
            common["after"] = draw(st.lists(st.sampled_from(handles), max_size=2))
        kind = draw(st.sampled_from(["action", "workflow", "map", "rows", "branch"]))
        if kind == "branch" and handles:
            sides = draw(st.lists(st.sampled_from(handles), unique_by=id_of, min_size=1, max_size=3))
            handles.append(wf.branch(draw(values), then=sides[:1], otherwise=sides[1:], id=id))
            continue
        if kind == "map":
            over = st.one_of(some, st.lists(leaves, max_size=2))
            varied = draw(st.dictionaries(st.sampled_from(["p", "q"]), over, min_size=1))
            action = draw(st.sampled_from(["f", inner]))
            handle = wf.map(action, varied, limit=draw(st.sampled_from([None, 3])), **common)
        elif kind == "rows":
            rows = st.lists(st.dictionaries(names, leaves, max_size=2), max_size=2)
            handle = wf.map("f", draw(st.one_of(some, rows)), **common)
        else:
            handle = wf.add(inner if kind == "workflow" else draw(names), **common)
        defaults = {name: draw(leaves) for name in inputs if draw(st.booleans())}
        wf.describe(handle, description=draw(texts), instructions=draw(texts), defaults=defaults)
        handles.append(handle)
    results = st.recursive(st.one_of(leaves, references(handles, wf)), nested, max_leaves=4)
    wf.result = draw(st.one_of(st.none(), results))
    return wf


def id_of(handle: Any) -> str:
    return str(handle.id)


@given(workflows())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_what_is_written_loads_as_an_equal_workflow(wf: Workflow) -> None:
    """Whatever the builder makes of plain values: loading the text that was written gives the same.

    A branch may close a circle: such a workflow is refused in both ways.
    """
    try:
        text = dump_yaml(wf)
    except CycleError:
        return
    again = load_yaml_text(text)
    assert again == wf
    assert dump_yaml(again) == text


def test_references_by_text_are_written_as_they_are_bound() -> None:
    """What `ref` says is told apart once, and written so that it is told apart in the same way."""
    wf = Workflow("w")
    wf.add("f", id="a")
    wf.add("f", id="b", x=ref("a.k.0"), y=[ref("inputs.n")], over="plain")
    text = dump_yaml(wf)
    assert "reference: a.k.0" in text
    assert "[!ref inputs.n]" in text
    assert load_yaml_text(text) == wf
    wf.result = (wf.input("n"), {"b": ref("b.k")})
    assert "result: !tuple [inputs.n, {b: b.k}]" in dump_yaml(wf)


def test_thousands_of_nodes_load_and_are_written_in_seconds() -> None:
    """The time grows with the text, not faster."""
    wf = Workflow("w")
    for i in range(2_000):
        wf.add("f", id=f"n{i}", x=ref(f"n{i - 1}.x") if i else 1)
    begin = time.perf_counter()
    assert load_yaml_text(dump_yaml(wf)) == wf
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("retries: 2", "write try_count: 3 for 2 retries"),
        ("after: [x]", "write dependencies: [fetch, clean]"),
        ("deps: [x]", "write dependencies: [fetch, clean]"),
        ("xyz: 1", "'workflow'"),
    ],
)
def test_what_a_key_is_called_here_is_said(line: str, way: str) -> None:
    """Of names from Python and elsewhere; where nothing is near, all keys are named."""
    with pytest.raises(ValidationError, match=re.escape(way)):
        load_yaml_text(f"name: w\nnodes:\n- id: a\n  action: f\n  {line}")


def test_the_page_on_yaml_is_so() -> None:
    """Its example loads, and its tables have all keys of a file and of a node, and no others."""
    page = (Path(__file__).parents[2] / "notebooks" / "yaml.md").read_text()
    example = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)[0]
    assert [*load_yaml_text(example).nodes] == ["scan", "smooth", "choose", "report", "mend"]
    tables = page.split("## Keys of ")[1:]
    for text, keys in zip(tables, (_TOP, yaml_node._NODE), strict=True):
        rows = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
        assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(keys)
