// The tabs beside the graph: table, timeline and logs.

const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200,
  14400, 28800, 86400];
const WAIT_SHOWN = 0.02; // seconds: shorter waits are no wider than a line

// A mark of the axis: with as many digits as tell it from its neighbours.
function markOf(at, step) {
  if (step < 0.1) return at < 1 ? `${Math.round(at * 1000)} ms` : `${at.toFixed(2)} s`;
  return at < 60 && step < 1 ? `${at.toFixed(1)} s` : took(at).replace(".0 s", " s");
}

// A list of rows of which one is in the tab order; arrows move, Enter and Space open a node's details.
function rowKeys(list, pick) {
  list.addEventListener("click", (event) => {
    const row = event.target.closest?.("[data-row]");
    if (row) pick(row.dataset.row);
  });
  list.addEventListener("keydown", (event) => {
    const row = event.target.closest?.("[data-row]");
    if (!row) return;
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (event.key === "Enter" || event.key === " ") { keep(event); pick(row.dataset.row); return; }
    if (!step) return;
    keep(event);
    let next = row[step];
    while (next?.hidden) next = next[step];
    if (!next) return;
    row.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

class Table {
  constructor(view) {
    this.view = view;
    this.rows = new Map();
    this.body = h("tbody");
    this.more = h("p", { class: "df-empty" });
    this.query = h("input", {
      type: "search", placeholder: "Filter nodes", "aria-label": "Filter nodes", oninput: () => this.filter(),
    });
    this.only = h("select", { "aria-label": "Only one state", onchange: () => this.filter() },
      h("option", { value: "", text: "every state" }), ...STATES.map((text) => h("option", { value: text, text })));
    // what the rows are sorted by: a text, or a number of which there may be none
    this.columns = [
      ["Node", (id) => id], ["Action", (id) => view.defs.get(id)?.action ?? ""],
      ["State", (id) => STATES.indexOf(view.state(id).state)], ["Attempts", (id) => view.state(id).attempt ?? 0],
      ["Began", (id) => view.state(id).started ?? Infinity], ["Took", (id) => this.seconds(id)],
      ["What happened", (id) => this.words(view.state(id))],
    ];
    this.heads = this.columns.map(([text]) => h("th", { scope: "col" },
      h("button", { type: "button", text, onclick: () => this.sort(text) })));
    this.panel = h("section", {}, h("div", { class: "df-bar" }, this.query, this.only),
      h("div", { class: "df-scroll" },
        h("table", { "aria-label": "Nodes" }, h("thead", {}, h("tr", {}, ...this.heads)), this.body), this.more));
    rowKeys(this.body, (id) => view.select(id));
  }

  seconds(id) {
    const { started, finished } = this.view.state(id);
    return started && finished ? finished - started : -1;
  }

  words(seen) {
    const going = seen.progress !== undefined && !ENDED.has(seen.state);
    const share = going ? `${Math.round(seen.progress * 100)} % ` : "";
    return seen.error ?? seen.reason ?? share + (seen.message ?? "");
  }

  // By a column, then the other way round, then as the nodes were added.
  sort(name) {
    const again = this.by === name;
    this.down = again && !this.down;
    this.by = again && !this.down ? null : name;
    this.heads.forEach((head, i) => {
      const on = this.columns[i][0] === this.by;
      if (on) head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    this.order();
  }

  order() {
    const key = this.columns.find(([name]) => name === this.by)?.[1];
    const ids = [...this.view.defs.keys()].filter((id) => this.rows.has(id));
    if (key) {
      const keyed = ids.map((id) => [key(id), id]);
      keyed.sort(([a], [b]) => (this.down ? -1 : 1) * (typeof a === "string" ? a.localeCompare(b) : a - b));
      ids.splice(0, ids.length, ...keyed.map(([, id]) => id));
    }
    this.body.append(...ids.map((id) => this.rows.get(id).row));
  }

  shown() { if (this.stale !== false) this.refresh(new Set(this.view.defs.keys())); }

  refresh(ids) {
    this.stale = false;
    const { view } = this, before = this.rows.size;
    for (const [id, { row }] of this.rows) if (!view.defs.has(id)) { row.remove(); this.rows.delete(id); }
    if (this.rows.size < view.defs.size) {
      for (const id of view.defs.keys()) {
        if (this.rows.size >= ROWS_SHOWN) break;
        if (!this.rows.has(id)) { this.add(id); this.fill(id); }
      }
    }
    for (const id of ids) if (this.rows.has(id)) this.fill(id);
    if (this.by && (before !== this.rows.size || view.past.shown)) this.order();
    this.filter();
  }

  add(id) {
    const cells = ["", "", "df-count", "", "", "", "df-what"].map((name) => h("td", { class: name || null }));
    const row = h("tr", { "data-row": id, tabindex: this.rows.size ? -1 : 0 }, ...cells);
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
    setText(cells[4], seen.started ? wallClock(seen.started) : "");
    setText(cells[5], span(seen));
    setText(cells[6], this.words(seen));
    row.classList.toggle("df-selected", id === this.view.selected);
  }

  filter() {
    const wanted = this.query.value.trim().toLowerCase(), only = this.only.value;
    let found = 0;
    for (const [id, { row, cells }] of this.rows) {
      const { state } = cells[2].dataset;
      const text = `${id} ${cells[1].textContent} ${state} ${cells[6].textContent}`.toLowerCase();
      row.hidden = state === "absent" || (only && state !== only) || !text.includes(wanted);
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
    this.lanes = new Map();
    this.axis = h("div", { class: "df-axis" });
    this.list = h("div", { class: "df-lanes", role: "list", "aria-label": "Attempts over time" });
    this.empty = h("p", { class: "df-empty", text: "Nothing has started yet." });
    const rows = [["node", "a row a node"], ["slot", "a row a slot"]];
    this.by = h("select", { "aria-label": "Rows of the timeline", onchange: () => this.redraw() },
      ...rows.map(([value, text]) => h("option", { value, text })));
    const mark = (kind, text) => h("span", { class: "df-count" }, h("i", { class: `df-key ${kind}` }), text);
    this.panel = h("section", {},
      h("div", { class: "df-bar" }, this.by, mark("df-waits", "waited for a slot"), mark("df-span", "ran"),
        mark("df-failed", "attempt that failed")),
      h("div", { class: "df-scroll" }, this.axis, this.list, this.empty));
    rowKeys(this.list, (id) => { if (view.defs.has(id)) view.select(id); });
  }

  shown() { if (this.stale !== false) this.redraw(); }

  redraw() {
    this.stale = false;
    this.lanes.clear();
    this.list.replaceChildren();
    this.refresh(new Set(this.view.defs.keys()));
  }

  refresh(ids) {
    this.stale = false;
    if (this.by.value === "slot") this.slots(); else this.nodes(ids);
    this.tick();
  }

  nodes(ids) {
    const { view } = this;
    for (const [id, { lane }] of this.lanes) {
      if (!view.defs.has(id) || !triesOf(view.state(id)).length) { lane.remove(); this.lanes.delete(id); }
    }
    for (const id of ids) {
      const tries = triesOf(view.state(id));
      if (!tries.length || !view.defs.has(id)) continue;
      if (!this.lanes.has(id)) {
        if (this.lanes.size >= ROWS_SHOWN) continue;
        this.add(id, id, tries[0][0]);
      }
      this.fill(this.lanes.get(id), this.bars(id));
    }
  }

  add(key, label, start) {
    const track = h("div", { class: "df-track" });
    const lane = h("div", { class: "df-lane", role: "listitem", "data-row": key, tabindex: this.lanes.size ? -1 : 0 },
      h("span", { text: label, title: label }), track);
    this.lanes.set(key, { lane, track, start });
    // Lanes are in the order of their starts; nearly always the new one is the last.
    let after = this.list.lastChild;
    while (after && this.lanes.get(after.dataset.row).start > start) after = after.previousSibling;
    if (after) after.after(lane); else this.list.prepend(lane);
  }

  // What a node did, as `[from, to, state, attempt]`: `to` is null for what goes on, `state` "wait" for a wait.
  bars(id) {
    const seen = this.view.state(id), tries = triesOf(seen), { ready } = seen;
    const bars = tries.map(([start, end, state], i) => [start, end, state, i + 1]);
    if (ready && tries.length && tries[0][0] - ready > WAIT_SHOWN) bars.unshift([ready, tries[0][0], "wait", 1]);
    for (let i = 1; i < tries.length; i += 1) {
      const [, end] = tries[i - 1], [start] = tries[i];
      if (start - end > WAIT_SHOWN) bars.push([end, start, "delay", i + 1]);
    }
    return bars;
  }

  fill(row, bars, labelled = false, of = row.lane.dataset.row) {
    const zero = this.zero();
    const last = bars.findLast(([, , state]) => state !== "wait" && state !== "delay");
    row.track.replaceChildren(...bars.map((bar) => {
      const [start, end, state, attempt, id = of] = bar, waits = state === "wait" || state === "delay";
      const lasted = end === null ? "" : `, ${took(end - start)}`;
      const said = { wait: `${id} waited for a slot`, delay: `${id} waited for attempt ${attempt}` }[state]
        ?? `${id}, attempt ${attempt}: ${state}`;
      return h("i", {
        class: waits ? "df-waits" : "df-span", "data-state": waits ? null : state, "data-open": end === null,
        "data-row": labelled ? id : null, style: `--a: ${start - zero}; --b: ${(end ?? start) - start}`,
        "data-took": !labelled && bar === last && end !== null ? took(end - start) : null,
        title: said + lasted, text: labelled ? id : null,
      });
    }));
    row.lane.setAttribute("aria-label", `${of}: ${bars.filter(([, , state]) => state !== "wait" && state !== "delay")
      .map(([start, end, state]) => `${state}${end === null ? "" : ` ${took(end - start)}`}`).join(", ")}`);
    row.open = [...row.track.children].filter((bar) => "open" in bar.dataset)
      .map((bar) => [bar, bars[[...row.track.children].indexOf(bar)][0]]);
  }

  // Which slot of its executor an attempt took: the lowest that was free when it began. That is what a slot
  // is, a place among those that may run at once; the run itself does not number them.
  slots() {
    const { view } = this, bars = [];
    for (const [id, { parent }] of view.defs) {
      if (view.children.has(id)) continue;
      for (const bar of this.bars(id)) {
        if (bar[2] !== "wait" && bar[2] !== "delay") bars.push([...bar, id, view.defs.get(id).executor ?? "async"]);
      }
    }
    bars.sort(([a], [b]) => a - b);
    const free = new Map(), rows = new Map();
    for (const bar of bars) {
      const [start, end, , , , executor] = bar;
      if (!free.has(executor)) free.set(executor, []);
      const ends = free.get(executor);
      let slot = ends.findIndex((at) => at <= start + 1e-4);
      if (slot < 0) slot = ends.length;
      ends[slot] = end ?? Infinity;
      push(rows, `${executor} ${slot + 1}`, bar);
    }
    for (const [key, { lane }] of this.lanes) if (!rows.has(key)) { lane.remove(); this.lanes.delete(key); }
    for (const [key, mine] of rows) {
      if (!this.lanes.has(key)) this.add(key, key, mine[0][0]);
      this.fill(this.lanes.get(key), mine, true);
    }
    const sorted = [...rows.keys()].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    this.list.append(...sorted.map((key) => this.lanes.get(key).lane));
  }

  zero() {
    return this.view.run.started ?? Math.min(...[...this.lanes.values()].map((lane) => lane.start));
  }

  // Bars are placed by the style sheet from their start and length in seconds; only the scale changes here.
  tick() {
    this.empty.hidden = this.lanes.size > 0;
    if (!this.lanes.size) { this.axis.replaceChildren(); return; }
    const { end } = this.view;
    const whole = Math.max(end - this.zero(), 0.05);
    this.list.style.setProperty("--whole", whole);
    for (const { open } of this.lanes.values()) {
      for (const [bar, start] of open ?? []) bar.style.setProperty("--b", Math.max(0, end - start));
    }
    const step = STEPS.find((size) => whole / size <= 8) ?? whole / 8;
    const marks = Array.from({ length: Math.floor(whole / step) + 1 }, (_, i) => i * step);
    this.axis.replaceChildren(h("span"), h("div", { class: "df-track" }, ...marks.map((at) =>
      h("b", { style: `left: ${(100 * at / whole).toFixed(2)}%`, text: at ? markOf(at, step) : "0" }))));
  }
}

class Logs {
  constructor(view) {
    this.view = view;
    this.only = h("input", { type: "checkbox", id: `${view.key}-only`, onchange: () => this.filter() });
    this.query = h("input", {
      type: "search", placeholder: "Filter lines", "aria-label": "Filter lines", oninput: () => this.filter(),
    });
    this.list = h("div", { class: "df-log", role: "log", "aria-label": "Log lines", tabindex: 0 });
    this.empty = h("p", { class: "df-empty", text: "Nothing has been printed or logged." });
    const label = h("label", { for: this.only.id, text: "Only the selected node" });
    this.panel = h("section", {}, h("div", { class: "df-bar" }, this.query, this.only, label), this.empty, this.list);
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
      list.append(h("div", { class: logClass(stream), "data-row": id, hidden: this.hides(id, text) },
        h("b", { text: id, title: id }), h("span", { text })));
    }
    while (list.childElementCount > LINES_KEPT) list.firstChild.remove();
    this.empty.hidden = list.childElementCount > 0;
    if (follow) list.scrollTop = list.scrollHeight;
  }

  hides(id, text) {
    if (this.only.checked && this.view.selected !== null && id !== this.view.selected) return true;
    return !`${id} ${text}`.toLowerCase().includes(this.query.value.trim().toLowerCase());
  }

  filter() {
    for (const line of this.list.children) line.hidden = this.hides(line.dataset.row, line.lastChild.textContent);
  }

  of(id) { return this.view.model.get("logs").filter(([node]) => node === id).slice(-20); }
  shown() { this.list.scrollTop = this.list.scrollHeight; }
}
