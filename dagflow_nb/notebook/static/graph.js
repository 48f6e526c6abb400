// The graph: the kernel's SVG, its nodes' states, zoom, pan and keys.

const LEGIBLE = 0.8; // the least factor that is chosen unasked

class Graph {
  constructor(view) {
    this.view = view;
    this.nodes = new Map();
    this.zoom = null; // null: as wide as fits, but legible; "fit": all of it; else a factor
    const tool = (text, name, onclick) =>
      h("button", { type: "button", class: "df-tool", "aria-label": name, title: name, text, onclick });
    this.box = h("div", { class: "df-graph" }, h("p", { class: "df-empty", text: "Laying the graph out …" }));
    this.panel = h("section", {}, this.box, h("div", { class: "df-tools" },
      this.legend(),
      tool("−", "Zoom out", () => this.scale(1 / 1.25)), tool("+", "Zoom in", () => this.scale(1.25)),
      tool("Fit", "Fit the graph", () => { this.zoom = "fit"; this.size(); })));
    this.box.addEventListener("click", (event) => {
      const node = event.target.closest?.(".node");
      if (node) this.view.select(node.dataset.node);
    });
    this.box.addEventListener("pointerover", (event) => {
      const node = event.target.closest?.(".node");
      if (node) this.hint(node);
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the notebook
      keep(event);
      this.scale(event.deltaY < 0 ? 1.1 : 1 / 1.1);
    }, { passive: false });
    this.box.addEventListener("pointerdown", (event) => this.pan(event));
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

  draw() {
    const text = this.view.model.get("svg");
    if (!text) return;
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
        stack: g.classList.contains("stack"),
      });
      g.setAttribute("role", "button");
      g.setAttribute("tabindex", "-1");
    }
    this.natural = [svg.getAttribute("width"), svg.getAttribute("height")].map(Number);
    this.svg = svg;
    this.view.root.classList.toggle("df-calm", this.nodes.size > CALM_ABOVE);
    const { scrollLeft, scrollTop } = this.box;
    this.box.replaceChildren(svg);
    this.size();
    this.box.scrollTo(scrollLeft, scrollTop);
    this.nodes.values().next().value?.g.setAttribute("tabindex", "0");
    this.select();
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

  scale(by) {
    if (!this.svg) return;
    const { box } = this; // what is in its middle stays there
    const x = (box.scrollLeft + box.clientWidth / 2) / box.scrollWidth;
    const y = (box.scrollTop + box.clientHeight / 2) / box.scrollHeight;
    this.zoom = Math.min(3, Math.max(0.05, this.factor() * by));
    this.size();
    box.scrollTo(x * box.scrollWidth - box.clientWidth / 2, y * box.scrollHeight - box.clientHeight / 2);
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
    if (event.key === "Enter" || event.key === " ") { keep(event); this.view.select(id); return; }
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
    for (const id of ids) if (this.nodes.has(id)) this.paint(id);
  }

  paint(id) {
    const { view } = this, node = this.nodes.get(id), seen = view.state(id), { g } = node;
    if (g.dataset.state !== seen.state) {
      g.dataset.state = seen.state;
      node.icon?.setAttribute("d", `M${node.icon.dataset.at}${view.iconOf(seen.state) ?? ""}`);
      setText(node.state, seen.state);
    }
    const action = view.defs.get(id)?.action ?? "";
    const label = [id, action === id ? "" : action, seen.state].filter(Boolean).join(", ");
    if (g.getAttribute("aria-label") !== label) g.setAttribute("aria-label", label);
    let share = ENDED.has(seen.state) ? 0 : seen.progress ?? 0;
    const items = node.stack ? view.children.get(id) : undefined;
    if (items) {
      const ended = items.filter((item) => ENDED.has(view.state(item).state)).length;
      setText(node.time, `${ended}/${items.length}`);
      share = ended / items.length;
    } else this.time(node, seen);
    if (share || node.bar) this.bar(node, Math.min(1, Math.max(0, share)));
  }

  bar(node, share) { // made when first needed: most nodes tell no progress
    const inset = node.stack ? 11 : 6;
    if (!node.bar) {
      node.bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const place = { class: "bar", x: node.x + 3, y: node.y + node.height - 4, height: 2.5, stroke: "none" };
      for (const [name, value] of Object.entries(place)) node.bar.setAttribute(name, value);
      node.g.append(node.bar);
    }
    const width = ((node.width - inset) * share).toFixed(1);
    if (node.bar.getAttribute("width") !== width) node.bar.setAttribute("width", width);
  }

  hint(g) { // a tooltip, made when the pointer comes
    const id = g.dataset.node, seen = this.view.state(id);
    const words = [id, this.view.defs.get(id)?.action, seen.state, seen.error ?? seen.reason];
    let title = g.querySelector(":scope > title");
    if (!title) g.prepend(title = document.createElementNS("http://www.w3.org/2000/svg", "title"));
    setText(title, words.filter(Boolean).join("\n"));
  }

  time(node, seen) {
    let text = span(seen);
    if (!text && seen.started && seen.state === "running") {
      const whole = Math.floor(this.view.now - seen.started); // faster than by the second is only flicker
      if (whole >= 1) text = clock(whole);
    }
    setText(node.time, [(seen.attempt ?? 0) > 1 ? `×${seen.attempt}` : "", text].filter(Boolean).join(" "));
  }

  tick() {
    for (const [id, node] of this.nodes) {
      if (node.g.dataset.state === "running" && !node.stack) this.time(node, this.view.state(id));
    }
  }

  select() {
    this.svg?.querySelectorAll(".df-selected").forEach((g) => g.classList.remove("df-selected"));
    this.nodes.get(this.view.selected)?.g.classList.add("df-selected");
  }
}
