// Feedback on a document: the document left, the points right, every quote linked both ways.
import { el, format, unique } from "./dom.js";

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// Where words stand in a text, whatever the white space between them and their case; null where they do not.
export function find(text, words) {
  const parts = words.trim().split(/\s+/).filter(Boolean);
  const match = parts.length ? new RegExp(parts.map(escaped).join("\\s+"), "iu").exec(text) : null;
  return match && [match.index, match.index + match[0].length];
}

export function documentPanel(spec, node, { t }) {
  const text = spec.pieces.map((piece) => piece.text).join("\n\n");
  const page = el("div", { class: "document", tabindex: "0", role: "document", "aria-label": spec.label });
  let selected = "", spans = [], goto = () => {};
  node.append(page);
  document.addEventListener("selectionchange", () => {
    const selection = document.getSelection();
    if (selection.rangeCount && !selection.isCollapsed && page.contains(selection.anchorNode)) selected = selection.toString().trim();
  });

  function draw() {
    let start = 0;
    page.replaceChildren(...spec.pieces.map((piece) => {
      const end = start + piece.text.length, first = start;
      start = end + 2;
      const inside = spans.filter((span) => span.from < end && span.to > first);
      const cuts = [...new Set([first, end, ...inside.flatMap((span) => [Math.max(span.from, first), Math.min(span.to, end)])])].sort((a, b) => a - b);
      return el("p", { class: piece.kind }, cuts.slice(1).map((right, i) => {
        const left = cuts[i], words = text.slice(left, right);
        const here = inside.filter((span) => span.from <= left && span.to >= right);
        if (!here.length) return words;
        return el("mark", { "data-points": here.map((span) => span.number).join(" ") },
          here.filter((span) => span.from === left).map((span) => el("button", {
            type: "button", class: "pin", "data-number": span.number, "aria-label": format(t["ui.topoint"], span.number), onclick: () => goto(span.number),
          })), words);
      }));
    }));
  }
  function light(number) { for (const mark of page.querySelectorAll("mark")) mark.classList.toggle("lit", mark.dataset.points.split(" ").includes(String(number))); }
  draw();
  return {
    selection: () => selected,
    mark: (quotes, callback) => {
      spans = quotes.flatMap(({ number, quote }) => { const at = find(text, quote); return at ? [{ number, from: at[0], to: at[1] }] : []; });
      goto = callback;
      draw();
    },
    has: (quote) => find(text, quote) !== null,
    light,
    show: (number) => {
      const mark = [...page.querySelectorAll("mark")].find((each) => each.dataset.points.split(" ").includes(String(number)));
      light(number);
      mark?.scrollIntoView({ block: "center" });
      mark?.querySelector(".pin")?.focus({ preventScroll: true });
    },
  };
}

// A text area over a copy of its text, in which words can be marked; it grows with what is written.
function marked(area, patterns) {
  const copy = el("div", { class: "copy", "aria-hidden": "true" });
  const hint = el("p", { class: "hint lookat", id: unique("h") });
  area.setAttribute("aria-describedby", hint.id);
  function draw(t) {
    const words = area.value, found = new Map();
    const spans = patterns.flatMap(({ word, pattern }) => [...words.matchAll(pattern)].map((match) => { found.set(word, true); return [match.index, match.index + match[0].length]; })).sort((a, b) => a[0] - b[0]);
    const parts = [];
    let at = 0;
    for (const [from, to] of spans) if (from >= at) { parts.push(words.slice(at, from), el("mark", {}, words.slice(from, to))); at = to; }
    copy.replaceChildren(...parts, `${words.slice(at)}\n`);
    hint.textContent = found.size ? format(t["ui.lookat"], [...found.keys()].join(", ")) : "";
    hint.hidden = !found.size;
  }
  return { node: el("div", {}, el("div", { class: "grown" }, copy, area), hint), draw };
}

const pattern = (word) => new RegExp(`(?<![\\p{L}\\p{N}_])${escaped(word)}${/^[\x00-\x7f]*$/.test(word) ? "(?![\\p{L}\\p{N}_])" : ""}`, "giu");

