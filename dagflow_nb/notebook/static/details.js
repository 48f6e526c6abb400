// The details of one node: what it is asked, why it failed, its values, its code, its neighbours.

const ITEMS_SHOWN = 200;
const ROUNDED = 0.002; // seconds: the times of a run's past are rounded to milliseconds
const one = (id) => (id ? [id] : []);
const logClass = (stream) => `df-log-line${stream === "stderr" ? " df-bad" : ""}`;

const alike = (a, b) => a === b || Math.abs(a - b) < ROUNDED;

// An attempt as it stood at a moment: nothing of one that came later, no end of one that went on.
function attemptAt(one, at) {
  if (one.started_at > at + ROUNDED) return [];
  if (one.finished_at === null || one.finished_at <= at + ROUNDED) return [one];
  return [{ ...one, status: "running", finished_at: null, error: null, traceback: null }];
}

class Details {
  constructor(view) {
    this.view = view;
    const part = () => h("div");
    this.title = h("strong");
    this.pill = h("span", { class: "df-pill" });
    this.question = h("div", { class: "df-question" });
    this.facts = h("dl");
    this.failure = part();
    this.values = part();
    this.code = part();
    this.links = part();
    this.items = part();
    this.lines = part();
    const button = (text, name, title, path, what) => h("button", {
      type: "button", class: "df-button", "aria-label": name, title,
      onclick: (event) => view.ask(event.currentTarget, { what, node: view.selected, branch: view.selected }),
    }, icon(view.iconOf(path)), h("span", { text }));
    this.retry = button("Retry", "Retry node", "Run this node again, and what depends on it", "retrying", "retry");
    this.pause = button("Pause branch", "Pause branch", "This node and all that comes after it waits", "paused",
      "pause");
    this.resume = button("Resume branch", "Resume branch", "Let this branch go on", "running", "resume");
    this.cancel = button("Cancel branch", "Cancel branch", "This node and all that comes after it is cancelled",
      "failed", "cancel");
    const close = h("button", {
      type: "button", class: "df-tool", "aria-label": "Close details", text: "✕",
      onclick: () => view.select(null),
    });
    this.panel = h("aside", { class: "dagflow-details", "aria-label": "Details", tabindex: -1 },
      h("div", { class: "df-details-head" }, this.title, this.pill, close),
      this.question, this.failure, this.facts,
      h("div", { class: "df-row" }, this.retry, this.pause, this.resume, this.cancel),
      this.links, this.values, this.items, this.lines, this.code);
    this.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      keep(event);
      const id = view.selected;
      view.select(null);
      view.graph.nodes.get(id)?.g.focus(); // where the reader came from
    });
    this.panel.hidden = true;
  }

  show() {
    const { view } = this, id = view.selected;
    this.panel.hidden = id === null && !view.question(null);
    this.panel.dataset.node = id ?? "";
    if (this.panel.hidden) return;
    const def = view.defs.get(id) ?? {};
    setText(this.title, id ?? "The run");
    const links = {
      Needs: def.deps, "Needed by": view.feeds.get(id), "Added by": one(def.added_by),
      "Stands in for": one(def.replaces), "Part of": one(def.parent),
    };
    this.links.replaceChildren(...Object.entries(links).filter(([, ids]) => ids?.length).map(([name, ids]) =>
      h("div", { class: "df-links" }, h("span", { text: name }), ...ids.slice(0, 30).map((to) => this.link(to)),
        ids.length > 30 ? `and ${ids.length - 30} more` : "")));
    for (const part of [this.failure, this.values, this.code]) part.replaceChildren();
    this.looked = this.shownError = this.latest = this.filled = null;
    this.attempts = [];
    this.refresh(new Set([id]));
  }

  // Inputs and outputs are asked for when a node is looked at, and again when its state has changed.
  look(id, state) {
    const key = JSON.stringify([id, state]);
    if (id === null || key === this.looked) return;
    if (this.view.past.shown && this.latest) return; // what was known at a moment is part of what is known now
    this.looked = key;
    this.view.tell({ kind: "look", node: id });
  }

  tell(message) {
    if (message.node !== this.view.selected) return;
    this.latest = message;
    this.filled = null;
    this.code.replaceChildren(...message.code ? [fold("Code of the action", message.code)] : []);
    this.fill();
    this.fail();
  }

  // Values and attempts as they were known at the moment that is looked at: only the latest of each are kept.
  fill() {
    const { view, latest } = this, seen = view.state(view.selected), was = view.past.shown;
    const now = view.model.get("states")[view.selected] ?? {};
    const began = !was || Boolean(seen.started) || ENDED.has(seen.state);
    const ended = !was || ENDED.has(seen.state);
    const kept = !was || alike(seen.finished, now.finished); // else it has run again since
    const key = JSON.stringify([was ? view.run.at : null, began, ended, kept]);
    if (!latest || key === this.filled) return;
    this.filled = key;
    const { inputs, outputs, attempts = [], problem } = latest;
    this.attempts = was ? attempts.flatMap((one) => attemptAt(one, view.run.at)) : attempts;
    const told = [];
    if (problem) told.push(h("p", { class: "df-wrong", text: problem }));
    else if (!began) told.push(h("p", { class: "df-then", text: "It had not begun at this moment." }));
    else if (!ended) told.push(h("p", { class: "df-then", text: "It had no outputs yet at this moment." }));
    else if (!kept) told.push(h("p", { class: "df-then", text: "It has run again since: its values of then are not kept." }));
    this.values.replaceChildren(...told, ...ended && kept ? valueList("Outputs", outputs) : [],
      ...began && (kept || !ended) ? valueList("Inputs", inputs) : [], ...attemptTable(view, this.attempts));
  }

  // Why it failed comes first: the error, and the action's own traceback.
  fail() {
    const seen = this.view.state(this.view.selected);
    const traceback = seen.error ? this.attempts.findLast((one) => one.traceback)?.traceback : null;
    const key = JSON.stringify([seen.error, traceback]);
    if (key === this.shownError) return;
    this.shownError = key;
    const error = seen.error ? [h("div", { class: "df-error", role: "alert", text: seen.error })] : [];
    this.failure.replaceChildren(...error,
      ...traceback ? [fold("Traceback", traceback, { open: true, end: true })] : []);
  }

  link(id, text = id) {
    return h("button", { type: "button", class: "df-link", text, onclick: () => this.view.select(id) });
  }

  refresh(ids) {
    const { view } = this, id = view.selected;
    this.ask();
    if (id === null) this.panel.hidden = !view.question(null);
    if (this.panel.hidden) return;
    const def = view.defs.get(id) ?? {}, seen = id === null ? {} : view.state(id);
    this.offer(id, seen);
    if (id !== null && !ids.has(id)) return;
    this.pill.hidden = id === null;
    setText(this.pill, seen.state ?? "");
    this.pill.dataset.state = seen.state ?? "";
    const share = seen.progress === undefined ? "" : `${Math.round(seen.progress * 100)} %`;
    const facts = [
      ["Action", def.action],
      ["About", def.description],
      ["Disabled", seen.disabled ? "it will be skipped" : null],
      ["Attempts", seen.attempt > 1 || (seen.attempt && seen.most) ? `${seen.attempt}${seen.most ? ` of ${seen.most}` : ""}`
        : null],
      ["Began", seen.started ? wallClock(seen.started) : null],
      ["Waited", seen.started - seen.ready > 0.05 ? took(seen.started - seen.ready) : null],
      ["Took", span(seen)],
      ["Progress", [share, seen.message].filter(Boolean).join(": ")],
      ["Reason", seen.reason],
      ["Tags", def.tags?.join(", ")],
    ];
    const told = JSON.stringify(facts);
    if (told !== this.told) { // replaced only when they differ: a person may be selecting text
      this.told = told;
      this.facts.replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) =>
        [h("dt", { text: name }), h("dd", { text: value })]));
    }
    if (id !== null) {
      this.fill();
      this.fail();
    }
    this.look(id, `${seen.state} ${seen.attempt}`);
    this.itemTable(view.children.get(id));
    const lines = view.past.shown && !seen.started ? [] : view.logs.of(id);
    this.lines.replaceChildren(...lines.length ? [h("h4", { text: "Printed and logged" }),
      h("div", { class: "df-last-lines", tabindex: 0, role: "region", "aria-label": "Last lines" },
        ...lines.map(([, text, stream]) => h("div", { class: logClass(stream), text })))] : []);
  }

  // What can be done about a node: that depends on the run as well, also when the node itself has ended.
  offer(id, seen) {
    const { view } = this, inside = this.panel.contains(document.activeElement);
    const was = view.past.shown; // nothing can be done about what was
    const over = was || OVER.has(view.run.status), paused = view.run.waiting?.some((one) => one.branch === id);
    this.retry.hidden = id === null || was || !["failed", "cancelled"].includes(seen.state);
    this.pause.hidden = id === null || over || paused || ENDED.has(seen.state);
    this.resume.hidden = id === null || over || !paused || Boolean(view.question(id)?.fields.length);
    this.cancel.hidden = id === null || over || ENDED.has(seen.state);
    // the button that was pressed may be gone now: whoever uses the keyboard stays here
    const { activeElement } = document;
    if (inside && (!this.panel.contains(activeElement) || activeElement.closest("[hidden]"))) this.panel.focus();
  }

  itemTable(items) {
    if (!items) { this.items.replaceChildren(); return; }
    const { view } = this;
    const rows = items.slice(0, ITEMS_SHOWN).map((id) => {
      const seen = view.state(id), start = `${view.selected}/`;
      return h("tr", {}, h("td", {}, this.link(id, id.startsWith(start) ? id.slice(start.length) : id)),
        stateCell(view, seen.state), h("td", { text: span(seen) }),
        h("td", { text: seen.error ?? seen.reason ?? seen.message ?? "" }));
    });
    this.items.className = "df-items";
    this.items.replaceChildren(h("table", { "aria-label": "Items" }, h("tbody", {}, ...rows)),
      items.length > ITEMS_SHOWN ? h("p", { text: `and ${items.length - ITEMS_SHOWN} more: see the table` }) : "");
  }

  // The form stays the same element as long as the question is the same: someone may be typing.
  ask() {
    const { view } = this, asked = view.question(view.selected);
    const key = asked ? questionKey(asked) : null;
    if (key === this.asking) return;
    this.asking = key;
    this.question.replaceChildren();
    if (!asked) return;
    this.question.append(new Question(view, asked).element);
  }
}
