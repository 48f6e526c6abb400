// The tabs beside the graph: table, timeline and logs.

const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200,
  14400, 28800, 86400];

class Table {
  constructor(view) {
    this.view = view;
    this.rows = new Map();
    this.body = h("tbody");
    this.more = h("p", { class: "df-empty" });
    this.query = h("input", {
      type: "search", placeholder: "Filter nodes", "aria-label": "Filter nodes", oninput: () => this.filter(),
    });
    const names = ["Node", "Action", "State", "Attempts", "Took", "What happened"];
    const head = h("thead", {}, h("tr", {}, ...names.map((text) => h("th", { text, scope: "col" }))));
    this.panel = h("section", {}, h("div", { class: "df-bar" }, this.query),
      h("div", { class: "df-scroll" }, h("table", {}, head, this.body), this.more));
    const pick = (event) => {
      const row = event.target.closest?.("tr[data-row]");
      if (!row || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
      keep(event);
      view.select(row.dataset.row);
    };
    this.body.addEventListener("click", pick);
    this.body.addEventListener("keydown", pick);
  }

  shown() { if (this.stale !== false) this.refresh(new Set(this.view.defs.keys())); }

  refresh(ids) {
    this.stale = false;
    const { view } = this;
    for (const [id, { row }] of this.rows) if (!view.defs.has(id)) { row.remove(); this.rows.delete(id); }
    if (this.rows.size < view.defs.size) {
      for (const id of view.defs.keys()) {
        if (this.rows.size >= ROWS_SHOWN) break;
        if (!this.rows.has(id)) { this.add(id); this.fill(id); }
      }
      this.filter();
    }
    for (const id of ids) if (this.rows.has(id)) this.fill(id);
  }

  add(id) {
    const cells = ["", "", "df-count", "", "", "df-what"].map((name) => h("td", { class: name || null }));
    const row = h("tr", { "data-row": id, tabindex: 0 }, ...cells);
    cells[2].append(icon(""), h("span"));
    this.rows.set(id, { row, cells });
    this.body.append(row);
  }

  fill(id) {
    const { row, cells } = this.rows.get(id), seen = this.view.state(id), def = this.view.defs.get(id) ?? {};
    if (cells[2].dataset.state !== seen.state) {
      cells[2].dataset.state = seen.state;
      cells[2].querySelector("path").setAttribute("d", `M0 0${this.view.iconOf(seen.state) ?? ""}`);
      setText(cells[2].lastChild, seen.state);
    }
    setText(cells[0], id);
    setText(cells[1], def.action ?? "");
    setText(cells[3], seen.attempt ? String(seen.attempt) : "");
    setText(cells[4], span(seen));
    const going = seen.progress !== undefined && !ENDED.has(seen.state);
    const share = going ? `${Math.round(seen.progress * 100)} % ` : "";
    setText(cells[5], seen.error ?? seen.reason ?? share + (seen.message ?? ""));
    row.classList.toggle("df-selected", id === this.view.selected);
  }

  filter() {
    const wanted = this.query.value.trim().toLowerCase();
    let found = 0;
    for (const [id, { row, cells }] of this.rows) {
      const text = `${id} ${cells[1].textContent} ${cells[2].textContent}`.toLowerCase();
      row.hidden = !text.includes(wanted);
      found += row.hidden ? 0 : 1;
    }
    const left = this.view.defs.size - this.rows.size;
    const none = found ? "" : "No node fits.";
    setText(this.more, left > 0 ? `${left} more nodes are not listed here: see run.nodes()` : none);
  }

  select() {
    for (const [id, { row }] of this.rows) row.classList.toggle("df-selected", id === this.view.selected);
  }
}

class Timeline {
  constructor(view) {
    this.view = view;
    this.rows = new Map();
    this.axis = h("div", { class: "df-axis" });
    this.list = h("div", { class: "df-lanes" });
    this.empty = h("p", { class: "df-empty", text: "Nothing has started yet." });
    this.panel = h("section", {}, h("div", { class: "df-scroll" }, this.axis, this.list, this.empty));
    this.list.addEventListener("click", (event) => {
      const lane = event.target.closest?.(".df-lane");
      if (lane) view.select(lane.dataset.row);
    });
  }

  shown() { if (this.stale !== false) this.refresh(new Set(this.view.defs.keys())); }

