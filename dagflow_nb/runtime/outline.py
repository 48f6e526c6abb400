"""What is known of a workflow's nodes before any run: worked out once, for all of its runs."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from ..codec import Codec, are_settled, dump_defs
from ..core.graph import Edges
from ..core.model import EMPTY, NodeDef


class Outline:
    """Nodes that fit together, as `flatten` gives them.

    `kinds`: those that checks can tell apart: of nodes that have no inputs and differ by id and edges only,
    the first. `edges`: who comes after whom. With a `codec` their text is made at once, unless what they hold
    may still change.
    """

    def __init__(self, specs: tuple[NodeDef, ...], codec: Codec | None = None) -> None:
        self.specs = specs
        found: dict[Any, NodeDef] = {}
        for spec in specs:
            plain = spec.kind == "action" and spec.inputs is EMPTY and spec.defaults is EMPTY
            alike = plain and spec.cache is None and spec.ask is None
            found.setdefault((spec.action, spec.failure, spec.executor) if alike else spec.id, spec)
        self.kinds = list(found.values())
        self.edges = Edges(specs)
        self._text: str | None = None
        if codec is not None and are_settled(self.kinds):
            self._write(codec)

    def is_of(self, specs: tuple[NodeDef, ...]) -> bool:
        """Whether these are the same nodes, to the last one."""
        own = self.specs
        return own is specs or (len(own) == len(specs) and all(map(operator.is_, own, specs)))

    def text(self, codec: Codec) -> str | Callable[[], str]:
        """The nodes as the store keeps them, or what makes that, where nobody can change them meanwhile."""
        if self._text is not None:
            return self._text
        make = partial(self._write, codec)
        return make if are_settled(self.kinds) else make()

    def _write(self, codec: Codec) -> str:
        if self._text is None:
            self._text = dump_defs(codec, self.specs)
        return self._text
