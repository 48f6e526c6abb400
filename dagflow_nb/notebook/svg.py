"""SVG elements, and what may be in them.

Elements are built by an XML library, never by joining texts, and `sanitise` has the last word.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .style import FONT

NAMESPACE = "http://www.w3.org/2000/svg"
_TAGS = frozenset(["svg", "g", "path", "rect", "text", "title"])
_PLACE = frozenset(["d", "x", "y", "rx", "width", "height", "viewBox", "transform", "text-anchor"])
_PAINT = frozenset(["class", "fill", "stroke", "stroke-width", "stroke-dasharray", "opacity"])
_PENS = frozenset(["stroke-linecap", "stroke-linejoin", "font-family", "font-size", "font-weight"])
_ATTRIBUTES = _PLACE | _PAINT | _PENS | {"role", "aria-label"}
# Lightness is turned round, hues stay. It may also stand in a page among other pictures, hence the class.
DARK = (
    "@media (prefers-color-scheme:dark){.dagflow-paper{filter:invert(.91) hue-rotate(180deg) saturate(1.25)}}"
)
# Characters that no XML may hold, not even escaped.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERS = re.compile(r"url\s*\(|javascript:|data:|expression\s*\(", re.IGNORECASE)


def sanitise(root: Element, *, themed: bool = False) -> str:
    """The text of an SVG that holds only known elements and attributes, and refers to nothing outside.

    No scripts, no foreign objects, no links, no event attributes, no styles: whatever is not on the list is
    left out, with all that is in it. `themed`: a style of our own turns it dark where the reader's system is.
    """
    _prune(root)
    if themed:
        root.set("class", "dagflow-paper")
        root.insert(0, Element(f"{{{NAMESPACE}}}style"))
        root[0].text = DARK
    ElementTree.register_namespace("", NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def _prune(element: Element) -> None:
    for name in list(element.attrib):
        spoken = name.startswith(("data-", "aria-"))  # texts: never looked up, whatever they say
        known = name in _ATTRIBUTES or name.startswith("data-")
        if not known or (not spoken and _REFERS.search(element.attrib[name])):
            del element.attrib[name]
        else:
            element.attrib[name] = _ILLEGAL.sub("", element.attrib[name])
    element.text = _ILLEGAL.sub("", element.text) if element.text else None
    for child in list(element):
        if isinstance(child.tag, str) and child.tag.removeprefix(f"{{{NAMESPACE}}}") in _TAGS:
            _prune(child)
        else:
            element.remove(child)


def root_of(width: float, height: float) -> Element:
    """An SVG element of this size, in pixels, with nothing on it."""
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    box = f"0 0 {size['width']} {size['height']}"
    return Element(f"{{{NAMESPACE}}}svg", {"viewBox": box, **size, "font-family": FONT})


def add(parent: Element, tag: str, **attributes: object) -> Element:
    """A child element; `_` in names becomes `-`, a trailing one is dropped, None leaves an attribute out."""
    child = ElementTree.SubElement(parent, f"{{{NAMESPACE}}}{tag}")
    for name, value in attributes.items():
        if value is not None:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            child.set(name.rstrip("_").replace("_", "-"), shown)
    return child


def text(
    parent: Element, words: str, x: float, y: float, size: float, fill: str, **more: str | None
) -> Element:
    """A text element; `more`: its `weight`, its `anchor`, and its `kind`, which is its class."""
    child = add(parent, "text", x=round(x, 1), y=round(y, 1), font_size=size, fill=fill, stroke="none")
    for name, value in more.items():
        if value is not None:
            child.set({"weight": "font-weight", "anchor": "text-anchor", "kind": "class"}[name], value)
    child.text = words
    return child


def icon(parent: Element, path: str, x: float, y: float) -> Element:
    """An icon whose box has its upper left corner here.

    Its place is in its path, not in a `transform`: a thousand of these would each cost the browser a layer's
    bookkeeping whenever anything is painted. `data-at` lets the page put another icon into the same place.
    """
    at = f"{x:.1f} {y:.1f}"
    child = add(parent, "path", class_="icon", d=f"M{at}{path}", fill="none", stroke_width=1.7)
    child.set("stroke-linecap", "round")
    child.set("stroke-linejoin", "round")
    child.set("data-at", at)
    return child
