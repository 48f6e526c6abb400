// The form of a question, made from the fields that ../fields.py makes of its JSON schema.
//
// The page checks only what the browser can (what is required, numbers, lengths); the run checks all of it,
// and what it refuses is written beside the field it is about.

// A field that nobody has touched keeps its default as the run gave it: inputs of dates and times can only show
// some of one (no time zone, no microseconds).

const INPUTS = { number: "number", decimal: "number", integer: "number", boolean: "checkbox", date: "date", time: "time",
  datetime: "datetime-local", secret: "password", text: "text" };
const TIME = /^((?:[\d-]+[T ])?\d\d:\d\d(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d:?\d\d)?$/; // only the first is sure to be shown

class Field {
  constructor(spec, path, id) {
    Object.assign(this, { spec, path, id, kind: spec.kind });
    this.error = h("small", { class: "df-wrong", id: `${id}-wrong` });
    this.error.hidden = true;
    this.parts = [];
    const make = { object: () => this.object(), list: () => this.list() }[spec.kind] ?? (() => this.single());
    this.element = make();
    this.element.classList.add("df-field", `df-${spec.kind}`);
    this.element.addEventListener("input", () => { this.touched = true; }); // also by what is in it
  }

  get preset() { return this.spec.default; }
  get absent() { return this.present?.checked === false; } // an object or list that is null, or left out

  single() {
    const { kind, options, labels, required, label, help, limits } = this.spec, { preset, id } = this;
    const described = [help ? `${id}-help` : "", `${id}-wrong`].join(" ").trim();
    const attributes = { id, name: this.path, required: required && kind !== "boolean",
      "aria-describedby": described };
    if (kind === "enum") {
      const shown = options.map((option, i) =>
        h("option", { value: i, text: labels?.[i] ?? String(option), selected: option === preset }));
      const open = preset === undefined || !options.includes(preset);
      if (!required || open) shown.unshift(h("option", { value: "", text: "", selected: open }));
      this.input = h("select", attributes, ...shown);
    } else if (kind === "json" || kind === "long") {
      const hint = kind === "json" ? { placeholder: "JSON", spellcheck: "false" } : limits;
      this.input = h("textarea", { ...attributes, rows: 3, ...hint });
      if (preset !== undefined && preset !== null) {
        this.input.value = kind === "json" ? JSON.stringify(preset, null, 1) : preset;
        this.input.rows = Math.min(12, Math.max(3, this.input.value.split("\n").length));
      }
    } else {
      const [, clock, fraction, zone] = (["datetime", "time"].includes(kind) && TIME.exec(preset)) || [];
      const step = { integer: 1, number: "any", decimal: "any", datetime: 1, time: 1 }[kind];
      this.zone = zone ?? (clock ? "" : null); // null: nothing tells how a time is meant
      this.input = h("input", { ...attributes, type: INPUTS[kind], step: fraction ? "any" : step, ...limits,
        autocomplete: kind === "secret" ? "off" : null });
      if (kind === "boolean") this.input.checked = preset === true;
      else if (preset !== undefined && preset !== null) {
        this.input.value = clock ? clock + (fraction ?? "").slice(0, 4) : preset;
        if (this.input.value === "" && preset !== "") { // the browser cannot show it as what it is
          this.input.type = "text";
          this.input.value = preset;
        }
      }
    }
    this.input.addEventListener("input", () => this.wrong(""));
    return h("div", {}, h("label", { for: id }, this.zone ? `${label} (${this.zone === "Z" ? "UTC" : this.zone})` : label,
      required && kind !== "boolean" ? h("b", { text: "*", "aria-hidden": "true" }) : null), this.input,
    help ? h("small", { id: `${id}-help`, text: help }) : null, this.error);
  }

  object() {
    const { fields, nullable, required } = this.spec, preset = this.preset ?? {};
    this.parts = fields.map((field) => new Field(
      field.name in preset ? { ...field, default: preset[field.name] } : field,
      `${this.path}.${field.name}`, `${this.id}-${field.name}`));
    return this.set(nullable || (!required && this.preset === undefined), ...this.parts.map((part) => part.element));
  }

  list() {
    const { label, least, nullable } = this.spec;
    this.rows = h("div");
    const add = h("button", { type: "button", class: "df-tool", text: "+ Add", "aria-label": `Add to ${label}`,
      onclick: () => { this.grow(); this.touch(); this.parts.at(-1).focus(); } });
    for (const preset of this.preset ?? []) this.grow(preset);
    while (this.parts.length < (least ?? 0)) this.grow();
    return this.set(nullable, this.rows, add);
  }

  // What is asked together; what need not be given at all has a box to be ticked in front of its name.
  set(optional, ...parts) {
    const { label, help } = this.spec, body = h("div", {}, ...parts);
    if (optional) {
      const there = (this.preset ?? null) !== null;
      this.present = h("input", { type: "checkbox", checked: there,
        onchange: () => { body.hidden = this.absent; this.wrong(""); } });
      body.hidden = !there;
    }
    return h("fieldset", {}, h("legend", {}, h(optional ? "label" : "span", {}, this.present, label)),
      help ? h("small", { text: help }) : null, body, this.error);
  }

  touch() { this.element.dispatchEvent(new Event("input", { bubbles: true })); }

  grow(preset) {
    const { item, label } = this.spec;
    this.grown = (this.grown ?? 0) + 1;
    const spec = { ...item, label: item.label || `${label} ${this.grown}`, required: true };
    if (preset !== undefined) spec.default = preset;
    const part = new Field(spec, "", `${this.id}-${this.grown}`);
    const drop = h("button", { type: "button", class: "df-tool", text: "✕", "aria-label": `Remove ${spec.label}`,
      onclick: () => { this.parts.splice(this.parts.indexOf(part), 1); row.remove(); this.touch(); } });
    const row = h("div", { class: "df-item" }, part.element, drop);
    this.parts.push(part);
    this.rows.append(row);
  }

  focus() { (this.input ?? this.present ?? this.parts[0]?.input ?? this.element.querySelector("button"))?.focus(); }

  wrong(text) {
    this.error.hidden = !text;
    setText(this.error, text);
    if (text) this.input?.setAttribute("aria-invalid", "true"); else this.input?.removeAttribute("aria-invalid");
  }

  // What the browser knows to be wrong, written beside each field; whether all is well.
  check() {
    if (this.absent || this.kept) return true;
    const parts = this.parts.map((part) => part.check()).every(Boolean);
    if (!this.input) return parts;
    let text = this.input.validity.valid ? "" : this.input.validationMessage;
    if (!text && this.kind === "json") {
      try { this.value(); } catch (error) { text = error.message; }
    }
    this.wrong(text);
    return !text;
  }

  // The field that a path of the run's (`address.street`, `tags.0`) is about: the innermost there is.
  find([step, ...rest]) {
    if (step === undefined) return this;
    const part = this.kind === "list" ? this.parts[Number(step)]
      : this.parts.find(({ spec }) => spec.name === step);
    return part ? part.find(rest) : this;
  }

  get kept() { return !this.touched && this.preset !== undefined; }

  value() { // undefined leaves the field out, so that its default applies
    const { omit, nullable } = this.spec, nothing = nullable ? null : undefined;
    if (this.kept) return omit ? undefined : this.preset ?? nothing;
    if (this.absent) return nothing;
    if (this.kind === "list") return this.parts.map((part) => part.value()).filter((one) => one !== undefined);
    if (this.kind === "object") return gather(this.parts);
    const text = this.input.value;
    if (this.kind === "boolean") return this.input.checked;
    if (text === "") {
      if (nullable) return null;
      return typeof this.preset === "string" && ["text", "long"].includes(this.kind) ? "" : undefined;
    }
    if (this.kind === "enum") return this.spec.options[Number(text)];
    if (this.input.type === "text") return text;
    if (this.kind === "number" || this.kind === "integer") return Number(text);
    if (this.zone !== null && ["datetime", "time"].includes(this.kind)) return text + this.zone;
    if (this.kind === "datetime") return new Date(text).toISOString();
    if (this.kind !== "json") return text;
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(`this is no JSON: ${text.slice(0, 80)}`);
    }
  }
}

