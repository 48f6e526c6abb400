"""Workflows from and for elsewhere: the Python Workflow Definition, Mermaid, Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .builder import Workflow


class Interchange:
    """The part of `Workflow` that other programs read and write."""

    @staticmethod
    def from_pwd(path_or_dict: str | os.PathLike[str] | Mapping[str, Any], module: Any = None) -> Workflow:
        """The workflow of a Python Workflow Definition, as pyiron, jobflow, AiiDA and executorlib share it.

        `path_or_dict`: its JSON file, or what is in one. `module`: where its functions are: a module, its
        name, or a Python file; None: the file beside the JSON file (`workflow.get_sum` is `get_sum` of
        `workflow.py`), else the module of that name. It is imported when a run starts, not before: a
        definition can be looked at, drawn and previewed without. A function that is not there is a
        `ValidationError` then.

        Function nodes become nodes, named by their function (`get_sum`, `get_sum_2`), with the action
        `module.function`; input nodes become inputs of the run, their values the defaults; what leads
        into the output nodes is the result: one value, or several by the outputs' names. A `sourcePort`
        is a key of what the function returned, null all of it. `get_dict` and `get_list` come with the
        format. The workflow is called as its file is. `ValidationError` naming file and node or edge for
        whatever is wrong.

        >>> from dagflow_nb import DagFlow, Workflow
        >>> wf = Workflow.from_pwd({
        ...     "version": "0.1.0",
        ...     "nodes": [
        ...         {"id": 0, "type": "function", "value": "math.sqrt"},
        ...         {"id": 1, "type": "input", "value": 9.0, "name": "x"},
        ...         {"id": 2, "type": "output", "name": "result"},
        ...     ],
        ...     "edges": [
        ...         {"target": 0, "targetPort": "x", "source": 1, "sourcePort": None},
        ...         {"target": 2, "targetPort": None, "source": 0, "sourcePort": None},
        ...     ],
        ... })
        >>> with DagFlow(":memory:") as flow:
        ...     flow.run(wf, x=16.0, view=False).result
        4.0
        """
        from .pwd_load import load_pwd

        return load_pwd(path_or_dict, module)

    def to_pwd(self: Any, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """The workflow as a Python Workflow Definition (format 0.1.0), also written to the JSON file `path`.

        Each node becomes a function node; its function is one at the top of a module, which others can
        import (without `@flow.action` there: they run plain functions); one of a notebook is written as
        `__main__.name` and one inside of a function (that uses no variable of it) by its name, too: whoever
        loads it says where they are, with `module=`. Inputs of the run become input
        nodes, and so do values that are written into nodes: they come back as inputs of the run with these
        defaults. Lists and dicts with references go through the format's `get_list` and `get_dict`.
        Sub-workflows are put in place, maps over lists written out, item by item.

        What the format has no words for is a `ValidationError` naming node and setting, never left out:
        settings of nodes and the workflow's config (`timeout`, `try_count`, `when`, `failure`, `cache`,
        `executor`, `ask`, `limit`, ...), branches, maps whose items are known only in a run, `after=`
        without a value, references deeper than one key, values that are no JSON, class actions, `async
        def`, and functions that take `ctx`. Descriptions, tags and declared outputs are not written.

        >>> import math
        >>> from dagflow_nb import Workflow
        >>> wf = Workflow("root", inputs={"x": 9.0})
        >>> wf.add(math.sqrt, x=wf.input("x")).id
        'sqrt'
        >>> wf.to_pwd()["nodes"]  # doctest: +NORMALIZE_WHITESPACE
        [{'id': 0, 'type': 'function', 'value': 'math.sqrt'},
         {'id': 1, 'type': 'input', 'value': 9.0, 'name': 'x'},
         {'id': 2, 'type': 'output', 'name': 'result'}]
        """
        from .pwd_dump import dump_pwd

        return dump_pwd(self, path)

    def to_mermaid(self: Any) -> str:
        """The graph as a Mermaid flowchart."""
        from .export import to_mermaid

        return to_mermaid(self)

    def to_python(self: Any) -> str:
        """A Python script that builds this workflow as `wf`."""
        from .export import to_python

        return to_python(self)
