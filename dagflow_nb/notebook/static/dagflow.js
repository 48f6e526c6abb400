// The live view of a run: graph, timeline, table, logs and details over one model (see ../widget.py).
//
// The kernel lays the graph out once per topology and sends its SVG; after that only small patches come,
// and a state is one attribute that the style sheet colours: nothing is laid out again, nothing redrawn.
// Whatever comes from a workflow is put into the page as text or attributes, never as markup.
//
// One module of several files, which widget.py joins in the order of its SCRIPTS.

// Once per model: patches are kept in the page's copy of the traits, in place (so that nothing is echoed to
// the kernel). A view that is made later, say for a cell scrolled back into sight, starts from there.
function initialize({ model }) {
  model.on("msg:custom", (msg) => {
    if (msg.kind === "patch") {
      Object.assign(model.get("states"), msg.states);
      Object.assign(model.get("run"), msg.run);
    } else if (msg.kind === "graph") {
      Object.assign(model.get("graph"), msg.graph);
      const defs = model.get("defs"), known = new Map(defs.map((def) => [def.id, def]));
      for (const id of msg.gone) known.delete(id);
      for (const def of msg.defs) known.set(def.id, def);
      defs.length = 0;
      for (const def of known.values()) defs.push(def);
    } else if (msg.kind === "log") {
      const logs = model.get("logs");
      for (const line of msg.lines) {
        if (joins(logs.at(-1), line)) logs.at(-1)[1] += line[1]; else logs.push([...line]);
      }
      logs.splice(0, Math.max(0, logs.length - LINES_KEPT));
    }
  });
}

class View {
  constructor(model, el) {
    this.model = model;
    this.key = `df${Math.random().toString(36).slice(2, 9)}`; // several views may be on one page
    this.skew = 0; // the kernel's clock may differ from the page's
    this.selected = null;
    this.picked = false; // whether a person selected it
    this.dirty = new Set();
    this.waiting = new Map(); // requests to the kernel without an answer
    this.asked = new Set(); // questions that were shown already
    this.build(el);
    this.readDefs();
    this.listeners = [
      ["msg:custom", (msg) => this.hear(msg)],
      ["change:graph", () => this.redraw()],
      ["change:states", () => this.refreshAll()],
      ["change:run", () => this.refreshAll()],
    ];
    for (const [name, listener] of this.listeners) model.on(name, listener);
    // JupyterLab's own keys (arrows, "dd", ...) must not act on cells from in here; Ctrl+S and the like may.
    this.guard = ({ target, ctrlKey, metaKey }) => {
      if (!this.root.contains(target)) return;
      this.root.toggleAttribute("data-lm-suppress-shortcuts", !ctrlKey && !metaKey);
    };
    window.addEventListener("keydown", this.guard, true);
    this.ticker = setInterval(() => this.tick(), 1000);
    this.graph.draw();
    this.logs.append(model.get("logs"));
    this.refreshAll();
    this.tell({ kind: "hello" });
  }

  close() {
    for (const [name, listener] of this.listeners) this.model.off(name, listener);
    window.removeEventListener("keydown", this.guard, true);
    clearInterval(this.ticker);
    cancelAnimationFrame(this.frame);
    for (const { timer } of this.waiting.values()) clearTimeout(timer);
    this.graph.close();
  }

  get present() { return this.model.get("run"); }
  get run() { return this.past?.run ?? this.present; } // as it is, or as it was at the moment that is looked at
  get now() { return this.past?.shown ? this.run.at : Date.now() / 1000 - this.skew; }
  get end() { // where time stands: a run that is paused, or was interrupted, stands still
    const { status, finished, at } = this.run;
    if (this.past?.shown) return at;
    return finished ?? (["running", "pending"].includes(status) ? this.now : at);
  }
  state(id) {
    if (this.past?.shown) return this.past.states.get(id) ?? { state: "absent" };
    return this.model.get("states")[id] ?? { state: "pending" };
  }
  iconOf(state) { return this.model.get("icons")[state]; }

  readDefs() {
    this.defs = new Map(this.model.get("defs").map((def) => [def.id, def]));
    this.children = new Map();
    this.feeds = new Map();
    for (const def of this.defs.values()) {
      if (def.parent) push(this.children, def.parent, def.id);
      for (const dep of def.deps ?? []) push(this.feeds, dep, def.id);
    }
  }

  redraw() {
    this.readDefs();
    this.graph.draw();
    this.refreshAll();
  }

