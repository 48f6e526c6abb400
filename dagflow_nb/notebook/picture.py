"""Pictures of runs and workflows: SVG that shows itself, DOT text, files.

    picture = run.graph()
    picture                      # in a notebook: the picture
    picture.save("run.svg")      # .png and .pdf need Graphviz; .dot writes the DOT text

States are baked in, with a legend: a picture is what a run was at one moment.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DagError, ValidationError, shorten
from ..files import write_file
from . import drawing as drawings
from .dot import placed_dot, to_dot
from .layout import LIMIT, EngineFailed, engines, layout, render
from .paint import paint_picture

if TYPE_CHECKING:
    import graphviz  # type: ignore[import-untyped]  # the package has no type hints

    from ..runtime.snapshot import Snapshot
    from .folding import Folding
    from .plain import Geometry

SAVE_LIMIT = 60.0


class Picture:
    """A picture that is made when it is first looked at.

    `alt` says in a sentence what is on it. `svg` is its SVG, `source` its DOT text (empty for a timeline).
    """

    def __init__(self, svg: Callable[[], str], source: Callable[[], str], alt: str) -> None:
        self._make_svg, self._make_source, self.alt = svg, source, alt

    @cached_property
    def svg(self) -> str:
        """The picture as SVG that stands by itself: no scripts, no links, no fonts to load."""
        return self._make_svg()

    @cached_property
    def source(self) -> str:
        """The picture as DOT text, for Graphviz and everything that reads its language."""
        return self._make_source()

    def digraph(self) -> graphviz.Source:
        """The DOT text as a `graphviz.Source`. Raises `ValidationError` for a picture that is no graph."""
        import graphviz

        return graphviz.Source(self._graph_source())

    def save(self, path: str | Path) -> Path:
        """Writes the picture, in the format that the name's ending says, and returns the path.

        `.svg` always works, and `.dot` (or `.gv`) writes the DOT text; `.png` and `.pdf` need the program
        `dot` or the package pygraphviz: without them, `DagError` says what to install. Another ending, or a
        file that cannot be written, is a `ValidationError`.

            run.graph().save("run.png")
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".svg":
            return write_file(path, self.svg)
        if ending in (".dot", ".gv"):
            return write_file(path, self._graph_source())
        if ending in (".png", ".pdf"):
            return write_file(path, self._rendered(ending[1:]))
        raise ValidationError(
            f"a picture is saved as .svg, .png, .pdf or .dot, not {shorten(path.name)}",
            culprit="path",
            value=str(path),
        )

    def _graph_source(self) -> str:
        if not self.source:
            raise ValidationError("this picture is no graph and has no DOT text: use .svg", culprit="source")
        return self.source

    def _rendered(self, format: str) -> bytes:
        source, why = self.source or placed_dot(self.svg), []
        for engine in engines():
            try:
                return render(source, format, engine, limit=SAVE_LIMIT, placed=not self.source)
            except EngineFailed as failed:
                why.append(str(failed))
        raise DagError(
            f"a {format.upper()} needs Graphviz: install the program (from graphviz.org; it puts 'dot' on "
            f"the PATH) or `pip install pygraphviz`, or save as .svg "
            f"({'; '.join(why) or 'no engine is allowed'})"
        )

    def to_html(self, classes: str = "dagflow-picture") -> str:
        """The picture as an HTML element: an image, so that no page's style leaks into its SVG."""
        data = base64.b64encode(self.svg.encode("utf-8")).decode("ascii")
        return (
            f'<div class="{html.escape(classes)}"><img alt="{html.escape(self.alt)}" '
            f'style="max-width:100%;height:auto" src="data:image/svg+xml;base64,{data}"></div>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.to_html(), "text/plain": self.alt}

    def __repr__(self) -> str:
        return f"<Picture: {self.alt}>"


def workflow_picture(workflow: Any, marks: Mapping[str, tuple[str, str]] | None = None) -> Picture:
    """The graph of a workflow: anything with a `name` and `nodes` (`NodeDef`s, or a mapping of them).

    `marks`: how nodes look, by id, and a note in each: `{"fetch": ("run", "code changed")}`.
    """
    drawing = drawings.draw_workflow(workflow, marks)
    return _of_drawing(drawing, f"Workflow {drawing.heading}: {drawing.caption}")


def snapshot_picture(
    snapshot: Snapshot,
    geometry: Geometry | None = None,
    folding: Folding | None = None,
    drawing: drawings.Drawing | None = None,
) -> Picture:
    """The graph of a run as it stood at the snapshot, folded as somebody chose.

    `geometry`: places, where they are known; `drawing`: what comes of drawing it, where that has been done.
    """
    drawing = drawing or drawings.draw(snapshot, folding)
    return _of_drawing(drawing, drawings.summary(snapshot), geometry)


def diff_picture(a: Snapshot, b: Snapshot, changes: Mapping[str, str] | None = None) -> Picture:
    """Two runs in one graph: nodes that only one has, and nodes whose state differs.

    `changes`: in a few words what else differs, by node id, as in `{"clean": "inputs, outputs"}`.
    """
    drawing = drawings.draw_diff(a, b, changes)
    kinds = [item.change for item in drawing.items.values()]
    told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("added", "removed", "changed", "same"))
    return _of_drawing(drawing, f"Runs {a.run_id} and {b.run_id} compared: {told}")


def _of_drawing(drawing: drawings.Drawing, alt: str, geometry: Geometry | None = None) -> Picture:
    def svg() -> str:
        known = geometry is not None and geometry.boxes.keys() == drawing.items.keys()
        places = geometry if geometry is not None and known else layout(drawing, limit=LIMIT)
        return paint_picture(drawing, places, alt)

    return Picture(svg, lambda: to_dot(drawing), alt)
