"""When which attempt of which node ran: a Gantt chart as SVG.

Pure: rows come in, a picture comes out; nothing is read and nothing is laid out by Graphviz.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from .paint import MARGIN
from .picture import Picture
from .style import INK, MUTED, PAPER, RULE, duration, fit, look, one_line, text_width, tint
from .svg import add, icon, root_of, sanitise, text

Row = tuple[str, int, str, float, float | None]
"""`(node_id, attempt, status, start, end)`: epoch seconds; an end of None is an attempt that goes on."""

WIDTH, ROW, LABEL_MAX, TOP = 920.0, 24.0, 220.0, 74.0
ROWS = 400
"""More nodes than this are not drawn; the caption says how many are missing."""


def timeline_picture(rows: Iterable[Row], *, title: str = "Timeline", now: float | None = None) -> Picture:
    """The attempts in `rows` over time, a line a node, in the order in which nodes started.

    `now` (epoch seconds) is where bars of attempts that go on end; None: where the last other bar ends.

        timeline_picture([("fetch", 1, "failed", 0.0, 1.0), ("fetch", 2, "completed", 3.0, 4.5)])
    """
    listed = sorted(rows, key=lambda row: row[3])
    nodes = list(dict.fromkeys(row[0] for row in listed))
    alt = f"{one_line(title)}: {len(listed)} attempts of {len(nodes)} nodes"
    return Picture(lambda: _paint(listed, nodes, one_line(title), alt, now), lambda: "", alt)


def steps(span: float, most: int = 8) -> list[float]:
    """Round numbers from 0 to `span` seconds, at most `most` and one, to mark an axis with.

    >>> steps(10, 5)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    units = [unit * 10.0**power for power in range(-3, 2) for unit in (1, 2, 5)]
    units += [30.0, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400]
    step = next((unit for unit in sorted(units) if span / unit <= most), span / most)
    return [round(step * n, 6) for n in range(int(span / step + 1e-9) + 1)] if step > 0 else [0.0]


def _paint(rows: list[Row], nodes: list[str], title: str, alt: str, now: float | None) -> str:
    shown = nodes[:ROWS]
    height = TOP + ROW * max(1, len(shown)) + MARGIN
    root = root_of(WIDTH, height)
    root.set("role", "img")
    root.set("aria-label", alt)
    add(root, "title").text = alt
    add(root, "rect", x=0.5, y=0.5, width=WIDTH - 1, height=height - 1, rx=8, fill=PAPER, stroke=RULE)
    text(root, title, MARGIN, 25, 15, INK, weight="600")
    start = min((row[3] for row in rows), default=0.0)
    ends = [row[3] if row[4] is None else row[4] for row in rows]
    end = max([*ends, start if now is None else now, start])
    missing = f"  ·  {len(nodes) - len(shown)} nodes not drawn" if len(nodes) > len(shown) else ""
    text(root, f"{alt.split(': ', 1)[-1]}  ·  {duration(end - start)}{missing}", MARGIN, 42, 11, MUTED)
    if not rows:
        text(root, "Nothing has started yet.", MARGIN, TOP + 14, 12, MUTED)
        return sanitise(root, themed=True)

    labels = {node: fit(one_line(node), LABEL_MAX, 12) for node in shown}
    left = MARGIN + max(text_width(label, 12) for label in labels.values()) + 14
    scale = (WIDTH - left - MARGIN - 54) / max(end - start, 1e-6)
    _axis(root, left, height, scale, end - start)
    lines = {node: TOP + ROW * number for number, node in enumerate(shown)}
    for number, (node, y) in enumerate(lines.items()):
        if number % 2 == 0:
            band = {"x": MARGIN - 6, "y": y, "width": WIDTH - 2 * MARGIN + 12, "height": ROW}
            add(root, "rect", **band, fill="#f6f8fa", rx=3)
        text(root, labels[node], MARGIN, y + 16, 12, INK)
    last = {row[0]: row for row in rows}
    for row in rows:
        if row[0] in lines:
            _bar(root, row, lines[row[0]], left, scale, start, end, row is last[row[0]])
    return sanitise(root, themed=True)


def _axis(root: Element, left: float, height: float, scale: float, span: float) -> None:
    for at in steps(span):
        x = left + at * scale
        add(root, "path", d=f"M{x:.1f},{TOP - 6:g}V{height - MARGIN:g}", stroke=RULE, stroke_width=1)
        text(root, duration(at) if at else "0", x, TOP - 12, 10, MUTED, anchor="middle")


def _bar(
    root: Element, row: Row, y: float, left: float, scale: float, start: float, end: float, last: bool
) -> None:
    node, attempt, status, begun, ended = row
    seen = look(status)
    took = (end if ended is None else ended) - begun
    x, wide = left + (begun - start) * scale, max(2.0, took * scale)
    bar = add(root, "g", class_="bar", stroke=seen.ink, fill=tint(seen.ink, 0.22))
    bar.set("data-node", node)
    bar.set("data-state", status)
    add(bar, "title").text = f"{one_line(node)}\nattempt {attempt}: {status}, {duration(took)}"
    add(
        bar,
        "rect",
        x=round(x, 1),
        y=y + 4,
        width=round(wide, 1),
        height=ROW - 8,
        rx=min(4.0, wide / 2),
        stroke_width=1.1,
        stroke_dasharray="4 3" if seen.dashed else None,
    )
    if wide >= 20 and seen.icon:
        icon(bar, seen.icon, round(x + 4, 1), y + 6)
    if last:
        text(root, duration(took), x + wide + 6, y + 16, 11, MUTED)
