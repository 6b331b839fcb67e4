// Comments and bugs: entries that are bound to lines of the answer.
import { el, format, unique } from "./dom.js";

// The words of lines first to last, without the blank lines around them, and the line that they begin on.
export function quoteOf(lines, first, last) {
  while (first < last && !lines[first - 1].trim()) first++;
  return { highlight: lines.slice(first - 1, last).join("\n").trim(), line: first };
}

// The lines that a quote stands on: from the line that is given, or else where it first stands.
function place(panel, { highlight, line }) {
  const answer = panel.lines.join("\n"), at = answer.indexOf(highlight);
  if (at < 0) return null;
  const first = line ?? answer.slice(0, at).split("\n").length;
  return [first, first + highlight.split("\n").length - 1];
}

export function comments(spec, { t, panels, changed }) {
  const panel = panels[spec.target];
  const list = el("div"), empty = el("p", { class: "empty" }, t["ui.nocomments"]);
  const add = el("button", { type: "button", class: "primary", disabled: true, onclick: () => {
    const [first, last] = panel.range();
    insert({ id: "", ...quoteOf(panel.lines, first, last), text: "" }, true);
    panel.clear(); add.disabled = true; changed();
  } }, t["ui.addcomment"]);
  panel.onpick((range) => { add.disabled = !range; add.focus(); });
  let entries = [];

  function insert(comment, focus) {
    const lines = place(panel, comment), id = unique("c");
    const light = (on) => lines && panel.light(on ? lines[0] : null, lines[1]);
    const text = el("textarea", { rows: 3, id, oninput: changed });
    text.value = comment.text;
    const entry = { ...comment, deleted: false, lines };
    const remove = el("button", { type: "button", class: "end", onclick: () => {
      entry.deleted = !entry.deleted;
      node.classList.toggle("deleted", entry.deleted);
      text.disabled = entry.deleted;
      remove.textContent = entry.deleted ? t["ui.restore"] : t["ui.delete"];
      changed();
    } }, t["ui.delete"]);
    const where = lines ? format(lines[0] === lines[1] ? t["ui.line"] : t["ui.lines"], ...lines) : t["ui.unmatched"];
    const node = el("div", { class: "entry", onmouseenter: () => light(true), onmouseleave: () => light(false), onfocusin: () => light(true), onfocusout: () => light(false) },
      el("div", { class: "line" }, el("span", { class: "hint" }, where), remove),
      el("pre", { class: "quote" }, comment.highlight), el("label", { for: id, class: "hint" }, t["ui.comment"]), text);
    entry.text = () => text.value;
    entry.node = node;
    entries.push(entry);
    entries.sort((a, b) => (a.lines?.[0] ?? 1e9) - (b.lines?.[0] ?? 1e9));
    list.replaceChildren(...entries.map((each) => each.node));
    empty.hidden = true;
    if (focus) text.focus();
  }
  spec.initial.forEach((comment) => insert(comment, false));
  return {
    node: el("div", {}, empty, list, add),
    value: () => entries.filter((entry) => !entry.deleted).map((entry) => ({ id: entry.id, highlight: entry.highlight, text: entry.text().trim(), line: entry.lines?.[0] ?? null })),
    set: (value) => { entries = []; list.replaceChildren(); empty.hidden = value.length > 0; value.forEach((comment) => insert(comment, false)); },
    missing: () => entries.some((entry) => !entry.deleted && !entry.text().trim()),
    empty: () => entries.every((entry) => entry.deleted),
    focus: () => (list.querySelector("textarea") || panel.node?.querySelector("button[tabindex='0']") || add).focus(),
  };
}

export function bugs(spec, context) {
  const { t, panels, fields, changed } = context;
  const panel = panels[spec.target];
  const list = el("div");
  const lines = () => panel ? panel.lines : fields[spec.target].value().split("\n");
  const add = el("button", { type: "button", class: panel ? "primary" : "", disabled: Boolean(panel), onclick: () => {
    const range = panel ? panel.range() : fields[spec.target].selectedLines();
    insert({ first: range[0], last: range[1], description: "", severity: "major" }, true);
    if (panel) { panel.clear(); add.disabled = true; }
    changed();
  } }, t["ui.addbug"]);
  panel?.onpick((range) => { add.disabled = !range; add.focus(); });
  let entries = [];

  function insert(bug, focus) {
    const number = (value) => { const input = el("input", { type: "number", min: 1, value, inputmode: "numeric", oninput: update }); return input; };
    const first = number(bug.first), last = number(bug.last), id = unique("b");
    const quote = el("pre", { class: "quote" });
    const severity = el("select", { onchange: changed }, ["minor", "major", "critical"].map((name) => el("option", { value: name }, t[`ui.${name}`])));
    severity.value = bug.severity;
    const text = el("textarea", { rows: 3, id, oninput: changed });
    text.value = bug.description;
    const entry = { value: () => ({ first: Number(first.value), last: Number(last.value), description: text.value.trim(), severity: severity.value }), text };
    function update() { quote.textContent = lines().slice(Number(first.value) - 1, Number(last.value)).join("\n") || " "; changed(); }
    entry.refresh = () => { quote.textContent = lines().slice(Number(first.value) - 1, Number(last.value)).join("\n") || " "; };
    entry.refresh();
    const remove = el("button", { type: "button", class: "end", onclick: () => { entries = entries.filter((each) => each !== entry); entry.node.remove(); add.focus(); changed(); } }, t["ui.delete"]);
    entry.node = el("div", { class: "entry" },
      el("div", { class: "line" }, el("label", {}, t["ui.first"], first), el("label", {}, t["ui.last"], last), el("label", {}, t["ui.severity"], severity), remove),
      quote, el("label", { for: id, class: "hint" }, t["ui.describe"]), text);
    entries.push(entry);
    list.append(entry.node);
    if (focus) text.focus();
  }
  return {
    node: el("div", {}, panel ? el("p", { class: "hint" }, t["ui.pickfirst"]) : null, list, add),
    value: () => entries.map((entry) => entry.value()),
    set: (value) => { entries = []; list.replaceChildren(); value.forEach((bug) => insert(bug, false)); },
    missing: () => (spec.needed && !entries.length) || entries.some((entry) => !entry.text.value.trim()),
    empty: () => !entries.length,
    refresh: () => entries.forEach((entry) => entry.refresh()),
    focus: () => (list.querySelector("textarea") || (panel ? panel.node?.querySelector("button[tabindex='0']") : null) || add).focus(),
  };
}
