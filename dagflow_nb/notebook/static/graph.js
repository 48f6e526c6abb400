// The graph: the kernel's SVG, its nodes' states, what is folded, zoom, pan, search and keys.

const LEGIBLE = 0.8; // the least factor that is chosen unasked

class Graph {
  constructor(view) {
    this.view = view;
    this.nodes = new Map();
    this.within = new Map(); // see gather
    this.grown = new Set();
    this.counts = new Map();
    this.ruler = document.createElement("canvas").getContext("2d"); // measures texts without a layout
    this.zoom = null; // null: as wide as fits, but legible; "fit": all of it; else a factor
    const tool = (text, name, onclick) =>
      h("button", { type: "button", class: "df-tool", "aria-label": name, title: name, text, onclick });
    this.box = h("div", { class: "df-graph" }, h("p", { class: "df-empty", text: "Laying the graph out …" }));
    this.by = h("select", { class: "df-by", "aria-label": "Collapse", title: "What is collapsed",
      onchange: () => this.ask(this.by, { by: this.by.value }) },
    ...Object.entries(FOLDS).map(([value, text]) => h("option", { value, text })));
    this.turner = tool("Collapse", "Collapse or expand what is selected", () => this.turnSelected());
    this.finder = new Finder(this);
    this.panel = h("section", {}, this.box, h("div", { class: "df-tools" },
      this.legend(), this.finder.element, this.by, this.turner,
      tool("−", "Zoom out", () => this.scale(1 / 1.25)), tool("+", "Zoom in", () => this.scale(1.25)),
      tool("Fit", "Fit the graph", () => { this.zoom = "fit"; this.size(); })));
    this.box.addEventListener("click", (event) => {
      const g = event.target.closest?.(".node");
      if (!g) return;
      const id = g.dataset.node;
      if (event.target.closest(".sign") || !this.view.defs.has(id)) this.turn(id);
      else this.view.select(id);
    });
    this.box.addEventListener("dblclick", (event) => {
      const g = event.target.closest?.(".node[data-fold]");
      if (g && this.view.defs.has(g.dataset.node) && !event.target.closest(".sign")) this.turn(g.dataset.node);
    });
    this.box.addEventListener("pointerover", (event) => {
      const node = event.target.closest?.(".node");
      if (node) this.hint(node);
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the notebook
      keep(event);
      const at = this.box.getBoundingClientRect();
      this.scale(event.deltaY < 0 ? 1.1 : 1 / 1.1, event.clientX - at.left, event.clientY - at.top);
    }, { passive: false });
    this.box.addEventListener("pointerdown", (event) => { this.press(); this.pan(event); });
    this.watcher = new ResizeObserver(() => { if (typeof this.zoom !== "number") this.size(); });
    this.watcher.observe(this.box);
  }

  close() { this.watcher.disconnect(); }

  legend() {
    const line = (kind, text) => h("span", { class: "df-count" }, h("i", { class: `df-line ${kind}` }), text);
    return h("details", { class: "df-legend" }, h("summary", { text: "Legend" }), h("div", {},
      ...STATES.map((state) => stateMark(this.view, state, state)),
      line("needs", "needs"), line("grown", "added while running"), line("rescue", "failure handling")));
  }

