// What a task asks for. Every field has a node, value(), set(), missing() and focus().
import { el, format, scale, segments, unique } from "./dom.js";
import { bugs, comments } from "./marks.js";
import { points, scores } from "./feedback.js";
import { content } from "./panels.js";
import { runner } from "./run.js";

export function makeField(spec, context) {
  const make = { text, flag, choice, scale: oneScale, checks, questions, pairs, cards, ladder, matrix, code, probe, comments, bugs, points, scores }[spec.type];
  const field = make(spec, context);
  const wrapped = ["text", "flag", "probe"].includes(spec.type)
    ? el("div", { class: "field" }, field.node)
    : el("fieldset", { class: "field" }, spec.label ? el("legend", {}, spec.label) : null, field.node);
  return { ...field, spec, node: wrapped };
}

function text(spec, { changed }) {
  const id = unique("t");
  const area = el("textarea", { id, rows: spec.rows ?? 4, oninput: changed, "aria-required": String(spec.needed) });
  area.value = spec.initial ?? "";
  return {
    node: el("div", {}, el("label", { for: id }, el("b", {}, spec.label)), area),
    value: () => area.value,
    set: (value) => { area.value = value; },
    missing: () => spec.needed && !area.value.trim(),
    focus: () => area.focus(),
  };
}

function flag(spec, { changed }) {
  const box = el("input", { type: "checkbox", onchange: changed });
  return {
    node: el("label", { class: "flag" }, box, spec.label),
    value: () => box.checked, set: (value) => { box.checked = value; }, missing: () => false, focus: () => box.focus(),
  };
}

function choice(spec, { changed }) {
  const name = unique("o");
  const inputs = spec.options.map((option) => el("input", { type: "radio", name, value: option.value, onchange: changed }));
  return {
    node: el("div", { role: "radiogroup", "aria-label": spec.label }, inputs.map((input, i) => el("label", { class: "flag" }, input, spec.options[i].label))),
    value: () => inputs.find((input) => input.checked)?.value ?? "",
    set: (value) => inputs.forEach((input) => { input.checked = input.value === value; }),
    missing: () => spec.needed !== false && !inputs.some((input) => input.checked),
    focus: () => inputs[0].focus(),
  };
}

function checks(spec, { changed }) {
  const boxes = spec.options.map((option) => el("input", { type: "checkbox", value: option.value, onchange: changed }));
  return {
    node: el("div", { role: "group", "aria-label": spec.label }, boxes.map((box, i) => el("label", { class: "flag" }, box, spec.options[i].label))),
    value: () => boxes.filter((box) => box.checked).map((box) => box.value),
    set: (value) => boxes.forEach((box) => { box.checked = value.includes(box.value); }),
    missing: () => false, focus: () => boxes[0].focus(),
  };
}

function oneScale(spec, { changed }) {
  const control = scale(spec, changed);
  return { ...control, missing: () => spec.needed !== false && control.value() === null };
}

function questions(spec, context) {
  const made = spec.questions.map((question) => ({ name: question.name, field: makeField({ rows: 3, ...question }, context) }));
  return {
    node: el("div", { class: "fields" }, made.map(({ field }) => field.node)),
    value: () => Object.fromEntries(made.map(({ name, field }) => [name, field.value()]).filter(([, value]) => value !== null)),
    set: (value) => made.forEach(({ name, field }) => { if (value[name] !== undefined) field.set(value[name]); }),
    missing: () => made.some(({ field }) => field.missing()),
    focus: () => (made.find(({ field }) => field.missing()) || made[0]).field.focus(),
  };
}

