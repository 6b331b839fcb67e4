// What the workbench needs of CodeMirror 6: a side-by-side editor, the original left (read only), the change right.
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers, drawSelection, highlightActiveLine } from "@codemirror/view";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, defaultHighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { MergeView } from "@codemirror/merge";

export function sideBySide({ parent, original, text, label, originalLabel, nonce, code, changed }) {
  const shared = (name) => [
    lineNumbers(),
    drawSelection(),
    EditorState.tabSize.of(4),
    indentUnit.of("    "),
    code ? [python(), syntaxHighlighting(defaultHighlightStyle)] : [],
    EditorView.lineWrapping,
    EditorView.cspNonce.of(nonce),
    EditorView.contentAttributes.of({ "aria-label": name }),
  ];
  // Escape, then Tab, leaves the editor: nobody who works by keyboard is caught in it.
  let leaving = false;
  const tab = [
    { key: "Escape", run: () => { leaving = true; return true; } },
    { key: "Tab", run: (view) => { const out = leaving; leaving = false; return out ? false : indentWithTab.run(view); } },
    { key: "Shift-Tab", run: (view) => { const out = leaving; leaving = false; return out ? false : indentWithTab.shift(view); } },
  ];
  const merge = new MergeView({
    parent,
    a: { doc: original, extensions: [shared(originalLabel), EditorState.readOnly.of(true)] },
    b: {
      doc: text,
      extensions: [
        shared(label), history(), indentOnInput(), bracketMatching(), highlightActiveLine(),
        keymap.of([...tab, ...defaultKeymap, ...historyKeymap]),
        EditorView.updateListener.of((update) => { if (update.docChanged) changed(update.state.doc.toString()); }),
      ],
    },
    gutter: true,
    highlightChanges: true,
  });
  return {
    text: () => merge.b.state.doc.toString(),
    set: (value) => merge.b.dispatch({ changes: { from: 0, to: merge.b.state.doc.length, insert: value } }),
    focus: () => merge.b.focus(),
    selectedLines: () => {
      const range = merge.b.state.selection.main;
      const end = range.to > range.from && merge.b.state.doc.lineAt(range.to).from === range.to ? range.to - 1 : range.to;
      return [merge.b.state.doc.lineAt(range.from).number, merge.b.state.doc.lineAt(end).number];
    },
  };
}