  hear(msg) {
    if (msg.kind === "graph") this.redraw();
    else if (msg.kind === "patch") {
      if (msg.run.at) this.skew = Date.now() / 1000 - msg.run.at;
      for (const id of Object.keys(msg.states)) {
        this.dirty.add(id);
        const parent = this.defs.get(id)?.parent;
        if (parent) this.dirty.add(parent); // it counts its items
      }
      this.schedule();
    } else if (msg.kind === "log") {
      this.logs.append(msg.lines);
      if (msg.lines.some(([id]) => id === this.selected)) this.dirty.add(this.selected);
      this.schedule();
    } else if (msg.kind === "done") this.answered(msg);
    else if (msg.kind === "look") this.details.tell(msg);
    else if (msg.kind === "past") this.past.hear(msg);
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      const ids = this.dirty;
      this.dirty = new Set();
      this.refresh(ids);
    });
  }

  refreshAll() { this.refresh(new Set(this.defs.keys())); }

  refresh(ids) {
    this.past.refresh();
    this.graph.refresh(ids);
    this.header();
    this.offerQuestions();
    this.details.refresh(ids);
    for (const tab of [this.timeline, this.table]) {
      if (tab.panel.hidden) tab.stale = true;
      else tab.refresh(ids);
    }
  }

  tick() {
    if (OVER.has(this.present.status) || this.past.shown) return;
    this.elapsed();
    this.estimate();
    if (!this.graph.panel.hidden) this.graph.tick();
    if (!this.timeline.panel.hidden) this.timeline.tick();
  }

  // --- what is always there ---

  build(el) {
    const root = this.root = h("div", { class: "dagflow-view" });
    const still = this.model.get("still");
    // The saved picture of this very run is hidden while its live view is here; those of others are not.
    if (/^[\w-]+$/.test(still)) root.append(h("style", { text: `.${still} { display: none; }` }));
    const button = (label, name, path, what) => h("button", {
      type: "button", class: "df-button", "aria-label": name, title: name,
      onclick: (event) => this.ask(event.currentTarget, { what }),
    }, icon(path), h("span", { text: label }));
    this.parts = {
      name: h("span", { class: "df-name" }), id: h("span", { class: "df-id" }),
      status: h("span", { class: "df-pill", role: "status" }), clock: h("span", { class: "df-clock", title: "Elapsed time" }),
      pause: button("Pause", "Pause run", this.iconOf("paused"), "pause"),
      resume: button("Resume", "Resume run", this.iconOf("running"), "resume"),
      cancel: button("Cancel", "Cancel run", this.iconOf("failed"), "cancel"),
      bar: h("div", { class: "df-progress", role: "progressbar", "aria-label": "Nodes that have ended" }),
      counts: h("div", { class: "df-counts" }), done: h("span", { class: "df-done" }),
      left: h("span", { class: "df-left", title: ESTIMATE }),
      questions: h("div", { class: "df-questions", role: "status" }),
      note: h("div", { class: "df-note", role: "alert" }), error: h("div", { class: "df-note df-bad" }),
      failed: h("div", { class: "df-note df-bad", role: "status" }), doing: h("div", { class: "df-doing" }),
    };
    const p = this.parts;
    p.questions.hidden = p.note.hidden = p.failed.hidden = p.error.hidden = true;
    // One line, always there: what it says changes, and nothing below it moves. A click shows all of it.
    this.strip = h("div", { class: "df-strip", onclick: (event) => {
      if (!event.target.closest("button")) this.strip.classList.toggle("df-open");
    } }, p.note, p.questions, p.failed, p.error, p.doing);
    root.append(
      h("header", { class: "df-head" },
        h("div", { class: "df-title" }, p.name, p.id), p.status, p.clock,
        h("div", { class: "df-buttons" }, p.pause, p.resume, p.cancel)),
      p.bar, p.counts, this.strip);
    this.graph = new Graph(this);
    this.timeline = new Timeline(this);
    this.table = new Table(this);
    this.logs = new Logs(this);
    this.details = new Details(this);
    const tabs = Object.entries(
      { Graph: this.graph, Timeline: this.timeline, Table: this.table, Logs: this.logs });
    this.past = new Past(this);
    root.append(h("div", { class: "df-tab-row" }, this.tabList(tabs), this.past.element),
      h("div", { class: "df-body" }, ...tabs.map(([, tab]) => tab.panel), this.details.panel));
    el.append(root);
  }

  tabList(tabs) {
    const list = h("div", { class: "df-tabs", role: "tablist", "aria-label": "Views of the run" });
    const show = (chosen, focus) => tabs.forEach(([name, tab], i) => {
      const button = list.children[i], on = name === chosen;
      button.setAttribute("aria-selected", on);
      button.tabIndex = on ? 0 : -1;
      tab.panel.hidden = !on;
      if (on && focus) button.focus();
      if (on) tab.shown?.();
    });
    tabs.forEach(([name, tab], i) => {
      list.append(h("button", {
        type: "button", role: "tab", id: `${this.key}-tab${i}`, "aria-controls": `${this.key}-panel${i}`,
        text: name, onclick: () => show(name),
      }));
      tab.panel.id = `${this.key}-panel${i}`;
      tab.panel.setAttribute("role", "tabpanel");
      tab.panel.setAttribute("aria-labelledby", `${this.key}-tab${i}`);
    });
    list.addEventListener("keydown", (event) => {
      const at = tabs.findIndex((_, i) => list.children[i] === event.target);
      const last = tabs.length - 1;
      const next = { ArrowRight: at + 1, ArrowLeft: at + last, Home: 0, End: last }[event.key];
      if (at < 0 || next === undefined) return;
      keep(event);
      show(tabs[next % tabs.length][0], true);
    });
    show("Graph");
    return list;
  }

  header() {
    const { run, present, parts: p } = this;
    this.root.dataset.runStatus = present.status;
    this.root.classList.toggle("df-was", this.past.shown);
    setText(p.name, run.name);
    setText(p.id, run.id);
    setText(p.status, this.past.shown ? `was ${run.status}` : run.status);
    p.status.dataset.state = run.status;
    const held = present.waiting?.some(({ branch }) => branch === null); // it pauses once what runs has ended
    p.pause.disabled = present.status !== "running" || held;
    const decisions = present.waiting?.filter(({ decision }) => decision) ?? []; // these are approved each by itself
    const decided = decisions.length > 0 && decisions.length === present.waiting.length;
    p.resume.disabled = decided || !(held || ["paused", "interrupted"].includes(present.status));
    p.resume.title = decided ? `Approve or reject what is asked: ${decisions.map(({ branch }) => branch).join(", ")}`
      : "Resume run";
    p.cancel.disabled = !["pending", "running", "paused"].includes(present.status);
    this.elapsed();

    const counts = {}, failed = [], running = [];
    let all = 0, ended = 0;
    for (const id of this.defs.keys()) {
      if (this.children.has(id)) continue; // it only holds others
      const { state } = this.state(id);
      if (state === "absent") continue;
      counts[state] = (counts[state] ?? 0) + 1;
      all += 1;
      if (ENDED.has(state)) ended += 1;
      if (state === "failed") failed.push(id); else if (state === "running") running.push(id);
    }
    this.say(run, failed, running);
    const told = JSON.stringify(counts);
    if (told === this.told) return;
    this.told = told;
    const there = STATES.filter((state) => counts[state]);
    p.bar.replaceChildren(...there.filter((state) => state !== "pending").map((state) =>
      h("i", { "data-state": state, style: `flex: ${counts[state]}` })),
      h("i", { style: `flex: ${counts.pending ?? 0}` }));
    p.bar.setAttribute("aria-valuemin", 0);
    p.bar.setAttribute("aria-valuemax", all);
    p.bar.setAttribute("aria-valuenow", ended);
    setText(p.done, `${ended} of ${all}`);
    p.counts.replaceChildren(p.done,
      ...there.map((state) => stateMark(this, state, `${counts[state]} ${state}`)), p.left);
    this.estimate();
  }

  // What has failed (each one a click away from why), what is wrong with the run, what it is doing.
  say(run, failed, running) {
    const p = this.parts;
    const wrong = failed.length > 0 ? "" : run.error ?? ""; // else it is told beside the node that failed
    p.error.hidden = !wrong;
    setText(p.error, wrong);
    p.failed.hidden = failed.length === 0;
    const key = JSON.stringify(failed.slice(0, 9)) + failed.length + (run.error ?? "");
    if (key !== this.toldFailed) {
      this.toldFailed = key;
      p.failed.replaceChildren(icon(this.iconOf("failed")), "Failed:", ...failed.slice(0, 8).map((id) =>
        h("button", { type: "button", class: "df-link", text: id, onclick: () => this.select(id) })),
      failed.length > 8 ? `and ${failed.length - 8} more` : "", h("span", { text: run.error ?? "" }));
    }
    const more = running.length > 6 ? `, and ${running.length - 6} more` : "";
    const rest = run.finished ? `Ended ${wallClock(run.finished)} after ${took(run.finished - run.started)}` : "";
    setText(p.doing, running.length ? `Running: ${running.slice(0, 6).join(", ")}${more}` : rest);
  }

  // What is left: for each node that has not ended the mean time of those of its action that have (of all,
  // where there is none), less what it has run already; divided by how many ran at once so far.
  estimate() {
    const { parts: p, present: run } = this;
    const means = new Map();
    let all = 0, ended = 0, busy = 0;
    for (const [id, { action }] of this.defs) {
      if (this.children.has(id)) continue;
      const { state, started, finished } = this.state(id);
      if (!started) continue;
      const took = (finished ?? this.now) - started;
      busy += took;
      if (!ENDED.has(state) || !finished) continue;
      const known = means.get(action) ?? [0, 0];
      means.set(action, [known[0] + took, known[1] + 1]);
      all += took;
      ended += 1;
    }
    const elapsed = this.end - (run.started ?? this.end);
    if (run.status !== "running" || ended < 2 || elapsed < 2) { setText(p.left, ""); return; }
    let work = 0;
    for (const [id, { action }] of this.defs) {
      if (this.children.has(id)) continue;
      const { state, started } = this.state(id);
      if (!["pending", "running", "retrying"].includes(state)) continue;
      const [sum, count] = means.get(action) ?? [all, ended];
      work += Math.max(0, sum / count - (state === "running" && started ? this.now - started : 0));
    }
    const left = work / Math.max(1, busy / elapsed);
    setText(p.left, left < 1 ? "nearly done" : `about ${left < 60 ? `${Math.ceil(left)} s` : took(left)} left`);
  }

  elapsed() {
    const { started } = this.run;
    setText(this.parts.clock, started ? clock(this.end - started) : "00:00");
  }

  // --- talking to the kernel ---

  tell(message) {
    try { this.model.send(message); return true; } catch { return false; } // no kernel behind the page
  }

  ask(button, message, then) {
    const id = Math.random().toString(36).slice(2);
    button.setAttribute("aria-busy", "true");
    const timer = setTimeout(() => this.note("The kernel has not answered yet: it will once the cell that is "
      + "running has ended. With flow.start(...) a run leaves the kernel free, and buttons act at once."),
    ANSWER_MS);
    this.waiting.set(id, { button, timer, then });
    const sent = this.tell({ kind: "do", id, ...message });
    if (!sent) this.answered({ id, error: "no kernel is connected to this page" });
  }

  answered({ id, error, fields }) {
    const request = this.waiting.get(id);
    if (!request) return; // it was asked by another view of this run
    this.waiting.delete(id);
    clearTimeout(request.timer);
    request.button.removeAttribute("aria-busy");
    const told = request.then?.({ error, fields });
    this.note(told ? null : error, Boolean(error));
  }

  note(text, bad = false) {
    this.parts.note.hidden = !text;
    this.parts.note.classList.toggle("df-bad", bad);
    setText(this.parts.note, text ?? "");
  }

  // --- selection and questions ---

  select(id, picked = true) {
    this.selected = id;
    this.picked = picked;
    this.graph.select();
    this.table.select();
    this.details.show();
    this.logs.filter();
  }

  question(id) { return this.run.waiting?.find((one) => one.asks && (one.branch ?? null) === id); }

  // What was asked, and what only waits until it is resumed: by hand, a budget or a failure.
  offerQuestions() {
    const waiting = this.run.waiting ?? [], asking = waiting.filter(({ asks }) => asks);
    const fresh = asking.filter((one) => !this.asked.has(questionKey(one)));
    this.asked = new Set(asking.map(questionKey));
    if (fresh.length && !this.picked) this.select(fresh[0].branch ?? null, false);
    const box = this.parts.questions;
    box.hidden = waiting.length === 0;
    box.title = waiting.map((one) => one.question || one.reason || "").join("\n");
    const told = JSON.stringify(waiting.map(questionKey));
    if (told === this.toldQuestions) return;
    this.toldQuestions = told;
    const link = ({ branch, asks }) => branch === null && !asks ? " the run " : h("button", {
      type: "button", class: "df-link", text: branch ?? "the run", onclick: () => this.select(branch ?? null),
    });
    const list = (words, found, more) => found.length ? [words, ...found.slice(0, 20).map(link),
      found.length > 20 ? `and ${found.length - 20} more` : "", more] : [];
    const held = waiting.filter(({ asks }) => !asks), why = held.map(({ reason }) => reason ?? "paused by hand");
    box.replaceChildren(icon(this.iconOf("paused")), ...list("Waiting for an answer:", asking, ""),
      ...list("Paused:", held, ` (${[...new Set(why)].join("; ")})`));
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.close();
}

export default { initialize, render };