function pairs(spec, { t, changed }) {
  const list = el("div");
  let rows = [];
  function insert(pair) {
    const [query, response] = [pair.query, pair.response].map((value) => { const area = el("textarea", { rows: 2, oninput: changed }); area.value = value; return area; });
    const row = { query, response };
    row.node = el("div", { class: "entry" }, el("label", {}, t["ui.query"], query), el("label", {}, t["ui.response"], response),
      el("div", { class: "line" }, el("button", { type: "button", class: "end", onclick: () => { rows = rows.filter((each) => each !== row); row.node.remove(); changed(); } }, t["ui.delete"])));
    rows.push(row);
    list.append(row.node);
    return row;
  }
  const add = el("button", { type: "button", onclick: () => { insert({ query: "", response: "" }).query.focus(); changed(); } }, t["ui.addpair"]);
  return {
    node: el("div", {}, list, add),
    value: () => rows.map((row) => ({ query: row.query.value, response: row.response.value })),
    set: (value) => { rows = []; list.replaceChildren(); value.forEach(insert); },
    missing: () => !rows.length || rows.some((row) => !row.query.value.trim() || !row.response.value.trim()),
    focus: () => (list.querySelector("textarea") || add).focus(),
  };
}

function cards(spec, { changed }) {
  const made = spec.items.map((item) => {
    const overall = scale({ ...spec.scale, label: `${item.letter}: ${spec.scale.label}` }, changed);
    const flags = spec.flags.map((one) => ({ ...one, box: el("input", { type: "checkbox", onchange: changed }) }));
    const body = el("details", { open: true }, el("summary", {}, el("span", { class: "letter" }, item.letter)), content(item));
    const node = el("article", { class: "card", tabindex: "-1", "data-card": item.letter, "aria-label": item.letter }, body, overall.node,
      el("div", { class: "flags", role: "group", "aria-label": item.letter }, flags.map((one) => el("label", {}, one.box, one.label))));
    return { node, overall, flags };
  });
  return {
    node: el("div", {}, made.map((card) => card.node)),
    value: () => made.map((card) => ({ overall: card.overall.value(), flags: Object.fromEntries(card.flags.map((one) => [one.name, one.box.checked])) })),
    set: (value) => value.forEach((given, i) => { made[i].overall.set(given.overall); made[i].flags.forEach((one) => { one.box.checked = Boolean(given.flags?.[one.name]); }); }),
    missing: () => made.some((card) => card.overall.value() === null),
    focus: () => (made.find((card) => card.overall.value() === null) || made[0]).overall.focus(),
  };
}

// A place from 1 for every answer; the same place is a tie. Nothing is placed until somebody places it.
function ladder(spec, { t, changed, fields }) {
  const order = el("p", { class: "order", "aria-live": "polite" }), warn = el("p", { class: "hint" });
  const history = [];
  let last = spec.items.map(() => null);
  const rows = spec.items.map((letter) => segments(format(t["ui.place"], letter), spec.items.length, moved));
  const undo = el("button", { type: "button", disabled: true, onclick: () => back() }, t["ui.undo"]);
  const values = () => rows.map((row) => row.value());
  function moved() { history.push(last); last = values(); draw(); changed(); }
  function back() { if (history.length) { last = history.pop(); rows.forEach((row, i) => row.set(last[i])); draw(); changed(); } }
  function draw() {
    undo.disabled = !history.length;
    const places = [...new Set(last.filter((place) => place !== null))].sort((a, b) => a - b);
    order.textContent = places.map((place) => spec.items.filter((_, i) => last[i] === place).join(" = ")).join("  >  ");
    const given = fields.cards?.value().map((card) => card.overall) ?? [];
    const odd = spec.items.filter((_, i) => spec.items.some((__, j) => last[i] !== null && last[j] !== null && given[i] !== null && given[j] !== null && (last[i] - last[j]) * (given[i] - given[j]) > 0));
    warn.textContent = odd.length ? format(t["ui.contradiction"], odd.join(", ")) : "";
  }
  return {
    node: el("div", { class: "ladder" }, rows.map((row, i) => el("div", { class: "row" }, el("span", { class: "letter" }, spec.items[i]), row.node)), order, warn, el("div", {}, undo)),
    value: () => { const places = values(); return places.includes(null) ? places.map((place) => place ?? 0) : places.map((place) => 1 + places.filter((other) => other < place).length); },
    set: (value) => { rows.forEach((row, i) => row.set(value[i] || null)); last = values(); draw(); },
    missing: () => values().includes(null),
    focus: () => (rows.find((row) => row.value() === null) || rows[0]).focus(),
    refresh: draw, undo: back,
    shift: (i, by) => rows[i].choose((rows[i].value() ?? (by > 0 ? 0 : spec.items.length + 1)) + by),
    tie: (i) => { const place = i > 0 ? rows[i - 1].value() : null; if (place) rows[i].choose(place); },
  };
}

