"""Places for a drawing: by the program `dot`, else by pygraphviz, else by our own simpler layout.

Graphviz is asked for an SVG, of which only numbers are kept: where each box and each line is. The picture
is painted by `svg.py`, the same whoever laid it out, and whatever fonts the kernel's machine has.

The environment variable `DAGFLOW_LAYOUT` (`dot`, `pygraphviz` or `plain`) leaves only that one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from .columns import Columns
from .dot import to_dot
from .drawing import Drawing
from .plain import Box, Geometry, Route, layout_plain

LIMIT = 5.0
"""Seconds that Graphviz may take before the simpler layout is used."""
HELPER = Path(__file__).with_name("_agraph.py")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_SVG = "{http://www.w3.org/2000/svg}"


class EngineFailed(Exception):
    """An engine is not there, or cannot do it; the next one is tried. `slow`: it was out of time."""

    def __init__(self, why: str, *, slow: bool = False) -> None:
        super().__init__(why)
        self.slow = slow


def layout(drawing: Drawing, *, limit: float = LIMIT) -> Geometry:
    """Places for everything in `drawing`. Graphviz gets `limit` seconds; the answer never fails to come."""
    if not drawing.items:
        return layout_plain(drawing)
    source = to_dot(drawing)
    for engine in engines():
        try:
            return _geometry(drawing, render(source, "svg", engine, limit=limit), engine)
        except EngineFailed as failed:
            if failed.slow:
                break  # the others run the same algorithm
    return layout_plain(drawing)


def engines() -> list[str]:
    """The engines to try, best first, without the last resort."""
    only = os.environ.get("DAGFLOW_LAYOUT")
    if only in ("dot", "pygraphviz", "plain"):
        return [only] if only != "plain" else []
    return ["dot", "pygraphviz"]


def render(source: str, format: str, engine: str, *, limit: float = LIMIT, placed: bool = False) -> bytes:
    """What `engine` makes of DOT text, in `limit` seconds. Raises `EngineFailed`.

    `placed`: its nodes have their places already.
    """
    how = "nop2" if placed else "dot"
    if engine == "dot":
        program = shutil.which("dot")
        if program is None:
            raise EngineFailed("there is no program 'dot' on the PATH")
        command = [program, f"-K{how}", f"-T{format}"]
    else:
        # find_spec, not import: the library is only to be loaded in the helper.
        if not sys.executable or importlib.util.find_spec("pygraphviz") is None:
            raise EngineFailed("pygraphviz is not installed")
        # -P: the helper's folder must not hide modules that pygraphviz imports.
        command = [sys.executable, "-P", str(HELPER), format, how]
    try:
        done = subprocess.run(
            command,
            input=source.encode("utf-8"),
            capture_output=True,
            timeout=limit,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"{engine} took longer than {limit:g} s", slow=True) from None
    except OSError as error:
        raise EngineFailed(f"{engine} cannot be started: {error}") from error
    if done.returncode != 0 or not done.stdout:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise EngineFailed(f"{engine} failed: {last[0] if last else done.returncode}")
    return done.stdout


def _geometry(drawing: Drawing, svg: bytes, engine: str) -> Geometry:
    """The places in an SVG made from `to_dot(drawing)`, found by the ids that it gives."""
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise EngineFailed(f"{engine} wrote no SVG: {error}") from error
    graph = root.find(f"{_SVG}g")
    if graph is None:
        raise EngineFailed(f"{engine} wrote an empty SVG")
    shift = re.search(r"translate\(([-\d.]+)[ ,]([-\d.]+)\)", graph.get("transform", ""))
    dx, dy = (float(shift[1]), float(shift[2])) if shift else (0.0, 0.0)
    parts = {part.get("id", ""): part for part in graph.iter(f"{_SVG}g")}
    try:
        boxes = {id: _box(parts[f"n{number}"], dx, dy) for number, id in enumerate(drawing.items)}
        routes = tuple(_route(parts[f"e{number}"], dx, dy) for number in range(len(drawing.lines)))
    except (KeyError, ValueError, StopIteration) as error:
        raise EngineFailed(f"{engine} left something out: {error}") from error
    _in_order(drawing, boxes)
    columns = Columns(drawing, boxes)
    if columns.are_upside_down(boxes):
        boxes = {id: Box(b.x, -b.y - b.height, b.width, b.height) for id, b in boxes.items()}
        routes = tuple(Route(_moved(r.line, 0.0, 0.0, -1.0), _moved(r.tip, 0.0, 0.0, -1.0)) for r in routes)
    lines = zip(drawing.lines, routes, strict=True)
    routes = tuple(columns.route(boxes, line.tail, line.head) or route for line, route in lines)
    return _trimmed(boxes, routes, engine)


def _in_order(drawing: Drawing, boxes: dict[str, Box]) -> None:
    """Puts items of a group that no line leads to or from, such as a map's, into their own order."""
    ends = {end for line in drawing.lines for end in (line.tail, line.head)}
    for group, members in drawing.members.items():
        alike: dict[tuple[float, float], list[str]] = {}
        for id in members:
            if group is not None and id not in ends and drawing.items[id].shape != "group":
                alike.setdefault((drawing.items[id].width, drawing.items[id].height), []).append(id)
        for ids in alike.values():
            boxes.update(
                zip(ids, sorted((boxes[id] for id in ids), key=lambda box: (box.x, box.y)), strict=True)
            )


