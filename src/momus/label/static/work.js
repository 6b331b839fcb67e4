// A task on screen: builds it, keeps a draft on the server, holds the lease, submits exactly once.
import { el } from "./dom.js";
import { makeField } from "./fields.js";
import { makePanel, sideBySide } from "./panels.js";

const task = JSON.parse(document.getElementById("task").textContent);
const t = task.words, root = document.getElementById("work"), kept = `momus-draft-${task.token}`;
let revision = task.revision, dirty = false, saving = null, closed = false, active = 0, lastInput = Date.now();
let pending = null; // the request that is being submitted: its name stays the same until its content changes

async function call(method, path, body) {
  const response = await fetch(`/api/work/${task.token}/${path}`, {
    method, headers: { "Content-Type": "application/json", "X-CSRF-Token": task.csrf }, body: body && JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.error || response.statusText), { status: response.status, after: Number(response.headers.get("retry-after")) });
  return answer;
}

const saved = el("span", { class: "saved", role: "status" }, t["ui.saved"]);
function say(state) { saved.textContent = t[`ui.${state}`]; saved.className = `saved ${state}`; }
const banner = el("div", { class: "banner", role: "alert", hidden: true });
function warn(...content) { banner.replaceChildren(...content); banner.hidden = !content.length; }

function begin(content) { fill(content); changed(); fields[0].focus(); }

const context = { t, task, begin, panels: {}, fields: {}, changed, ask, run: (code, then) => call("POST", "run", { code, then }), nonce: document.querySelector("meta[name=csp-nonce]").content };
if (task.view.fields.some((field) => field.type === "code")) Object.assign(context, await import("/static/vendor/codemirror.js"));

const panels = task.view.panels.map((spec) => { const panel = makePanel(spec, context); if (spec.id) context.panels[spec.id] = panel; return panel; });
const fields = task.view.fields.map((spec) => { const field = makeField(spec, context); context.fields[spec.name] = field; return field; });

const submitButton = el("button", { type: "button", class: "primary", onclick: submit }, t["ui.submit"]);
const help = el("dialog", { "aria-label": t["ui.help"] }, el("h2", {}, t["ui.help"]),
  el("dl", { class: "keys" }, [["Ctrl Enter", "submit"], ["?", "help"], ["j k", "next"], ["1 … 7", "rate"], ["[ ]", "move"], ["=", "tie"], ["u", "undo"], ["↑ ↓ Enter", "lines"], ["Esc", "escape"]]
    .flatMap(([keys, name]) => [el("dt", {}, keys.split(" ").map((key) => [el("kbd", {}, key), " "]).flat()), el("dd", {}, t[`key.${name}`])])),
  el("form", { method: "dialog" }, el("button", { class: "primary" }, t["ui.close"])));
const reason = el("textarea", { rows: 3, required: true, "aria-label": t["ui.reason"] });
const declining = el("dialog", { "aria-label": t["ui.decline"] }, el("h2", {}, t["ui.reason"]), reason,
  el("p", {}, el("button", { type: "button", class: "primary", onclick: decline }, t["ui.decline"].replace(" …", "")), " ", el("button", { type: "button", onclick: () => declining.close() }, t["ui.cancel"])));

root.append(
  el("div", { class: "bar" }, el("h1", {}, task.view.title), saved, el("div", { class: "right" },
    el("button", { type: "button", class: "quiet", onclick: () => help.showModal() }, `${t["ui.help"]} (?)`),
    el("button", { type: "button", onclick: () => { reason.value = ""; declining.showModal(); } }, t["ui.decline"]), submitButton)),
  banner,
  el("details", { class: "steps", open: true }, el("summary", {}, t["ui.steps"]), el("ol", {}, task.view.steps.map((step) => el("li", {}, step)))),
  el("div", { class: "columns" }, panels.length ? el("div", { class: "panels" }, panels.map((panel) => panel.node)) : null, el("div", { class: "fields" }, fields.map((field) => field.node))),
  help, declining);
if (!panels.length) root.querySelector(".columns").style.gridTemplateColumns = "1fr";

function values() { return Object.fromEntries(fields.map((field) => [field.spec.name, field.value()]).filter(([, value]) => value !== undefined)); }
function fill(content) { for (const field of fields) if (content[field.spec.name] !== undefined && content[field.spec.name] !== null) field.set(content[field.spec.name]); }

const local = JSON.parse(localStorage.getItem(kept) || "null");
if (task.draft) fill(task.draft);
if (local && local.revision === revision) { fill(local.content); dirty = true; say("unsaved"); }
for (const field of fields) field.refresh?.();

function changed() {
  if (closed) return;
  dirty = true;
  lastInput = Date.now();
  for (const field of fields) { field.node.classList.remove("missing"); field.refresh?.(); }
  localStorage.setItem(kept, JSON.stringify({ revision, content: values() }));
  say("unsaved");
  clearTimeout(saving);
  saving = setTimeout(save, 800);
}

async function save() {
  if (!dirty || closed) return;
  dirty = false;
  say("saving");
  try {
    const content = values();
    revision = (await call("PUT", "draft", { revision, content })).revision;
    if (!dirty) { localStorage.removeItem(kept); say("saved"); } else localStorage.setItem(kept, JSON.stringify({ revision, content: values() }));
  } catch (error) {
    dirty = true;
    if (error.status === 409) { warn(t["ui.taken"]); say("unsaved"); return; }
    say("offline");
    clearTimeout(saving);
    saving = setTimeout(save, error.after ? error.after * 1000 : 3000);
  }
}

