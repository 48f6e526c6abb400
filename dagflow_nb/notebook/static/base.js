// What all parts of the live view share: states, elements, texts.

const ENDED = new Set(["completed", "cached", "recovered", "failed", "skipped", "cancelled"]);
const STATES = ["completed", "cached", "recovered", "running", "retrying", "paused", "failed", "cancelled",
  "skipped", "pending"];
const OVER = new Set(["completed", "failed", "cancelled", "interrupted"]);
// Of a bunch's counts those come first that want to be seen (as in paint.py and drawing.py).
const COUNTED = ["failed", "running", "retrying", "paused", "pending", "cancelled", "skipped", "recovered",
  "cached", "completed"];
const LOUD = ["failed", "paused", "running", "retrying", "pending"];
const LOST = new Set(["skipped", "cancelled"]);
const FOLDS = { auto: "Collapse if big", groups: "Collapse groups", actions: "Collapse by action",
  nothing: "Show everything" };
const EDGE = 16; // pixels around the graph (MARGIN in paint.py)
const LINES_KEPT = 1000, ROWS_SHOWN = 2000, CALM_ABOVE = 150, GLIDE_BELOW = 400;
const ESTIMATE = "The mean time of the nodes of each action that have ended, for each that has not, divided by how "
  + "many ran at once so far. Nodes that are added later are not foreseen.";
const ANSWER_MS = 1200; // a kernel that is free answers within some milliseconds

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("class", "df-icon");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", `M0 0${path ?? ""}`);
  svg.append(line);
  return svg;
}

function svgElement(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const setText = (node, text) => { if (node && node.textContent !== text) node.textContent = text; };
const two = (n) => String(n).padStart(2, "0");

function took(seconds) { // the same as style.duration in the kernel
  seconds = Math.max(0, seconds);
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
}

const amount = (number) => number < 10000 ? String(Math.round(number)) // the same as style.amount
  : number < 1e6 ? `${Math.round(number / 1000)}k` : `${(number / 1e6).toFixed(1)}M`;

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const rest = `${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return whole < 3600 ? rest : `${Math.floor(whole / 3600)}:${rest}`;
}

const wallClock = (at) => new Date(at * 1000).toLocaleTimeString();

// Pieces of a node's streamed text that follow each other are one line (as in page.append_lines).
const TEXT_KEPT = 2000;
const joins = (last, [id, , stream]) =>
  stream === "token" && last?.[2] === stream && last[0] === id && last[1].length < TEXT_KEPT;

const push = (map, key, value) => { if (map.has(key)) map.get(key).push(value); else map.set(key, [value]); };
const keep = (event) => { event.preventDefault(); event.stopPropagation(); }; // from whoever else listens
const questionKey = (one) => JSON.stringify([one.branch, one.since, one.question, one.reason]);

// A node's attempts as `[start, end, state]`: told only where there is more to them than the node's own times.
const triesOf = ({ tries, started, finished, state }) =>
  tries ?? (started ? [[started, finished ?? null, state]] : []);
const span = (seen) => seen.started && seen.finished ? took(seen.finished - seen.started) : "";
const stateCell = (view, state) =>
  h("td", { class: "df-count", "data-state": state }, icon(view.iconOf(state)), state);
const stateMark = (view, state, text) =>
  h("span", { class: "df-count", "data-state": state }, icon(view.iconOf(state)), text);
