// The run button: the server runs the code in its cage, with some lines after it, and says what they wrote.
import { el, format, unique } from "./dom.js";

export function runner(code, { t, run }) {
  const id = unique("r"), out = el("pre", { class: "output", role: "status", hidden: true });
  const lines = el("textarea", { id, rows: 2, spellcheck: "false", autocapitalize: "off" });
  const button = el("button", { type: "button", onclick: async () => {
    button.disabled = true;
    out.hidden = false;
    out.textContent = t["ui.running"];
    try {
      const ended = await run(code(), lines.value);
      const how = ended.stopped ? t[`ui.stopped.${ended.stopped}`] : ended.exit ? format(t["ui.exit"], ended.exit) : "";
      out.textContent = [ended.stdout, ended.stderr, how].map((text) => text.trimEnd()).filter(Boolean).join("\n") || t["ui.nothingwritten"];
    } catch (error) { out.textContent = error.message; }
    button.disabled = false;
  } }, t["ui.run"]);
  return el("div", { class: "run" }, el("label", { for: id }, t["ui.runlines"]), lines, button, out);
}