  refresh(ids) {
    this.stale = false;
    for (const [id, row] of this.rows) if (!this.view.defs.has(id)) { row.lane.remove(); this.rows.delete(id); }
    for (const id of ids) {
      const tries = this.view.state(id).tries;
      if (!tries || !this.view.defs.has(id)) continue;
      if (!this.rows.has(id)) {
        if (this.rows.size >= ROWS_SHOWN) continue;
        const track = h("div", { class: "df-track" });
        const lane = h("div", { class: "df-lane", "data-row": id }, h("span", { text: id, title: id }), track);
        this.rows.set(id, { lane, track, start: tries[0][0] });
        // Lanes are in the order of their starts; nearly always the new one is the last.
        let after = this.list.lastChild;
        while (after && this.rows.get(after.dataset.row).start > tries[0][0]) after = after.previousSibling;
        if (after) after.after(lane); else this.list.prepend(lane);
      }
      this.bars(id, tries);
    }
    this.tick();
  }

  bars(id, tries) {
    const row = this.rows.get(id);
    const zero = this.view.run.started ?? tries[0][0];
    row.track.replaceChildren(...tries.map(([start, end, state], i) => h("i", {
      class: "df-span", "data-state": state, "data-open": end === null,
      style: `--a: ${start - zero}; --b: ${(end ?? start) - start}`,
      "data-took": i === tries.length - 1 && end !== null ? took(end - start) : null,
      title: `${id}, attempt ${i + 1}: ${state}${end === null ? "" : `, ${took(end - start)}`}`,
    })));
    row.open = tries.at(-1)[1] === null ? tries.at(-1)[0] : null;
  }

  // Bars are placed by the style sheet from their start and length in seconds; only the scale changes here.
  tick() {
    const { run } = this.view;
    this.empty.hidden = this.rows.size > 0;
    if (!this.rows.size) return;
    const start = run.started ?? Math.min(...[...this.rows.values()].map((row) => row.start));
    const { end } = this.view;
    const whole = Math.max(end - start, 0.05);
    this.list.style.setProperty("--whole", whole);
    for (const { track, open } of this.rows.values()) {
      if (open !== null) track.lastChild.style.setProperty("--b", Math.max(0, end - open));
    }
    const step = STEPS.find((size) => whole / size <= 8) ?? whole / 8;
    const marks = Array.from({ length: Math.floor(whole / step) + 1 }, (_, i) => i * step);
    this.axis.replaceChildren(h("span"), h("div", { class: "df-track" }, ...marks.map((at) =>
      h("b", { style: `left: ${(100 * at / whole).toFixed(2)}%`, text: at ? took(at) : "0" }))));
  }
}

class Logs {
  constructor(view) {
    this.view = view;
    this.only = h("input", { type: "checkbox", id: `${view.key}-only`, onchange: () => this.filter() });
    this.list = h("div", { class: "df-log", role: "log", "aria-label": "Log lines", tabindex: 0 });
    this.empty = h("p", { class: "df-empty", text: "Nothing has been printed or logged." });
    const label = h("label", { for: this.only.id, text: "Only the selected node" });
    this.panel = h("section", {}, h("div", { class: "df-bar" }, this.only, label), this.empty, this.list);
  }

  append(lines) {
    const { list } = this, follow = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
    for (const line of lines.slice(-LINES_KEPT)) {
      const [id, text, stream] = line;
      if (joins(this.last, line)) {
        this.last[1] += text;
        list.lastChild.lastChild.textContent = this.last[1];
        continue;
      }
      this.last = [...line];
      list.append(h("div", { class: logClass(stream), "data-row": id, hidden: this.hides(id) },
        h("b", { text: id, title: id }), h("span", { text })));
    }
    while (list.childElementCount > LINES_KEPT) list.firstChild.remove();
    this.empty.hidden = list.childElementCount > 0;
    if (follow) list.scrollTop = list.scrollHeight;
  }

  hides(id) { return this.only.checked && this.view.selected !== null && id !== this.view.selected; }
  filter() { for (const line of this.list.children) line.hidden = this.hides(line.dataset.row); }
  of(id) { return this.view.model.get("logs").filter(([node]) => node === id).slice(-20); }
  shown() { this.list.scrollTop = this.list.scrollHeight; }
}
