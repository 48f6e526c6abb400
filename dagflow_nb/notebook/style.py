"""How things look: the colours, icons and names of states, and how wide a text is.

One table serves the DOT text, the drawn SVG, the timeline and (its icons) the live view. A state is told
by its icon and its name as well as by its colour: the colours are far apart for colour-blind eyes, but
nobody has to rely on them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is drawn: its ink, its icon, whether its outline is dashed.

    The icon is path data in a box of 12 x 12, all relative, so that a start in front of it places it.
    """

    ink: str
    icon: str
    dashed: bool = False


LOOKS: dict[str, Look] = {
    "pending": Look("#6b7683", "m6 2a4 4 0 1 0 0 8a4 4 0 1 0 0-8z"),
    "running": Look("#0b63ce", "m4 2.2l6 3.8l-6 3.8z"),
    "retrying": Look("#b35c00", "m9.8 6.8a4 4 0 1 1-.9-3.6m.4-2.2v2.5h-2.5"),
    "paused": Look("#7a3ecb", "m4 2.4v7.2m4-7.2v7.2"),
    "completed": Look("#0b7a55", "m2 6.4l2.7 2.7l5.3-5.8"),
    "cached": Look("#08708a", "m6.8 1l-4 5.9h3.2l-.8 4.1l4-5.9h-3.2z"),
    "failed": Look("#c4261d", "m2.8 2.8l6.4 6.4m0-6.4l-6.4 6.4"),
    "recovered": Look("#66750a", "m2.6 4.8h4.8a2.5 2.5 0 0 1 0 5h-2.8m.4-7.6l-2.6 2.6l2.6 2.6"),
    "skipped": Look("#7d8792", "m2.4 2.8l3.2 3.2l-3.2 3.2m4.2-6.4l3.2 3.2l-3.2 3.2", dashed=True),
    "cancelled": Look("#8a5140", "m6 2a4 4 0 1 0 0 8a4 4 0 1 0 0-8zm-2.8 1.2l5.6 5.6", dashed=True),
}
PLAIN = Look("#52606d", "")
MARKS: dict[str, Look] = {
    "run": LOOKS["running"],
    "added": Look(LOOKS["completed"].ink, "m6 2v8m-4-4h8"),
    "removed": Look(LOOKS["failed"].ink, "m2 6h8", dashed=True),
    "changed": Look("#b35c00", "m2 4.4c2.6-2.4 5.4 1.6 8-.6m-8 4.4c2.6-2.4 5.4 1.6 8-.6"),
    "same": Look(LOOKS["skipped"].ink, "m2.4 4.4h7.2m-7.2 3.2h7.2"),
}
"""Looks of nodes that are told apart by something else than their states: in a comparison, or a plan."""
RUN_INK = {"interrupted": "#b35c00"}
INK, MUTED, RULE, PAPER = "#1f2933", "#5b6672", "#d5dae0", "#ffffff"
TIMES = "\u00d7"
GROWN, RESCUE = "#7a3ecb", "#b35c00"
FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def look(state: str) -> Look:
    """How a state, or one of `MARKS`, is drawn; an unknown one, or none, looks plain."""
    return LOOKS.get(state) or MARKS.get(state, PLAIN)


def run_ink(status: str) -> str:
    """The colour of a run's status."""
    return RUN_INK.get(status) or look(status).ink


def tint(ink: str, share: float = 0.1) -> str:
    """`ink` on white paper, `share` of it: the fill behind a text.

    >>> tint("#000000", 0.5)
    '#808080'
    """
    parts = (int(ink[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in parts)


# --- texts ------------------------------------------------------------------------------------

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# as wide as in DejaVu Sans, the widest that stands in for the others, where none of them is there
_NARROW, _SLIM = frozenset("ijl.,:;'|IJ/\\ "), frozenset('frt-"*`!()[]')
_WIDE = frozenset("mwMW@%&#<>=+~^…\u00d7")


def one_line(text: object) -> str:
    """`text` on one line, without characters that XML forbids or that turn the reading direction.

    >>> one_line("a\\nb\\x00")
    'a b '
    """
    return _BIDI.sub("", _UNPRINTABLE.sub(" ", str(text)))


def without_ansi(text: str) -> str:
    """`text` without a terminal's colour codes and other escape sequences."""
    return _ANSI.sub("", text)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """About how many pixels `text` takes in a sans-serif of `size` pixels; rather too many than too few."""
    ems = 0.0
    for char in text:
        if char in _NARROW:
            ems += 0.34
        elif char in _SLIM:
            ems += 0.43
        elif char in _WIDE:
            ems += 0.97
        elif char < "\u1100":
            ems += 0.74 if char.isupper() else 0.63
        elif unicodedata.combining(char) == 0:
            ems += 1.1 if unicodedata.east_asian_width(char) in "WF" else 0.75
    return ems * size * (1.14 if bold else 1.0)


def fit(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """`text`, cut with an ellipsis in its middle where it is wider than `width` pixels.

    Ids differ at their ends (`chunk/17`), so both ends stay.
    """
    if text_width(text, size, bold=bold) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and text_width(text[:keep] + "…", size, bold=bold) > width:
        keep -= max(1, keep // 12)
    tail = keep // 3
    return text[: keep - tail] + "…" + (text[-tail:] if tail else "")


def duration(seconds: float) -> str:
    """A duration as people read it.

    >>> [duration(s) for s in (0.004, 0.42, 7.25, 61, 7300)]
    ['4 ms', '0.4 s', '7.2 s', '1 m 01 s', '2 h 01 m']
    """
    seconds = max(0.0, seconds)
    if seconds < 0.0995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def amount(number: float) -> str:
    """A count in few characters.

    >>> [amount(n) for n in (7, 9999, 12_340, 2_500_000)]
    ['7', '9999', '12k', '2.5M']
    """
    if number < 10_000:
        return f"{number:.0f}"
    return f"{number / 1000:.0f}k" if number < 1e6 else f"{number / 1e6:.1f}M"
