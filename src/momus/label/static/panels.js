// What a task shows: prose, conversations, code with lines that can be chosen, bugs, critiques, somebody's submission.
import { el, format, withCode } from "./dom.js";
import { documentPanel } from "./feedback.js";
import { runner } from "./run.js";

export function makePanel(spec, context) {
  const node = el("section", { class: `panel panel-${spec.type}`, "aria-label": spec.label }, el("h2", {}, spec.label));
  const make = { prose, turns, code, bugs, critiques, given, judgements, document: documentPanel }[spec.type];
  return { ...make(spec, node, context), node };
}

export function content(spec) {
  if (spec.type === "turns") return spec.turns.map((turn) =>
    el("div", { class: "turn" }, el("b", {}, turn.role), el("div", { class: "prose", html: turn.html })));
  return [el("div", { class: "prose", html: spec.html })];
}

function prose(spec, node) { node.append(...content(spec)); return {}; }
const turns = prose;

// One button for each line; only one is in the Tab order, arrows move, Enter or a click chooses the first and the last.
function code(spec, node, context) {
  const { t } = context;
  const hint = el("p", { class: "hint", "aria-live": "polite", hidden: true }, t["ui.pickfirst"]);
  const buttons = spec.lines.map((line, i) => el("button", {
    type: "button", tabindex: i ? "-1" : "0", "aria-label": `${i + 1}: ${line}`,
    onclick: () => pick(i), onkeydown: (event) => move(event, i),
  }, String(i + 1)));
  const items = spec.lines.map((line, i) => el("li", {}, buttons[i], el("span", {}, line || " ")));
  for (const mark of spec.marks) for (let i = mark.first; i <= mark.last; i++) {
    items[i - 1].classList.add("marked");
    if (i === mark.first) items[i - 1].append(el("b", { class: "tag" }, format(t["ui.bug"], mark.name)));
  }
  node.append(hint, el("ol", { class: spec.prose ? "code wrap" : "code", "aria-label": spec.label }, items));
  if (context.task.run && !spec.prose) node.append(runner(() => spec.lines.join("\n"), context));
  let first = null, range = null, listener = null;

  function move(event, i) {
    const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: buttons.length - 1, PageDown: i + 15, PageUp: i - 15 }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    focusLine(Math.max(0, Math.min(buttons.length - 1, to)));
  }
  function focusLine(i) { buttons.forEach((button, j) => { button.tabIndex = i === j ? 0 : -1; }); buttons[i].focus(); }
  function light(kind, from, to) {
    items.forEach((item, i) => item.classList.toggle(kind, from !== null && i + 1 >= from && i + 1 <= to));
  }
  function pick(i) {
    if (!listener) return;
    if (first === null) { first = i + 1; range = null; light("picked", first, first); hint.textContent = t["ui.picklast"]; return; }
    range = [Math.min(first, i + 1), Math.max(first, i + 1)];
    first = null;
    light("picked", ...range);
    hint.textContent = t["ui.pickfirst"];
    listener(range);
  }
  return {
    lines: spec.lines,
    onpick: (callback) => { listener = callback; hint.hidden = false; },
    range: () => range || (first !== null ? [first, first] : null),
    clear: () => { range = null; first = null; light("picked", null); hint.textContent = t["ui.pickfirst"]; },
    light: (from, to) => light("lit", from, to),
    show: (from) => items[from - 1]?.scrollIntoView({ block: "nearest" }),
  };
}

function bugs(spec, node) {
  if (!spec.items.length) node.append(el("p", { class: "empty" }, spec.none));
  else node.append(el("ol", {}, spec.items.map((bug) => el("li", {}, withCode(bug.text)))));
  return {};
}

export function commentNode(comment, target, t) {
  const where = comment.lines ? format(comment.lines[0] === comment.lines[1] ? t["ui.line"] : t["ui.lines"], ...comment.lines) : t["ui.unmatched"];
  const light = (on) => { if (comment.lines && target) { target.light(on ? comment.lines[0] : null, comment.lines[1]); if (on) target.show(comment.lines[0]); } };
  return el("div", { class: "comment", onmouseenter: () => light(true), onmouseleave: () => light(false), onfocusin: () => light(true), onfocusout: () => light(false) },
    el("button", { type: "button", class: comment.lines ? "quote" : "quote unmatched", "aria-label": `${where}: ${comment.highlight}` }, comment.highlight),
    el("p", { class: "hint" }, where), el("p", {}, withCode(comment.text)));
}

function critiques(spec, node, { panels, t }) {
  const target = panels[spec.target];
  node.append(el("div", { class: "critiques" }, spec.items.map((item) =>
    el("article", { class: "critique", tabindex: "-1", "data-card": item.letter, "aria-label": `${spec.label} ${item.letter}` },
      el("h3", {}, el("span", { class: "letter" }, item.letter)),
      item.comments.map((comment) => commentNode(comment, target, t)),
      item.closing ? el("p", {}, item.closing) : null))));
  return {};
}

// A submission to be checked: every field's label with what was given back.
function given(spec, node) {
  node.append(el("h3", {}, spec.title));
  for (const field of spec.fields) if (spec.content[field.name] !== undefined)
    node.append(el("h3", {}, field.label || ""), show(spec.content[field.name]));
  return {};
}

// What labelers judged, a column each; any of them can be taken as the beginning of the decision.
function judgements(spec, node, { t, begin }) {
  node.append(sideBySide(spec, t, (name, i) =>
    el("button", { type: "button", "aria-label": `${t["ui.begin"]}: ${name}`, onclick: () => begin(spec.contents[i]) }, t["ui.begin"])));
  return {};
}

export function sideBySide(spec, t, button = () => null) {
  const head = el("tr", {}, el("td"), spec.columns.map((name, i) => el("th", { scope: "col" }, name, " ", button(name, i))));
  const body = spec.rows.map((row) => el("tr", { class: row.differs ? "differs" : null },
    el("th", { scope: "row" }, row.label, row.differs ? el("span", { class: "mark" }, `≠ ${t["ui.differs"]}`) : null),
    row.cells.map((cell) => el("td", {}, cell || "–"))));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": spec.label || spec.columns.join(", ") },
    el("table", { class: "judgements" }, el("thead", {}, head), el("tbody", {}, body)));
}

export function show(value) {
  if (Array.isArray(value)) return el("ol", {}, value.map((item) => el("li", {}, show(item))));
  if (value && typeof value === "object") return el("dl", {}, Object.entries(value).map(([name, item]) => [el("dt", {}, name), el("dd", {}, show(item))]));
  return el("pre", { class: "prose" }, String(value));
}