export function points(spec, { t, panels, changed }) {
  const panel = panels[spec.target], patterns = spec.avoid.map((word) => ({ word, pattern: pattern(word) }));
  const sections = spec.sections.map((section) => {
    const list = el("ol"), entries = [];
    const add = el("button", { type: "button", onclick: () => { insert({ text: "", details: [], quote: "" }).text.focus(); changed(); refresh(); } }, t["ui.addpoint"]);
    function insert(point) { const entry = makePoint(section, point); entries.push(entry); list.append(entry.node); return entry; }
    section.points.forEach(insert);
    const node = el("section", { class: "points", "aria-label": section.title }, el("h3", {}, section.title), list, add);
    return { section, node, entries, insert, clear: () => { entries.length = 0; list.replaceChildren(); } };
  });
  const all = () => sections.flatMap((each) => each.entries);
  const open = () => all().filter((entry) => !entry.deleted);

  function makePoint(section, point) {
    const label = (id, words) => el("label", { for: id, class: "hint" }, words);
    const area = (value, rows = 1) => { const node = el("textarea", { id: unique("p"), rows, oninput: () => { changed(); refresh(); } }); node.value = value; return node; };
    const entry = { text: area(point.text, 2), details: area(point.details.join("\n")), quote: area(point.quote), deleted: false };
    const text = marked(entry.text, patterns), details = marked(entry.details, patterns), quote = marked(entry.quote, []);
    const unknown = el("p", { class: "problem", hidden: true }, t["ui.notinside"]), status = el("p", { class: "hint", role: "status" });
    const number = el("button", { type: "button", class: "pin", onclick: () => panel.show(entry.number) });
    const remove = el("button", { type: "button", class: "end", onclick: () => {
      entry.deleted = !entry.deleted;
      entry.node.classList.toggle("deleted", entry.deleted);
      for (const each of [entry.text, entry.details, entry.quote, take]) each.disabled = entry.deleted;
      remove.textContent = entry.deleted ? t["ui.restore"] : t["ui.delete"];
      changed(); refresh();
    } }, t["ui.delete"]);
    const take = el("button", { type: "button", onclick: () => {
      const words = panel.selection();
      status.textContent = words ? "" : t["ui.selectfirst"];
      if (words) { entry.quote.value = words.replace(/\s+/g, " "); changed(); refresh(); }
    } }, t["ui.quoteselected"]);
    const light = (on) => panel.light(on ? entry.number : null);
    entry.text.setAttribute("aria-label", section.title);
    entry.node = el("li", { class: "entry", onmouseenter: () => light(true), onmouseleave: () => light(false), onfocusin: () => light(true), onfocusout: () => light(false) },
      el("div", { class: "line" }, number, remove), text.node,
      section.details || point.details.length ? el("div", {}, label(entry.details.id, t["ui.details"]), details.node) : null,
      section.quote === "no" ? null : el("div", {}, label(entry.quote.id, t["ui.quoteof"]), quote.node, unknown, el("div", { class: "line" }, take, status)));
    entry.draw = (n) => {
      entry.number = n;
      number.dataset.number = n;
      number.setAttribute("aria-label", format(t["ui.showquote"], n));
      number.disabled = !entry.quote.value.trim();
      entry.node.value = n;
      for (const each of [text, details, quote]) each.draw(t);
      entry.wrong = Boolean(entry.quote.value.trim()) && !panel.has(entry.quote.value);
      unknown.hidden = !entry.wrong;
      entry.lacking = !entry.text.value.trim() || (section.quote === "must" && !entry.quote.value.trim());
    };
    return entry;
  }
  function refresh() {
    open().forEach((entry, i) => entry.draw(i + 1));
    panel.mark(open().map((entry) => ({ number: entry.number, quote: entry.quote.value })), (number) => open()[number - 1]?.text.focus());
  }
  refresh();
  const bad = () => open().find((entry) => entry.wrong || entry.lacking);
  return {
    node: el("div", {}, spec.hint ? el("p", { class: "hint" }, spec.hint) : null, sections.map((each) => each.node)),
    value: () => sections.map(({ section, entries }) => ({ key: section.key, points: entries.filter((entry) => !entry.deleted).map((entry) => ({
      text: entry.text.value, details: entry.details.value.split("\n").filter((line) => line.trim()), quote: entry.quote.value.trim() })) })),
    set: (value) => { for (const each of sections) { const given = value.find((one) => one.key === each.section.key); each.clear(); given?.points.forEach(each.insert); } refresh(); },
    missing: () => Boolean(bad()),
    focus: () => { const entry = bad() ?? open()[0]; (entry?.wrong ? entry.quote : entry?.text)?.focus(); },
  };
}

export function scores(spec, { changed }) {
  const inputs = spec.scores.map((score) => { const input = el("input", { type: "number", min: score.low, max: score.high, value: score.value, inputmode: "numeric", oninput: changed }); return { score, input }; });
  const wrong = () => inputs.find(({ input }) => !input.value || !input.checkValidity());
  return {
    node: el("div", { class: "scores" }, inputs.map(({ score, input }) => el("label", {}, `${score.title} (${score.low}–${score.high})`, input))),
    value: () => Object.fromEntries(inputs.map(({ score, input }) => [score.key, Number(input.value)])),
    set: (value) => inputs.forEach(({ score, input }) => { if (value[score.key] !== undefined) input.value = value[score.key]; }),
    missing: () => Boolean(wrong()),
    focus: () => (wrong() ?? inputs[0]).input.focus(),
  };
}
