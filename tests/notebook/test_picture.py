"""Pictures: what is on them, and what cannot be."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from dagflow_nb.core.model import NodeDef
from dagflow_nb.errors import DagError, ValidationError
from dagflow_nb.notebook import layout as layouts, picture as pictures
from dagflow_nb.notebook.drawing import draw
from dagflow_nb.notebook.layout import EngineFailed
from dagflow_nb.notebook.paint import paint
from dagflow_nb.notebook.picture import Picture, diff_picture, snapshot_picture, workflow_picture
from dagflow_nb.notebook.plain import layout_plain
from dagflow_nb.notebook.style import LOOKS, text_width
from dagflow_nb.notebook.svg import DARK, NAMESPACE, add, root_of, sanitise
from dagflow_nb.notebook.timeline import steps, timeline_picture
from dagflow_nb.runtime.snapshot import NodeView

from .conftest import HOSTILE, run_of

SVG = f"{{{NAMESPACE}}}"


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """These tests need no Graphviz."""
    monkeypatch.setenv("DAGFLOW_LAYOUT", "plain")


def parsed(picture: Picture) -> ElementTree.Element:
    return ElementTree.fromstring(picture.svg)


def nodes_of(svg: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {g.get("data-node"): g for g in svg.iter(f"{SVG}g") if "node" in g.get("class", "").split()}


def test_every_node_is_an_element_with_its_state(rich):
    """Each drawn node is a group with `data-node` and `data-state`, in its state's ink."""
    nodes = nodes_of(parsed(snapshot_picture(rich)))
    assert set(nodes) == set(draw(rich).items)
    for node in rich.nodes:
        if node.id in nodes:
            assert nodes[node.id].get("data-state") == node.status
            assert nodes[node.id].get("stroke") == LOOKS[node.status].ink


@pytest.mark.parametrize(("attempt", "tokens", "shown"), [(1, 0, "completed"), (1, 120, ""), (3, 9000, "")])
def test_the_name_of_a_state_gives_way_to_what_is_told_beside_it(attempt, tokens, shown):
    """A node that is called as its action shows its state where there is room for all of it, else not."""
    view = NodeView("agent", "agent", "completed", started_at=100.0, finished_at=101.4, attempt=attempt)
    node = nodes_of(parsed(snapshot_picture(run_of(replace(view, tokens=tokens)))))["agent"]
    texts = {text.get("class"): text for text in node.iter(f"{SVG}text")}
    state, ending = texts["sub state"], texts["time"]
    assert (state.text or "") == shown
    room = float(ending.get("x")) - float(state.get("x")) - text_width(ending.text, 11)
    assert text_width(shown, 11) <= room


def test_a_picture_says_what_it_shows(rich):
    """It has a title, an alternative text, a heading, and a legend of the states and lines on it."""
    picture = snapshot_picture(rich)
    root = parsed(picture)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert root.get("role") == "img" and root.get("aria-label") == picture.alt
    assert root.find(f"{SVG}title").text == picture.alt
    assert "pipeline  ·  running for 20.0 s" in texts
    assert {"cached 1", "recovered 1", "added while running", "failure handling"} <= set(texts)
    assert "30/40" in texts and "tile × 40" in texts  # noqa: RUF001 - a multiplication sign is meant


def test_a_picture_shows_itself_as_an_image(rich):
    """Its HTML is an image with the SVG inside, so that no page's style or script meets it."""
    picture = snapshot_picture(rich)
    bundle = picture._repr_mimebundle_()
    assert bundle["text/plain"] == picture.alt
    data = re.search(r'<img alt="[^"]*" [^>]*src="data:image/svg\+xml;base64,([^"]+)">', bundle["text/html"])
    assert base64.b64decode(data[1]).decode() == picture.svg


def test_hostile_texts_are_only_texts(hostile):
    """Markup in ids, actions and names is text in the picture, in its HTML and in its alternative text."""
    picture = snapshot_picture(hostile)
    root = parsed(picture)
    assert set(nodes_of(root)) == {text.replace("\x00\x1b", "") for text in HOSTILE}
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds <= {"svg", "g", "path", "rect", "text", "title", "style"}
    assert [style.text for style in root.iter(f"{SVG}style")] == [DARK]
    assert "<script" not in picture.svg and "<script" not in picture.to_html()
    assert "<b>" not in picture.to_html() and "\x1b" not in picture.svg


