// Looking back at a run that has ended: a slider through its moments, which the kernel tells once (see ../past.py).
//
// At a moment all parts of the view show what was known then: `View.state` and `View.run` are asked by each of
// them, and answer from here. Nodes that had not been added yet are ghosts.

class Past {
  constructor(view) {
    this.view = view;
    this.slider = h("input", { type: "range", min: 0, max: 1000, step: 1, "aria-label": "Moment of the run",
      oninput: () => this.seek(Number(this.slider.value)) });
    this.slider.value = 1000;
    this.slider.addEventListener("keydown", (event) => { // front ends keep some of these keys for themselves
      const value = Number(this.slider.value), last = Number(this.slider.max), leap = Math.ceil(last / 20);
      const to = { ArrowLeft: value - 1, ArrowDown: value - 1, ArrowRight: value + 1, ArrowUp: value + 1,
        PageDown: value - leap, PageUp: value + leap, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      keep(event);
      this.seek(to);
    });
    const step = (text, name, by) => h("button", { type: "button", class: "df-tool", "aria-label": name, title: name,
      text, onclick: () => this.seek(Number(this.slider.value) + by) });
    this.label = h("output", { class: "df-moment" });
    this.element = h("div", { class: "df-past", role: "group", "aria-label": "History of the run" },
      step("‹", "One step back", -1), this.slider, step("›", "One step on", 1), this.label);
    this.element.hidden = true;
  }

  get shown() { return this.states !== undefined; }

  // Only a run that does not move has a past to look at; one that moves again is shown as it is.
  refresh() {
    const { status, id, at } = this.view.present;
    const rests = !["running", "pending"].includes(status);
    this.element.hidden = !rests;
    const key = rests ? JSON.stringify([id, status, at]) : null;
    if (key === this.key) return;
    this.key = key;
    this.steps = this.asked = undefined;
    this.slider.value = this.slider.max;
    this.leave();
  }

  // The moments are asked for when somebody first moves the slider, which has no steps of its own before.
  seek(value) {
    if (!this.steps) {
      this.wanted = this.slider.value = Math.max(0, Math.min(value, this.slider.max));
      if (!this.asked) this.asked = this.view.tell({ kind: "past" });
      return;
    }
    const last = this.steps.length - 1, at = Math.min(last, Math.max(0, value));
    this.slider.value = at;
    if (at === last) this.leave(); else this.show(at);
    this.view.refreshAll();
    this.ghosts();
  }

  hear({ problem, zero, ids, states, texts, steps }) {
    if (problem) { this.view.note(problem, true); return; }
    if (!steps.length) return;
    Object.assign(this, { zero, ids, names: states, texts, steps });
    const last = steps.length - 1, from = Number(this.slider.max);
    this.slider.max = last;
    // a step or two back, or a place along the slider
    const back = from - this.wanted;
    this.seek(back <= 20 ? last - back : Math.round(this.wanted / from * last));
  }

  show(at) {
    const { steps, ids, names, texts, zero } = this;
    const states = new Map(), tries = new Map();
    let told = [];
    for (let i = 0; i <= at; i += 1) {
      const [when, , , changes] = steps[i];
      for (const [id, state, attempt, started, finished, text] of changes) {
        if (state === -1) { states.delete(ids[id]); continue; }
        const name = names[state], words = text === undefined ? undefined : texts[text];
        const seen = { state: name, attempt: attempt ?? undefined };
        if (typeof started === "number") seen.started = zero + started;
        if (typeof finished === "number") seen.finished = zero + finished;
        if (words) seen[name === "failed" || name === "retrying" ? "error" : "reason"] = words;
        seen.ready = this.view.model.get("states")[ids[id]]?.ready;
        seen.tries = this.attempts(tries, ids[id], seen, zero + when);
        states.set(ids[id], seen);
      }
      if (i === at) told = changes.filter(([, state]) => state !== -1);
    }
    const [when, seq, status] = steps[at];
    this.states = states;
    this.run = { ...this.view.present, status: names[status], at: zero + when, finished: null, waiting: [],
      error: null };
    const [first] = told;
    const what = first === undefined ? names[status]
      : `${ids[first[0]]} ${names[first[1]]}${told.length > 1 ? ` +${told.length - 1}` : ""}`;
    setText(this.label, `${wallClock(zero + when)} · event ${seq} · ${at + 1}/${steps.length} · ${what}`);
    this.label.title = this.label.textContent;
    this.slider.setAttribute("aria-valuetext", this.label.textContent);
  }

  // Edges to nodes that were not there yet.
  ghosts() {
    const absent = (id) => this.shown && !this.states.has(id);
    for (const edge of this.view.graph.svg?.querySelectorAll(".edge") ?? []) {
      const gone = absent(edge.dataset.from) || absent(edge.dataset.to), tip = edge.nextElementSibling;
      edge.classList.toggle("df-absent", gone);
      if (tip?.classList.contains("tip")) tip.classList.toggle("df-absent", gone);
    }
  }

  attempts(tries, id, { state, attempt }, at) {
    let list = tries.get(id) ?? [];
    const open = list.at(-1);
    if (open && open[1] === null && (state !== "running" || attempt > list.length)) {
      list = [...list.slice(0, -1), [open[0], at, ENDED.has(state) ? state : "failed"]];
    }
    if (state === "running" && (attempt ?? 1) > list.length) list = [...list, [at, null, "running"]];
    if (list.length) tries.set(id, list);
    return list.length ? list : undefined;
  }

  leave() {
    this.states = this.run = undefined;
    const { status } = this.view.present;
    setText(this.label, status ? `as it is now: ${status}` : "");
    this.label.title = "Move the slider to see the run as it was";
    this.slider.setAttribute("aria-valuetext", this.label.textContent);
  }
}
