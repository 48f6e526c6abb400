"""`%load_ext dagflow_nb`: `%%workflow [NAME]`, `%runs [NAME]` and `%dag NAME`, on the latest `DagFlow`."""

from __future__ import annotations

import re
from typing import Any

from ..errors import DagNotFound

_NAME = re.compile(r"""^(?:name|"name"|'name')[ \t]*:.*$""", re.MULTILINE)


def load_ipython_extension(ip: Any) -> None:
    """Registers the magics in an IPython shell."""
    ip.register_magic_function(workflow, "cell")
    ip.register_magic_function(runs, "line")
    ip.register_magic_function(dag, "line")


def workflow(line: str, cell: str) -> Any:
    """`%%workflow [NAME]`: loads the cell's YAML into the latest `DagFlow`, and draws it.

    NAME goes over the text's own `name`, which may then be left out.
    """
    name = line.strip()
    loaded = _flow().load_yaml_string(_named(cell, name) if name else cell)
    return _flow().graph(loaded)


def runs(line: str) -> Any:
    """`%runs [NAME]`: the runs in the latest `DagFlow`'s database, or those of one workflow."""
    name = line.strip()
    return _flow().runs(dag_name=name) if name else _flow().runs()


def dag(line: str) -> Any:
    """`%dag NAME`: the picture of a workflow; of a run, where NAME is a run's id or its beginning."""
    from IPython.core.error import UsageError

    name = line.strip()
    if not name:
        raise UsageError("%dag needs the name of a workflow or the id of a run, as in %dag pipeline")
    flow = _flow()
    try:
        return flow.graph(name)
    except DagNotFound as unknown:
        try:
            return flow.get(name).graph()
        except DagNotFound:
            raise unknown from None


def _named(text: str, name: str) -> str:
    """The YAML text with `name` as its name, and every line where it was: errors name lines."""
    entry = f"name: {_quoted(name)}"
    if _NAME.search(text):
        return _NAME.sub(lambda _: entry, text, count=1)
    return f"{text.rstrip()}\n{entry}\n"


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _flow() -> Any:
    from IPython.core.error import UsageError

    from ..api.flow import latest_flow

    flow = latest_flow()
    if flow is None:
        raise UsageError("there is no DagFlow yet: make one first, with flow = DagFlow()")
    return flow