def test_pictures_turn_dark_where_the_system_is(rich):
    """Graphs and timelines carry one style of our own, for a class of their own, and it refers to nothing."""
    for picture in (snapshot_picture(rich), timeline_picture([("a", 1, "completed", 0.0, 1.0)])):
        root = parsed(picture)
        assert root.get("class") == "dagflow-paper" and root.find(f"{SVG}style").text == DARK
    assert DARK.startswith("@media (prefers-color-scheme:dark){.dagflow-paper{") and "url" not in DARK


def test_sanitising_leaves_only_what_is_known():
    """Scripts, foreign objects, links, styles, event attributes and references to elsewhere are left out."""
    root = root_of(10, 10)
    add(root, "script").text = "alert(1)"
    add(root, "foreignObject")
    add(root, "a", href="https://example.org")
    add(root, "image", href="https://example.org/x.png")
    add(root, "style").text = "* { fill: url(https://example.org) }"
    kept = add(root, "rect", onclick="alert(1)", fill="url(https://example.org)", stroke="#123456")
    kept.set("data-node", "url(x) javascript:")
    kept.set("{http://www.w3.org/1999/xlink}href", "https://example.org")
    text = sanitise(root)
    assert "example.org" not in text and "alert" not in text
    assert '<rect stroke="#123456" data-node="url(x) javascript:" />' in text


def test_the_live_graph_has_the_same_elements(rich):
    """What the page gets has the same nodes, the icons' places, and no legend or tooltip."""
    drawing = draw(rich)
    root = ElementTree.fromstring(paint(drawing, layout_plain(drawing)))
    nodes = nodes_of(root)
    assert set(nodes) == set(drawing.items)
    assert all(len(node.get("data-box").split()) == 4 for node in nodes.values())
    assert root.find(f".//{SVG}title") is None
    assert {"title", "sub", "time", "icon", "shape"} <= {part.get("class") for part in nodes["fetch"]} | {
        "sub"
    }


def test_a_workflow_is_drawn_without_states():
    """The picture of a workflow has neither states nor a legend of states."""
    defs = [NodeDef(id="a", action="f"), NodeDef(id="b", action="g", deps=("a",))]
    picture = workflow_picture(SimpleNamespace(name="w", nodes=defs))
    assert "data-state" not in picture.svg and "pending" not in picture.svg
    assert picture.alt == "Workflow w: 2 nodes" and "a -> b" in picture.source


def test_two_runs_are_compared_in_one_picture(rich):
    """Nodes are marked as added, removed, changed or the same, in words too."""
    other = run_of(*rich.nodes[:-1], NodeView(id="new", action="f"), run_id="run-2")
    picture = diff_picture(rich, other, {"fetch": "outputs"})
    nodes = nodes_of(parsed(picture))
    assert nodes["new"].get("data-change") == "added" and nodes["publish"].get("data-change") == "removed"
    assert "other outputs" in picture.svg and "only in the first" in picture.svg
    assert "1 added, 1 removed, 1 changed" in picture.alt


def test_known_places_are_used_again(rich, monkeypatch):
    """Places from the live view are not looked for again, unless they are those of another graph."""
    drawing = draw(rich)
    places = layout_plain(drawing)
    monkeypatch.setattr(pictures, "layout", lambda *args, **options: pytest.fail("laid out again"))
    assert snapshot_picture(rich, places).svg
    monkeypatch.undo()
    assert snapshot_picture(run_of(*rich.nodes[:3]), places).svg


def test_an_empty_run_has_a_picture():
    """Nothing to draw is no error."""
    assert "0 nodes" in snapshot_picture(run_of()).svg


def test_saving_by_the_names_ending(rich, tmp_path, monkeypatch):
    """SVG and DOT always work; PNG and PDF need Graphviz; another ending, or none, is refused."""
    picture = snapshot_picture(rich)
    assert picture.save(tmp_path / "a.svg").read_text(encoding="utf-8") == picture.svg
    assert picture.save(str(tmp_path / "a.DOT")).read_text(encoding="utf-8") == picture.source
    for name in ("a.jpeg", "a"):
        with pytest.raises(ValidationError, match=r"as \.svg, \.png, \.pdf or \.dot"):
            picture.save(tmp_path / name)

    monkeypatch.delenv("DAGFLOW_LAYOUT")
    monkeypatch.setattr(pictures, "render", lambda source, format, engine, **_: f"{engine} {format}".encode())
    assert picture.save(tmp_path / "a.png").read_bytes() == b"dot png"