  // A graph that is put in another's place between press and release would swallow the click.
  press() {
    this.pressed = true;
    const over = new AbortController();
    const release = () => {
      over.abort();
      setTimeout(() => { // after the click
        this.pressed = false;
        if (this.late) this.draw();
      });
    };
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, release, { capture: true, signal: over.signal });
  }

  draw() {
    this.late = this.pressed;
    if (this.late) return;
    const { svg: text, hidden, by } = this.view.model.get("graph");
    if (!text) return;
    this.by.value = by;
    const svg = document.importNode(new DOMParser().parseFromString(text, "image/svg+xml").documentElement, true);
    // The kernel sends nothing of the kind; a notebook file that somebody made might.
    svg.querySelectorAll("script, style, foreignObject, a, image, use").forEach((bad) => bad.remove());
    for (const node of svg.querySelectorAll("*")) {
      for (const { name } of [...node.attributes]) if (/^on|href$/i.test(name)) node.removeAttribute(name);
    }
    const before = this.nodes;
    this.nodes = new Map();
    for (const g of svg.querySelectorAll("g.node")) {
      const [x, y, width, height] = g.dataset.box.split(" ").map(Number);
      const find = (name) => g.querySelector(`:scope > .${name}`);
      this.nodes.set(g.dataset.node, {
        g, x, y, width, height, icon: find("icon"), time: find("time"), state: find("state"), bar: find("bar"),
        sub: find("sub"), counts: find("counts"), edges: [],
      });
      if (g.dataset.fold) g.setAttribute("aria-expanded", g.dataset.fold === "open");
      g.setAttribute("role", "button");
      g.setAttribute("tabindex", "-1");
    }
    for (const path of svg.querySelectorAll(".edge, .tip")) {
      for (const end of ["from", "to"]) this.nodes.get(path.dataset[end])?.edges.push(path);
    }
    this.gather(hidden);
    this.natural = [svg.getAttribute("width"), svg.getAttribute("height")].map(Number);
    this.svg = svg;
    this.ruler.font = `11px ${svg.getAttribute("font-family")}`;
    this.view.root.classList.toggle("df-calm", this.nodes.size > CALM_ABOVE);
    const { scrollLeft, scrollTop } = this.box;
    this.box.replaceChildren(svg);
    this.size();
    this.box.scrollTo(scrollLeft, scrollTop);
    this.settle(before);
    this.nodes.values().next().value?.g.setAttribute("tabindex", "0");
    this.select();
    this.finder.mark();
    this.glide(before);
  }

  // Old nodes glide to their new places, new ones appear: the eye can follow what the run adds.
  glide(before) {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!before.size || still || this.nodes.size > GLIDE_BELOW || this.panel.hidden) return;
    const timing = { duration: 300, easing: "ease-out" };
    for (const [id, { g, x, y }] of this.nodes) {
      const old = before.get(id);
      if (!old) g.animate([{ opacity: 0 }, { opacity: 1 }], timing);
      else if (old.x !== x || old.y !== y) {
        g.animate([{ transform: `translate(${old.x - x}px, ${old.y - y}px)` }, { transform: "none" }], timing);
      }
    }
    for (const edge of this.svg.querySelectorAll(".edge")) edge.animate([{ opacity: 0 }, { opacity: 1 }], timing);
  }

  factor() {
    const [wide, high] = this.natural, room = this.box.clientWidth;
    if (typeof this.zoom === "number" || !room) return typeof this.zoom === "number" ? this.zoom : 1;
    const across = Math.min(1, room / wide);
    return this.zoom === "fit" ? Math.min(across, this.box.clientHeight / high) : Math.max(LEGIBLE, across);
  }

  size() {
    if (!this.svg) return;
    const scale = this.factor();
    this.svg.setAttribute("width", Math.floor(this.natural[0] * scale));
    this.svg.setAttribute("height", Math.ceil(this.natural[1] * scale));
  }

  scale(by, atX = this.box.clientWidth / 2, atY = this.box.clientHeight / 2) {
    if (!this.svg) return;
    const { box } = this; // what is at this place stays there
    const x = (box.scrollLeft + atX) / box.scrollWidth, y = (box.scrollTop + atY) / box.scrollHeight;
    this.zoom = Math.min(3, Math.max(0.05, this.factor() * by));
    this.size();
    box.scrollTo(x * box.scrollWidth - atX, y * box.scrollHeight - atY);
  }

  // Where an item is in the box, in pixels from the upper left corner of all that can be scrolled to.
  place({ x, y, width, height }) {
    const scale = this.factor(), left = Math.max(0, (this.box.clientWidth - this.natural[0] * scale) / 2);
    return { x: left + (x + EDGE) * scale, y: (y + EDGE) * scale, width: width * scale, height: height * scale };
  }

  center(id) {
    const node = this.nodes.get(this.within.get(id) ?? id);
    if (!node) return;
    if (this.factor() < LEGIBLE) { this.zoom = 1; this.size(); }
    const { x, y, width, height } = this.place(node), { box } = this;
    box.scrollTo(x + width / 2 - box.clientWidth / 2, y + height / 2 - box.clientHeight / 2);
    node.g.classList.remove("df-flash");
    node.g.getBoundingClientRect(); // lets the animation begin anew
    node.g.classList.add("df-flash");
  }

  // After a new layout: what was asked for is in the middle; what was opened or closed stays where it was.
  settle(before) {
    const { goal, turned, box } = this;
    if (goal !== undefined && this.nodes.has(goal)) { this.goal = undefined; this.center(goal); }
    const old = before.get(turned?.id), now = this.nodes.get(turned?.id);
    if (!old || !now || old.g.dataset.fold === now.g.dataset.fold) return;
    this.turned = undefined;
    const { x, y } = this.place(now);
    box.scrollTo(x - turned.x, y - turned.y);
  }

  // --- what is folded ---

  ask(button, message) { this.view.ask(button, { kind: "fold", ...message }); }

  turn(id) {
    const node = this.nodes.get(id), { x, y } = this.place(node);
    this.turned = { id, x: x - this.box.scrollLeft, y: y - this.box.scrollTop };
    this.ask(node.g, { node: id, open: node.g.dataset.fold === "closed" });
  }

  reveal(id) { this.goal = id; this.ask(this.turner, { reveal: id }); }

  turnSelected() {
    const id = this.view.selected;
    if (this.nodes.has(id)) this.turn(id); else this.reveal(id);
  }

  // What can be done with the selected node: opened, closed, its branch closed, shown if a box hides it.
  offerTurn() {
    const id = this.view.selected, node = this.nodes.get(id), fold = node?.g.dataset.fold;
    const more = this.view.feeds.has(id) || this.grown.has(id);
    setText(this.turner, fold === "closed" ? "Expand" : fold || !this.within.has(id) ? "Collapse" : "Show");
    this.turner.disabled = id === null || !(fold || (node && more) || this.within.has(id));
    this.turner.title = fold || !node ? "Collapse or expand what is selected" : "Collapse all that comes after the node";
  }

  gather(hidden) { // which box stands for which hidden nodes; how many of them are in which state
    this.within = new Map();
    this.counts = new Map();
    this.counted = new Map();
    for (const [key, ids] of Object.entries(hidden)) {
      for (const id of ids) this.within.set(id, key);
      this.counts.set(key, { "": ids.length });
    }
    this.grown = new Set([...this.view.defs.values()].map((def) => def.added_by));
  }

  recount(id) {
    const key = this.within.get(id);
    if (key === undefined) return undefined;
    const counts = this.counts.get(key), { state } = this.view.state(id), old = this.counted.get(id) ?? "";
    if (state === old) return undefined;
    this.counted.set(id, state);
    counts[old] -= 1;
    counts[state] = (counts[state] ?? 0) + 1;
    return key;
  }

  // Counts by state, in numbers and as a bar: what paint.py draws into saved pictures.
  paintCounts(key) {
    const node = this.nodes.get(key), counts = this.counts.get(key);
    if (!node?.counts) return;
    const total = this.view.model.get("graph").hidden[key].length, parts = [], inner = node.width - 5;
    const ended = [...ENDED].reduce((sum, state) => sum + (counts[state] ?? 0), 0);
    setText(node.time, `${ended}/${total}`);
    let left = node.x + 12;
    for (const state of COUNTED) {
      if (!counts[state]) continue;
      const text = amount(counts[state]), wide = 24 + 6.6 * text.length;
      if (left + wide > node.x + inner - 6) break;
      const mark = svgElement("path", { class: "icon", fill: "none", "stroke-width": 1.7,
        d: `M${left} ${node.y + 44}${this.view.iconOf(state)}` });
      const words = svgElement("text", { x: left + 15, y: node.y + 54, "font-size": 11, stroke: "none" });
      words.textContent = text;
      parts.push(svgElement("g", { class: "count", "data-state": state }, mark, words));
      left += wide;
    }
    left = node.x + 3;
    for (const state of [...COUNTED].reverse()) {
      if (!counts[state] || state === "pending") continue;
      const width = ((inner - 6) * counts[state]) / total;
      parts.push(svgElement("rect", { class: "part", "data-state": state,
        x: left, y: node.y + node.height - 10, width, height: 2.5, stroke: "none" }));
      left += width;
    }
    node.counts.replaceChildren(...parts);
  }

  told(key) { // a bunch's counts in words
    const counts = this.counts.get(key) ?? {};
    return COUNTED.filter((state) => counts[state]).map((state) => `${counts[state]} ${state}`).join(", ");
  }

  stateOf(id) {
    if (this.view.defs.has(id)) return this.view.state(id).state;
    const counts = this.counts.get(id);
    if (!counts) return "";
    return LOUD.find((state) => counts[state])
      ?? COUNTED.reduce((most, state) => (counts[state] ?? 0) > (counts[most] ?? 0) ? state : most, "absent");
  }

  pan(down) {
    if (down.button !== 0 || down.target.closest?.(".node")) return;
    const { box } = this, { scrollLeft, scrollTop } = box;
    const move = ({ clientX: x, clientY: y }) =>
      box.scrollTo(scrollLeft + down.clientX - x, scrollTop + down.clientY - y);
    const stop = () => { box.removeEventListener("pointermove", move); box.classList.remove("df-panning"); };
    box.setPointerCapture(down.pointerId);
    box.classList.add("df-panning");
    box.addEventListener("pointermove", move);
    box.addEventListener("pointerup", stop, { once: true });
    box.addEventListener("pointercancel", stop, { once: true });
  }

  // One node is in the tab order; arrows move to the nearest one in their direction.
  key(event) {
    const g = event.target.closest?.(".node");
    if (!g) return;
    const id = g.dataset.node;
    if (event.key === "Enter" || event.key === " ") {
      keep(event);
      if (this.view.defs.has(id)) this.view.select(id); else this.turn(id);
      return;
    }
    if (event.key === "Escape") { keep(event); this.view.select(null); return; }
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    keep(event);
    const from = this.nodes.get(id);
    let best = null, least = Infinity;
    for (const node of this.nodes.values()) {
      const dx = node.x - from.x, dy = node.y - from.y;
      const ahead = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (ahead > 1 && ahead + 2 * aside < least) { best = node; least = ahead + 2 * aside; }
    }
    if (!best) return;
    g.setAttribute("tabindex", "-1");
    best.g.setAttribute("tabindex", "0");
    best.g.focus();
  }

  refresh(ids) {
    const boxes = new Set();
    for (const id of ids) {
      const key = this.recount(id);
      if (key !== undefined) boxes.add(key);
      else if (this.nodes.has(id)) this.paint(id);
    }
    for (const key of boxes) {
      this.paintCounts(key);
      if (this.nodes.has(key)) this.paint(key);
    }
  }

  paint(id) {
    const { view } = this, node = this.nodes.get(id), seen = view.state(id), { g } = node;
    const state = this.stateOf(id), def = view.defs.get(id);
    if (g.dataset.state !== state) {
      g.dataset.state = state;
      node.icon?.setAttribute("d", `M${node.icon.dataset.at}${view.iconOf(state) ?? ""}`);
      if (node.counts) setText(node.state, state);
    }
    if (node.painted !== state) {
      node.painted = state;
      for (const path of node.edges) this.dim(path);
    }
    const name = def ? [id, def.action === id ? "" : def.action, state] : [this.title(g), this.told(id)];
    if (def?.added_by) name.push(`added by ${def.added_by}`);
    const label = name.filter(Boolean).join(", ");
    if (g.getAttribute("aria-label") !== label) g.setAttribute("aria-label", label);
    if (node.counts || !def) return;
    this.time(node, seen);
    const share = ENDED.has(state) ? 0 : seen.progress ?? 0;
    if (share || node.bar) this.bar(node, Math.min(1, Math.max(0, share)));
  }

  title(g) { return g.querySelector(":scope > .title")?.textContent ?? ""; }

  dim(path) { // nothing comes along it any more: its path has failed, or was left out
    const { from, to } = path.dataset, rescue = path.classList.contains("rescue");
    const all = (id, fits) => this.view.defs.has(id) ? fits(this.stateOf(id))
      : Object.entries(this.counts.get(id) ?? { pending: 1 }).every(([state, count]) => !count || fits(state));
    path.classList.toggle("df-dim", all(to, (state) => LOST.has(state))
      || all(from, (state) => LOST.has(state) || (state === "failed" && !rescue)));
  }

  bar(node, share) { // made when first needed: most nodes tell no progress
    if (!node.bar) {
      const place = { class: "bar", x: node.x + 3, y: node.y + node.height - 4, height: 2.5, stroke: "none" };
      node.g.append(node.bar = svgElement("rect", place));
    }
    const width = ((node.width - 6) * share).toFixed(1);
    if (node.bar.getAttribute("width") !== width) node.bar.setAttribute("width", width);
  }

  hint(g) { // a tooltip, made when the pointer comes
    const id = g.dataset.node, seen = this.view.state(id), def = this.view.defs.get(id);
    const words = def ? [id, def.action, seen.state, seen.error ?? seen.reason, seen.message] : [this.title(g)];
    if (def?.added_by) words.push(`added by ${def.added_by}`);
    if (seen.tokens) words.push(`${Math.round(seen.tokens)} tokens`);
    words.push(this.told(id), g.dataset.fold === "closed" ? "Click the + to open it" : "");
    let title = g.querySelector(":scope > title");
    if (!title) g.prepend(title = svgElement("title", {}));
    setText(title, words.filter(Boolean).join("\n"));
  }

  time(node, seen) {
    let text = span(seen);
    if (!text && seen.started && seen.state === "running") {
      const whole = Math.floor(this.view.now - seen.started); // faster than by the second is only flicker
      if (whole >= 1) text = clock(whole);
    }
    const parts = [(seen.attempt ?? 0) > 1 ? `×${seen.attempt}` : "", seen.tokens ? `${amount(seen.tokens)} tok` : "", text];
    const told = parts.filter(Boolean).join("\u2002");
    setText(node.time, told);
    if (node.sub && node.time) this.fit(node, node.state ? seen.state : node.whole ??= node.sub.textContent, told);
  }

  // The action, or the state's name, gives way to what is told beside it: an action is cut, a state left out.
  fit(node, whole, told) {
    const key = `${whole}\n${told}`;
    if (node.fitted === key) return;
    node.fitted = key;
    const wide = (text) => this.ruler.measureText(text).width, at = (text) => Number(text.getAttribute("x"));
    const room = at(node.time) - at(node.sub) - (told ? wide(told) + 6 : 0);
    let words = whole;
    while (words && wide(words) > room) words = node.state || words.length < 4 ? "" : `${words.slice(0, -2)}…`;
    setText(node.sub, words);
  }

  tick() {
    for (const [id, node] of this.nodes) {
      if (node.g.dataset.state === "running" && !node.counts) this.time(node, this.view.state(id));
    }
  }

  select() {
    this.svg?.querySelectorAll(".df-selected").forEach((g) => g.classList.remove("df-selected"));
    const id = this.view.selected;
    this.nodes.get(this.within.get(id) ?? id)?.g.classList.add("df-selected");
    this.offerTurn();
  }
}
