// Small helpers shared by the modules of the work page.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name === "html") node.innerHTML = value; // HTML that the server has cleaned, and nothing else
    else if (name in node && typeof value === "boolean") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function format(text, ...values) {
  let next = 0;
  return text.replace(/\{(\d*)\}/g, (_, place) => values[place === "" ? next++ : Number(place)]);
}

let count = 0;
export const unique = (prefix) => `${prefix}-${++count}`;

// 1 to high as buttons in a row; `value()` is null until one is chosen.
export function segments(label, high, changed, describe = (i) => String(i)) {
  const name = unique("s");
  const inputs = Array.from({ length: high }, (_, i) =>
    el("input", { type: "radio", name, value: i + 1, "aria-label": describe(i + 1), onchange: changed }));
  const node = el("span", { class: "segments", role: "radiogroup", "aria-label": label },
    inputs.map((input, i) => el("label", {}, input, el("span", { "aria-hidden": "true" }, String(i + 1)))));
  const control = {
    node,
    value: () => { const on = inputs.find((input) => input.checked); return on ? Number(on.value) : null; },
    set: (value) => inputs.forEach((input) => { input.checked = Number(input.value) === value; }),
    choose: (value) => { if (value >= 1 && value <= high) { control.set(value); inputs[value - 1].focus(); changed(); } },
    focus: () => (inputs.find((input) => input.checked) || inputs[0]).focus(),
  };
  node.control = control;
  return control;
}

export function scale(spec, changed) {
  const control = segments(spec.label, 7, changed);
  const node = el("div", { class: "scale" }, el("span", { class: "ends" }, `1 = ${spec.low}`), control.node,
    el("span", { class: "ends" }, `7 = ${spec.high}`));
  return { ...control, node };
}

// Text with what stands between backticks as code.
export const withCode = (text) => text.split(/(`[^`\n]+`)/).map((part, i) => (i % 2 ? el("code", {}, part.slice(1, -1)) : part));