const gather = (fields) => Object.fromEntries(
  fields.map((field) => [field.spec.name, field.value()]).filter(([, value]) => value !== undefined));

class Question {
  constructor(view, asked) {
    this.fields = asked.fields.map((field) => new Field(field, field.name, `${view.key}-${field.name}`));
    this.error = h("p", { class: "df-wrong", role: "alert" });
    this.error.hidden = true;
    const decide = (what) => (event) => {
      this.tell({});
      const fine = what !== "approve" || this.fields.map((field) => field.check()).every(Boolean);
      if (!fine) { this.element.querySelector("[aria-invalid]")?.focus(); return; }
      const answers = what === "approve" ? { answers: gather(this.fields) } : {};
      view.ask(event.currentTarget, { what, branch: asked.branch ?? null, ...answers },
        ({ error, fields }) => { this.tell(fields ?? {}); return Boolean(error && fields); });
    };
    this.element = h("form", { novalidate: true, "aria-label": "Question", onsubmit: (event) => keep(event) },
      asked.question ? h("p", { class: "df-ask", text: asked.question }) : null,
      asked.reason && asked.reason !== asked.question ? h("p", { text: asked.reason }) : null,
      ...this.fields.map((field) => field.element), this.error,
      h("div", { class: "df-row" },
        h("button", { type: "button", class: "df-button df-main", text: "Approve", onclick: decide("approve") }),
        h("button", { type: "button", class: "df-button", text: "Reject", onclick: decide("reject") })));
  }

  // What the run has refused, by path; what is about no field stands below them all.
  tell(problems) {
    const rest = [];
    for (const [path, text] of Object.entries(problems)) {
      const [name, ...steps] = path.split(".");
      const field = this.fields.find(({ spec }) => spec.name === path)
        ?? this.fields.find(({ spec }) => spec.name === name)?.find(steps);
      if (field) field.wrong(text); else rest.push(text);
    }
    setText(this.error, rest.join("; "));
    this.error.hidden = !rest.length;
    this.element.querySelector("[aria-invalid]")?.focus();
  }
}
