// What the kernel tells of a node's values, attempts and code (see ../showing.py and ../asked.py), as elements.

const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]); // none of these can execute

function valueOf(name, { kind, text, note, columns, rows, mime, data }) {
  const told = note ? h("small", { text: note }) : null;
  if (kind === "table") {
    const head = h("tr", {}, ...columns.map((column) => h("th", { text: column, scope: "col" })));
    const body = rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", { text: cell }))));
    return h("dd", { class: "df-wide" }, h("div", { class: "df-frame", tabindex: 0, role: "region", "aria-label": `Table ${name}` },
      h("table", {}, h("thead", {}, head), h("tbody", {}, ...body))), told);
  }
  if (kind === "image" && IMAGES.has(mime)) {
    return h("dd", { class: "df-wide" }, h("img", { src: `data:${mime};base64,${data}`, alt: `${name}: ${note}` }), told);
  }
  return h("dd", {}, text ? h("code", { text }) : null, told);
}

function valueList(title, values) {
  const pairs = Object.entries(values ?? {});
  return pairs.length === 0 ? [] : [h("h4", { text: title }), h("dl", { class: "df-values" },
    ...pairs.flatMap(([name, told]) => {
      const value = valueOf(name, told);
      return [h("dt", { text: name, title: name, class: value.className }), value];
    }))];
}

function attemptTable(view, attempts) {
  if (attempts.length < 2) return [];
  const rows = attempts.map(({ attempt, status, started_at: start, finished_at: end, error }) => h("tr", {},
    h("td", { text: attempt }), stateCell(view, status), h("td", { text: start && end ? took(end - start) : "" }),
    h("td", { text: error ?? "" })));
  return [h("h4", { text: "Attempts" }), h("table", { "aria-label": "Attempts" }, h("tbody", {}, ...rows))];
}

function fold(title, text, { open = false, end = false } = {}) {
  const pre = h("pre", { class: "df-source", tabindex: 0, text, "aria-label": title });
  // what was raised stands in a traceback's last line
  if (end) requestAnimationFrame(() => { pre.scrollTop = pre.scrollHeight; });
  return h("details", { open }, h("summary", { text: title }), pre);
}