def _points(text: str, dx: float, dy: float) -> list[tuple[float, float]]:
    numbers = [float(found) for found in _NUMBER.findall(text)]
    return [(x + dx, y + dy) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def _box(part: ElementTree.Element, dx: float, dy: float) -> Box:
    points: list[tuple[float, float]] = []
    for shape in part.iter():
        if shape.tag in (f"{_SVG}polygon", f"{_SVG}polyline"):
            points += _points(shape.get("points", ""), dx, dy)
        elif shape.tag == f"{_SVG}path":
            points += _points(shape.get("d", ""), dx, dy)
    left, top = min(x for x, _ in points), min(y for _, y in points)
    right, bottom = max(x for x, _ in points), max(y for _, y in points)
    return Box(left, top, right - left, bottom - top)


def _route(part: ElementTree.Element, dx: float, dy: float) -> Route:
    """Graphviz draws a line as one path of cubic curves (`Mx,yCx,y ...`), its tip as a polygon."""
    line = next(part.iter(f"{_SVG}path")).get("d", "")
    moved = _points(line, dx, dy)
    curve = "M{:.1f},{:.1f}C".format(*moved[0]) + " ".join(f"{x:.1f},{y:.1f}" for x, y in moved[1:])
    tip = next(part.iter(f"{_SVG}polygon"), None)
    corners = _points(tip.get("points", ""), dx, dy)[:3] if tip is not None else []
    if len(corners) < 3:
        return Route(curve, "")
    head = "L".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return Route(f"{curve}L{corners[1][0]:.1f},{corners[1][1]:.1f}", f"M{head}")


def _trimmed(boxes: dict[str, Box], routes: tuple[Route, ...], engine: str) -> Geometry:
    """The same with nothing but the drawing on the canvas: the graph's own label is painted elsewhere."""
    bends = [point for route in routes for point in _points(route.line, 0.0, 0.0)]
    left = min(*(box.x for box in boxes.values()), *(x for x, _ in bends), float("inf"))
    top = min(*(box.y for box in boxes.values()), *(y for _, y in bends), float("inf"))
    right = max(*(box.x + box.width for box in boxes.values()), *(x for x, _ in bends), 0.0)
    bottom = max(*(box.y + box.height for box in boxes.values()), *(y for _, y in bends), 0.0)
    placed = {
        id: Box(round(b.x - left, 1), round(b.y - top, 1), round(b.width, 1), round(b.height, 1))
        for id, b in boxes.items()
    }
    moved = tuple(Route(_moved(route.line, -left, -top), _moved(route.tip, -left, -top)) for route in routes)
    return Geometry(placed, moved, round(right - left, 1), round(bottom - top, 1), engine)


def _moved(path: str, dx: float, dy: float, factor: float = 1.0) -> str:
    """The same path elsewhere; its heights times `factor` before."""
    return re.sub(
        r"(-?[\d.]+),(-?[\d.]+)",
        lambda m: f"{float(m[1]) + dx:.1f},{float(m[2]) * factor + dy:.1f}",
        path,
    )
