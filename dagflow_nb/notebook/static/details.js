// The details of one node, and the form of a question.

const ITEMS_SHOWN = 200;
const one = (id) => (id ? [id] : []);
const logClass = (stream) => `df-log-line${stream === "stderr" ? " df-bad" : ""}`;

class Details {
  constructor(view) {
    this.view = view;
    const part = () => h("div");
    this.title = h("strong");
    this.pill = h("span", { class: "df-pill" });
    this.question = h("div", { class: "df-question" });
    this.facts = h("dl");
    this.values = part();
    this.links = part();
    this.items = part();
    this.lines = part();
    this.retry = h("button", {
      type: "button", class: "df-button", "aria-label": "Retry node",
      title: "Run this node again, and what depends on it",
      onclick: (event) => view.ask(event.currentTarget, { what: "retry", node: view.selected }),
    }, icon(view.iconOf("retrying")), h("span", { text: "Retry" }));
    const close = h("button", {
      type: "button", class: "df-tool", "aria-label": "Close details", text: "✕",
      onclick: () => view.select(null),
    });
    this.panel = h("aside", { class: "dagflow-details", "aria-label": "Details" },
      h("div", { class: "df-details-head" }, this.title, this.pill, close),
      this.question, this.facts, this.values, this.links, h("div", { class: "df-row" }, this.retry),
      this.items, this.lines);
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") view.select(null);
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
    this.values.replaceChildren();
    this.looked = null;
    this.refresh(new Set([id]));
  }

  // Inputs and outputs are asked for when a node is looked at, and again when its state has changed.
  look(id, state) {
    const key = JSON.stringify([id, state]);
    if (id === null || key === this.looked) return;
    this.looked = key;
    this.view.tell({ kind: "look", node: id });
  }

  tell({ node, values }) {
    if (node !== this.view.selected) return;
    this.values.replaceChildren(...Object.entries(values).flatMap(([title, told]) => {
      const pairs = Object.entries(told);
      return pairs.length === 0 ? [] : [h("h4", { text: title }), h("dl", { class: "df-values" },
        ...pairs.flatMap(([name, text]) => [h("dt", { text: name }), h("dd", { text, title: text })]))];
    }));
  }

  link(id, text = id) {
    return h("button", { type: "button", class: "df-link", text, onclick: () => this.view.select(id) });
  }

  refresh(ids) {
    const { view } = this, id = view.selected;
    this.ask();
    if (id === null) this.panel.hidden = !view.question(null);
    if (this.panel.hidden || (id !== null && !ids.has(id))) return;
    const def = view.defs.get(id) ?? {}, seen = id === null ? {} : view.state(id);
    this.pill.hidden = this.retry.hidden = id === null;
    setText(this.pill, seen.state ?? "");
    this.pill.dataset.state = seen.state ?? "";
    this.retry.disabled = !["failed", "cancelled"].includes(seen.state);
    const share = seen.progress === undefined ? "" : `${Math.round(seen.progress * 100)} %`;
    const facts = [
      ["Action", def.action],
      ["About", def.description],
      ["Disabled", seen.disabled ? "it will be skipped" : null],
      ["Attempts", seen.attempt ? `${seen.attempt}${seen.most ? ` of ${seen.most}` : ""}` : null],
      ["Started", seen.started ? wallClock(seen.started) : null],
      ["Ended", seen.finished ? wallClock(seen.finished) : null],
      ["Took", span(seen)],
      ["Progress", [share, seen.message].filter(Boolean).join(": ")],
      ["Reason", seen.reason],
      ["Error", seen.error],
      ["Tags", def.tags?.join(", ")],
    ];
    const told = JSON.stringify(facts);
    if (told !== this.told) { // replaced only when they differ: a person may be selecting text
      this.told = told;
      this.facts.replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) =>
        [h("dt", { text: name }), h("dd", { text: value, class: name === "Error" ? "df-error" : null })]));
    }
    this.look(id, seen.state);
    this.itemTable(view.children.get(id));
    this.lines.replaceChildren(...view.logs.of(id).map(([, text, stream]) =>
      h("div", { class: logClass(stream), text })));
    this.lines.className = this.lines.childElementCount ? "df-last-lines" : "";
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
    const fields = asked.fields.map((field) => new Field(field, `${view.key}-${field.name}`));
    const decide = (what) => (event) => {
      const button = event.currentTarget, form = button.form;
      if (what === "approve" && !form.reportValidity()) return;
      try {
        const filled = fields.map((field) => [field.name, field.value()]);
        const answers = Object.fromEntries(filled.filter(([, value]) => value !== undefined));
        view.ask(button, { what, branch: asked.branch ?? null, ...(what === "approve" ? { answers } : {}) });
      } catch (error) { view.note(error.message, true); }
    };
    const form = h("form", { onsubmit: (event) => keep(event) },
      asked.question ? h("p", { class: "df-ask", text: asked.question }) : null,
      asked.reason && asked.reason !== asked.question ? h("p", { text: asked.reason }) : null,
      ...fields.map((field) => field.element),
      h("div", { class: "df-row" },
        h("button", { type: "button", class: "df-button df-main", text: "Approve", onclick: decide("approve") }),
        h("button", { type: "button", class: "df-button", text: "Reject", onclick: decide("reject") })));
    this.question.append(form);
  }
}

class Field {
  constructor({ name, label, kind, options, default: preset, required, help }, id) {
    Object.assign(this, { name, kind, options });
    const type = { number: "number", integer: "number", boolean: "checkbox", date: "date", text: "text" }[kind];
    const attributes = { id, name, required: required && kind !== "boolean" };
    if (kind === "enum") {
      const shown = options.map((option, i) =>
        h("option", { value: i, text: String(option), selected: option === preset }));
      const open = preset === undefined;
      if (!required || open) shown.unshift(h("option", { value: "", text: "", selected: open }));
      this.input = h("select", attributes, ...shown);
    } else if (kind === "json") {
      this.input = h("textarea", { ...attributes, rows: 3, spellcheck: "false", placeholder: "JSON" });
      if (preset !== undefined && preset !== null) this.input.value = JSON.stringify(preset);
    } else {
      const step = { integer: 1, number: "any" }[kind];
      this.input = h("input", { ...attributes, type, step });
      if (kind === "boolean") this.input.checked = preset === true;
      else if (preset !== undefined && preset !== null) this.input.value = preset;
    }
    this.element = h("div", { class: `df-field df-${kind}` }, h("label", { for: id, text: label }), this.input,
      help ? h("small", { text: help }) : null);
  }

  value() { // undefined leaves the field out, so that its default applies
    const text = this.input.value;
    if (this.kind === "boolean") return this.input.checked;
    if (text === "") return undefined;
    if (this.kind === "enum") return this.options[Number(text)];
    if (this.kind === "number" || this.kind === "integer") return Number(text);
    if (this.kind !== "json") return text;
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(`${this.name}: this is no JSON: ${text.slice(0, 80)}`);
    }
  }
}