// Rows are attributes, columns critiques: what is judged by comparison stands side by side.
function matrix(spec, { t, changed }) {
  const cells = spec.rows.map((row) => spec.columns.map((letter) => segments(`${letter}: ${row.label}`, 7, changed, (i) => (i === 4 ? `4, ${t["ui.unsure"]}` : String(i)))));
  const head = el("thead", {}, el("tr", {}, el("td"), spec.columns.map((letter) => el("th", { scope: "col" }, el("span", { class: "letter" }, letter)))));
  const body = el("tbody", {}, spec.rows.map((row, i) => el("tr", {}, el("th", { scope: "row" }, row.label, el("span", { class: "ends" }, `1 = ${row.low}, 7 = ${row.high}`)), cells[i].map((cell) => el("td", {}, cell.node)))));
  const flat = () => cells.flat();
  return {
    node: el("div", { class: "scroll" }, el("table", { class: "matrix" }, head, body)),
    value: () => spec.columns.map((_, j) => spec.rows.reduce((rating, row, i) => {
      const value = cells[i][j].value();
      if (row.name.startsWith("cbi.")) rating.cbi.push(value); else rating[row.name] = value;
      return rating;
    }, { cbi: [] })),
    set: (value) => value.forEach((rating, j) => { let bug = 0; spec.rows.forEach((row, i) => cells[i][j].set(row.name.startsWith("cbi.") ? rating.cbi[bug++] : rating[row.name])); }),
    missing: () => flat().some((cell) => cell.value() === null),
    focus: () => (flat().find((cell) => cell.value() === null) || cells[0][0]).focus(),
  };
}

function code(spec, context) {
  const { t, nonce, changed } = context;
  const node = el("div", { class: "merge" }, el("div", { class: "heads", "aria-hidden": "true" }, el("span", {}, t["ui.original"]), el("span", {}, t["ui.changed"])));
  const editor = context.sideBySide({ parent: node, original: spec.original, text: spec.original, label: t["ui.changed"], originalLabel: t["ui.original"], nonce, code: !spec.prose, changed });
  node.append(el("div", { class: "heads" }, el("span", { class: "hint" }, t["ui.tab"]), el("button", { type: "button", onclick: () => editor.set(spec.original) }, t["ui.reset"])));
  if (context.task.run && !spec.prose) node.append(runner(editor.text, context));
  return {
    node, value: editor.text, set: editor.set, focus: editor.focus, selectedLines: editor.selectedLines,
    missing: () => editor.text() === spec.original,
  };
}

// Ask a model in the background and show what it says; nothing waits for it.
function probe(spec, { t, ask, fields }) {
  const out = el("div", { "aria-live": "polite" });
  const button = el("button", { type: "button", onclick: async () => {
    button.disabled = true;
    out.textContent = t["ui.asking"];
    const result = await ask(Object.fromEntries(spec.reads.map((name) => [name, fields[name].value()])));
    button.disabled = false;
    if (result.error) out.textContent = format(t["ui.noanswer"], result.error);
    else if (result.text !== undefined) { out.textContent = ""; fields[spec.fills].set(result.text); fields[spec.fills].focus(); }
    else out.replaceChildren(el("p", {}, format(t["ui.caught"], result.count, result.of)), ...result.critiques.map((critique) => el("details", {}, el("summary", {}, critique.split("\n").find((line) => line.trim() && !line.includes("```"))?.slice(0, 80) ?? ""), el("pre", { class: "prose" }, critique))));
  } }, spec.label);
  return { node: el("div", {}, button, out), value: () => undefined, set: () => {}, missing: () => false, focus: () => button.focus() };
}
