// Finding a node in the graph: what fits stands out, Enter goes from one to the next, opening what hides it.

class Finder {
  constructor(graph) {
    this.graph = graph;
    this.found = [];
    this.at = -1;
    this.input = h("input", {
      type: "search", class: "df-find", placeholder: "Find a node", "aria-label": "Find a node",
      oninput: () => this.search(), onkeydown: (event) => this.key(event),
    });
    this.told = h("span", { class: "df-found", role: "status" });
    this.element = h("div", { class: "df-finder" }, this.input, this.told);
  }

  key(event) {
    if (event.key === "Escape") this.input.value = "";
    else if (event.key !== "Enter") return;
    keep(event);
    if (event.key === "Enter") this.go(event.shiftKey ? -1 : 1); else this.search();
  }

  search() {
    const wanted = this.input.value.trim().toLowerCase(), { view } = this.graph;
    this.at = -1;
    this.found = !wanted ? [] : [...view.defs.values()]
      .filter(({ id, action }) => id.toLowerCase().includes(wanted) || action.toLowerCase().includes(wanted))
      .map(({ id }) => id);
    this.mark();
  }

  mark() {
    const { graph } = this, looking = Boolean(this.input.value.trim());
    const there = new Set(this.found.map((id) => graph.within.get(id) ?? id));
    for (const [id, { g }] of graph.nodes) {
      g.classList.toggle("df-other", looking && !there.has(id) && !g.classList.contains("group"));
    }
    const count = this.found.length;
    setText(this.told, !looking ? "" : count === 0 ? "no node" : this.at < 0 ? `${count} found` : `${this.at + 1} of ${count}`);
  }

  go(step) {
    const { graph, found } = this, { length } = found;
    if (!length) return;
    this.at = this.at < 0 && step < 0 ? length - 1 : (this.at + step + length) % length;
    const id = found[this.at];
    this.mark();
    graph.view.select(id);
    graph.center(id);
    if (graph.within.has(id)) graph.reveal(id);
  }
}
