"""Colours, icons and texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dagflow_nb.core.model import NodeStatus
from dagflow_nb.notebook import style

CSS = Path(style.__file__).with_name("static") / "dagflow.css"


def test_every_state_has_a_look_of_its_own():
    """Each state of a node has an ink and an icon that no other state has."""
    assert set(style.LOOKS) == {str(state) for state in NodeStatus}
    assert len({look.icon for look in style.LOOKS.values()}) == len(style.LOOKS)
    assert len({look.ink for look in style.LOOKS.values()}) == len(style.LOOKS)


def test_the_page_has_the_same_colours():
    """The live view's style sheet gives each state the ink that pictures give it."""
    rules = re.findall(r'\[data-state="(\w+)"\][^{}]*\{ --df-state: (#\w+); \}', CSS.read_text())
    assert dict(rules) == {state: look.ink for state, look in style.LOOKS.items()}


def test_icons_can_be_placed_by_a_start():
    """Icons are relative path data: no capital letter would jump out of the place they are given."""
    for look in style.LOOKS.values():
        assert re.fullmatch(r"m[a-z0-9 .,-]+", look.icon)


def contrast(ink: str) -> float:
    """The WCAG contrast of an ink on white paper."""
    parts = [int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


@pytest.mark.parametrize("state", style.LOOKS)
def test_inks_are_legible_on_paper(state):
    """Each ink has the contrast that icons need (3 to 1); texts, in ink or muted, have 4.5 to 1."""
    assert contrast(style.look(state).ink) >= 3
    assert min(contrast(style.INK), contrast(style.MUTED)) >= 4.5


def test_a_text_that_is_too_wide_keeps_both_ends():
    """Ids differ at their ends, so a long one loses its middle."""
    text = style.fit("a_long_name_of_a_map/" + "x" * 50 + "/117", 100, 13)
    assert text.startswith("a_") and text.endswith("117") and "…" in text
    assert style.text_width(text, 13) <= 100
    assert style.fit("short", 100, 13) == "short"


def test_one_line_leaves_nothing_that_breaks_a_picture():
    """Line breaks, control characters and marks that turn the direction of reading are gone."""
    assert style.one_line("a\nb\x00c\u202ed\ud800") == "a b c" + "d "
    assert style.without_ansi("\x1b[31mred\x1b[0m \x1b]0;title\x07text") == "red text"