setInterval(async () => {
  if (closed) return;
  try { await call("POST", "heartbeat", {}); } catch (error) { if (error.status === 410) warn(t["ui.lapsed"]); }
}, Math.max(1000, task.lease * 1000 / 3));
setInterval(() => { if (!document.hidden && Date.now() - lastInput < 60000 && !closed) active += 1; }, 1000);
for (const name of ["pointerdown", "keydown", "scroll"]) addEventListener(name, () => { lastInput = Date.now(); }, { passive: true });
addEventListener("online", save);
addEventListener("beforeunload", (event) => { if (dirty && !closed) { save(); event.preventDefault(); } });

async function ask(content) {
  const request = crypto.randomUUID();
  try {
    await call("POST", "probe", { request, content });
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 700));
      const { result } = await call("GET", `probe/${request}`);
      if (result) return result;
    }
  } catch (error) { return { error: error.message }; }
}

function missing() {
  const nothing = context.fields.nothing?.value();
  return fields.filter((field) => field.missing() || (context.fields.nothing && field.empty && field.empty() === !nothing));
}

async function submit() {
  if (closed) return;
  const open = missing();
  fields.forEach((field) => field.node.classList.toggle("missing", open.includes(field)));
  if (open.length) {
    warn(t["ui.missing"], el("ul", {}, open.map((field) => el("li", {}, field.spec.label || task.view.title))));
    open[0].focus();
    return;
  }
  const content = values(), text = JSON.stringify(content);
  if (!pending || pending.text !== text) pending = { text, request: crypto.randomUUID() };
  submitButton.disabled = true;
  clearTimeout(saving);
  for (let wait = 1; ; wait = Math.min(wait * 2, 20)) {
    try {
      done(await call("POST", "submission", { request: pending.request, content, active }));
      return;
    } catch (error) {
      if (error.status && error.status < 500 && error.status !== 429) { warn(error.message); submitButton.disabled = false; return; }
      warn(t["ui.failed"]);
      await new Promise((resolve) => setTimeout(resolve, (error.after || wait) * 1000));
    }
  }
}

function done(answer) {
  closed = true;
  localStorage.removeItem(kept);
  const next = el("button", { type: "button", class: "primary", onclick: () => document.getElementById("next").submit() }, t["ui.next"]);
  const shown = answer.feedback ? root.querySelector(".columns") : null; // it is looked at once more beside the result
  shown?.querySelectorAll("input, textarea, button, select").forEach((control) => { control.disabled = true; });
  root.replaceChildren(el("div", { class: answer.feedback ? "narrow wide centred" : "narrow" }, el("h1", {}, t["ui.submitted"]),
    answer.status === "surplus" ? el("p", {}, t["ui.surplus"]) : null,
    answer.feedback ? trained(answer.feedback) : null,
    task.view.kind === "feedback" ? el("p", {}, el("a", { href: `/feedback/${answer.id}` }, t["ui.print"])) : null,
    el("p", {}, next, " ", el("a", { href: "/" }, t["ui.home"]))));
  if (shown) root.append(el("h2", {}, t["ui.thetask"]), shown);
  next.focus();
}

// How a training task was done: in words first, then what was given beside what is expected.
function trained(feedback) {
  return el("section", { class: "trained", "aria-label": t["ui.training"] },
    el("p", { class: feedback.right ? "note" : "banner" }, el("b", {}, t[feedback.right ? "ui.right" : "ui.wrong"])),
    feedback.note ? el("p", { class: "given" }, feedback.note) : null,
    el("h2", {}, t["ui.training"]), sideBySide(feedback, t));
}

async function decline() {
  if (!reason.value.trim()) { reason.focus(); return; }
  try { await call("POST", "decline", { reason: reason.value }); closed = true; localStorage.removeItem(kept); location.assign("/"); }
  catch (error) { declining.close(); warn(error.message); }
}

// Keys act only where nobody is writing, and never while a syllable is being composed.
addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); submit(); return; }
  const at = event.target;
  const writing = at.isContentEditable || at.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const cards = [...root.querySelectorAll("[data-card]")], ladder = context.fields.ranks;
  const here = cards.findIndex((card) => card.contains(at));
  if (event.key === "?") { help.showModal(); event.preventDefault(); }
  else if (event.key === "j" || event.key === "k") { if (cards.length) cards[Math.max(0, Math.min(cards.length - 1, here + (event.key === "j" ? 1 : -1)))].focus(); }
  else if (/^[1-9]$/.test(event.key)) { const group = at.closest(".segments") || cards[here]?.querySelector(".segments"); if (group) { group.control.choose(Number(event.key)); event.preventDefault(); } }
  else if (event.key === "u" && ladder) ladder.undo();
  else if (["[", "]", "="].includes(event.key) && ladder && here >= 0) event.key === "=" ? ladder.tie(here) : ladder.shift(here, event.key === "[" ? -1 : 1);
});
document.getElementById("main").focus({ preventScroll: true });
