"""What a docstring in Google's style says: the text of a function, and a line for each parameter."""

from __future__ import annotations

import inspect
import re
from typing import Any

# the headings of Google's style guide, and those that Sphinx's napoleon reads beside them
_HEADING = re.compile(
    r"(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters|Returns?|Yields?|"
    r"Raises|Examples?|Notes?|Attributes|References|See Also|Todo|Warnings?):\s*"
)
_OF_PARAMETERS = re.compile(r"(Args|Arguments|Parameters|Params|Keyword|Other)")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


def read_docstring(documented: Any) -> tuple[str, dict[str, str]]:
    """The text before the first section or example, and the parameters' descriptions by name.

    >>> def fetch(source, limit=10):
    ...     '''Fetch rows.
    ...
    ...     Args:
    ...         source: Where from,
    ...             a URL.
    ...         limit (int): At most so many.
    ...
    ...     Returns:
    ...         rows: The rows.
    ...     '''
    >>> read_docstring(fetch)
    ('Fetch rows.', {'source': 'Where from, a URL.', 'limit': 'At most so many.'})
    """
    text = documented.__doc__ if isinstance(getattr(documented, "__doc__", None), str) else ""
    lines = inspect.cleandoc(text).splitlines()
    about: list[str] = []
    found: dict[str, str] = {}
    section: str | None = None
    name: str | None = None
    depth = 0  # how far the entries of this section are indented
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not indent and (heading := _HEADING.fullmatch(line)):
            section, name, depth = heading[1], None, 0
        elif line.startswith(">>>"):
            section = section or "Example"
        elif section is None:
            about.append(line)
        elif line.strip() and indent and _OF_PARAMETERS.match(section):
            depth = depth or indent
            entry = _ENTRY.fullmatch(line.strip()) if indent <= depth else None
            if entry is not None:
                name, found[entry[1]] = entry[1], entry[2]
            elif name is not None:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return "\n".join(about).strip(), found