def test_without_graphviz_a_png_says_what_to_install(rich, tmp_path, monkeypatch):
    """The error names both ways to Graphviz, why each failed, and the format that always works."""

    def missing(source, format, engine, **options):
        raise EngineFailed(f"{engine} is not here")

    monkeypatch.delenv("DAGFLOW_LAYOUT")
    monkeypatch.setattr(pictures, "render", missing)
    with pytest.raises(DagError, match=r"pip install pygraphviz[^$]*dot is not here; pygraphviz is not"):
        snapshot_picture(rich).save(tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


@pytest.mark.parametrize("engine", ["dot", "pygraphviz"])
def test_graphviz_makes_png_and_pdf(rich, hostile, tmp_path, monkeypatch, engine):
    """Each engine writes both formats, of every run."""
    monkeypatch.setenv("DAGFLOW_LAYOUT", engine)
    try:
        layouts.render("digraph { a }", "svg", engine)
    except EngineFailed as why:
        pytest.skip(str(why))
    for number, run in enumerate((rich, hostile)):
        picture = snapshot_picture(run)
        assert picture.save(tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
        assert picture.save(tmp_path / f"{number}.pdf").read_bytes().startswith(b"%PDF")


def test_a_picture_is_a_graphviz_source(rich):
    """`digraph()` gives what the graphviz package works with."""
    picture = snapshot_picture(rich)
    assert picture.digraph().source.strip() == picture.source.strip()


# --- timeline ---------------------------------------------------------------------------------


def test_a_timeline_has_a_bar_for_each_attempt():
    """Nodes are lines in the order of their starts, attempts bars; what goes on reaches to now."""
    rows = [("b", 1, "running", 2.0, None), ("a", 1, "failed", 0.0, 1.0), ("a", 2, "completed", 3.0, 4.5)]
    picture = timeline_picture(rows, title="Run 1", now=10.0)
    root = parsed(picture)
    bars = [
        (g.get("data-node"), g.get("data-state")) for g in root.iter(f"{SVG}g") if g.get("class") == "bar"
    ]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert bars == [("a", "failed"), ("b", "running"), ("a", "completed")]
    assert {"Run 1", "a", "b", "1.5 s", "8.0 s", "3 attempts of 2 nodes  ·  10.0 s"} <= set(texts)
    assert picture.alt == "Run 1: 3 attempts of 2 nodes"


def test_a_timeline_of_anything_is_drawn():
    """No rows, attempts of no length, hostile ids and too many nodes: there is always a picture."""
    assert "Nothing has started yet" in timeline_picture([]).svg
    assert timeline_picture([("a", 1, "completed", 5.0, 5.0)]).svg
    parsed(timeline_picture([(text, 1, "failed", 0.0, 1.0) for text in HOSTILE], title=HOSTILE[0]))
    many = timeline_picture([(f"n{i}", 1, "completed", float(i), i + 0.5) for i in range(500)])
    assert "100 nodes not drawn" in many.svg


def test_a_timeline_is_no_graph(tmp_path):
    """It has no DOT text, and says so."""
    picture = timeline_picture([("a", 1, "completed", 0.0, 1.0)])
    for ask in (picture.digraph, lambda: picture.save(tmp_path / "t.dot")):
        with pytest.raises(ValidationError, match="no graph"):
            ask()


@pytest.mark.parametrize("engine", ["dot", "pygraphviz"])
def test_a_timeline_is_saved_in_every_format(tmp_path, monkeypatch, engine):
    """As SVG by itself, as PNG and PDF by Graphviz, which is given all places, of the size that it has."""
    monkeypatch.setenv("DAGFLOW_LAYOUT", engine)
    picture = timeline_picture([(text, 1, "failed", 0.0, 1.0) for text in HOSTILE], title=HOSTILE[0])
    assert picture.save(tmp_path / "t.svg").exists()
    try:
        picture.save(tmp_path / "t.png")
    except DagError as why:
        pytest.skip(str(why))
    data = (tmp_path / "t.png").read_bytes()
    wide, high = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    drawn = parsed(picture)
    assert wide / high == pytest.approx(float(drawn.get("width")) / float(drawn.get("height")), rel=0.02)
    assert picture.save(tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("span", [0, 0.004, 1, 59, 3600, 1e7])
def test_axes_have_few_marks(span):
    """Whatever the span, there are some marks and not too many, the first at zero."""
    marks = steps(span)
    assert marks[0] == 0 and len(marks) <= 9 and marks[-1] <= span * 1.0001
