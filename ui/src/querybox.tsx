// The query box: a text area whose letters are transparent, over the same text in colours. Below it what the server says
// about the query, or suggestions.

import { useRef, useState } from "preact/hooks";
import { builtins, fieldName, levels, paint, valueText, writing } from "./query.ts";
import { Text } from "./shown.tsx";
import { store } from "./store.ts";

interface Suggestion {
  text: string; // what is put in
  note: string;
}

const most = 9;

/** What could stand at the caret. */
function suggest(text: string, caret: number): { from: number; all: Suggestion[] } | undefined {
  const w = writing(text, caret);
  if (!w || (w.part === "" && !w.field)) return undefined;
  const facets = store.facets();
  const part = w.part.toLowerCase();
  let all: Suggestion[];
  if (!w.field) {
    const names = new Map<string, string>();
    for (const name of builtins) names.set(name, "built in");
    for (const [name, f] of facets.fields) if (!names.has(name)) names.set(name, `${f.values.size}${f.many ? "+" : ""} values`);
    all = [...names].map(([name, note]) => ({ text: fieldName(name) + ":", note }));
  } else if (w.field === "level") all = levels.map((l) => ({ text: l, note: String(facets.levels.get(l) ?? "") }));
  else if (w.field === "service") {
    const names = new Set([...facets.services.keys(), ...(store.services ?? []).map((s) => s.name)]);
    all = [...names].map((name) => ({ text: valueText(name), note: String(facets.services.get(name) ?? "") }));
  } else {
    const values = [...(facets.fields.get(w.field)?.values ?? [])].sort((a, b) => b[1] - a[1]);
    all = values.filter(([v]) => v.length <= 100).map(([v, n]) => ({ text: valueText(v), note: String(n) }));
  }
  const found = all.filter((s) => s.text.toLowerCase().includes(part) && s.text !== w.part);
  found.sort((a, b) => Number(b.text.toLowerCase().startsWith(part)) - Number(a.text.toLowerCase().startsWith(part)));
  return found.length ? { from: w.from, all: found.slice(0, most) } : undefined;
}

export function QueryBox() {
  const area = useRef<HTMLTextAreaElement>(null);
  const [open, setOpen] = useState<{ from: number; to: number; all: Suggestion[]; chosen: number }>();
  const [back, setBack] = useState(-1); // how far in the history; -1: not
  const [draft, setDraft] = useState("");
  const [focused, setFocused] = useState(false);
  const { error, hints } = store.advice;

  const put = (text: string, caret = text.length) => {
    store.setText(text);
    const a = area.current!;
    a.value = text;
    a.setSelectionRange(caret, caret);
  };
  const take = (s: Suggestion) => {
    if (!open) return;
    const end = s.text.endsWith(":") ? "" : /^\s/.test(store.text.slice(open.to)) ? "" : " ";
    put(store.text.slice(0, open.from) + s.text + end + store.text.slice(open.to), open.from + s.text.length + end.length);
    setOpen(undefined);
    area.current!.focus();
    if (s.text.endsWith(":")) look();
  };
  const look = () => {
    const a = area.current!;
    const found = a.selectionStart === a.selectionEnd ? suggest(a.value, a.selectionStart) : undefined;
    setOpen(found && { ...found, to: a.selectionStart, chosen: -1 });
  };
  const earlier = (step: number) => {
    const at = Math.min(back + step, store.history.length - 1);
    if (at === back) return;
    if (back === -1) setDraft(store.text);
    setBack(at);
    put(at < 0 ? draft : store.history[at]!);
  };
  const onKey = (e: KeyboardEvent) => {
    if (e.isComposing) return;
    const chosen = open && open.chosen >= 0 ? open.all[open.chosen] : undefined;
    if (e.key === "Enter") {
      e.preventDefault();
      if (chosen) return take(chosen);
      setOpen(undefined);
      setBack(-1);
      area.current!.blur();
      return store.submit();
    }
    if (e.key === "Escape") {
      if (open) setOpen(undefined);
      else area.current!.blur();
    } else if (e.key === "Tab" && open && !e.shiftKey) take(chosen ?? open.all[0]!);
    else if (e.key === "ArrowDown" && open && back < 0) setOpen({ ...open, chosen: (open.chosen + 1) % open.all.length });
    else if (e.key === "ArrowUp" && open && open.chosen >= 0) setOpen({ ...open, chosen: open.chosen - 1 });
    else if (e.key === "ArrowUp" || (e.key === "ArrowDown" && back >= 0)) {
      setOpen(undefined);
      earlier(e.key === "ArrowUp" ? 1 : -1);
    } else return;
    e.preventDefault();
  };

  return (
    <div class="query">
      <div class={`box ${error ? "wrong" : ""}`}>
        <pre aria-hidden="true">
          {paint(store.parsed, error).map((p) => (
            <span class={`${p.kind ?? ""}${p.negated ? " negated" : ""}${p.bad ? " bad" : ""}`}>{p.text}</span>
          ))}
          {"\u200b"}
        </pre>
        <textarea
          ref={area}
          rows={1}
          value={store.text}
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          placeholder='Search: words, "a phrase", service:pay* level>=warning -healthz'
          aria-label="Query"
          aria-invalid={error !== undefined}
          aria-describedby={error ? "query-problem" : undefined}
          aria-autocomplete="list"
          aria-controls="suggestions"
          aria-activedescendant={open && open.chosen >= 0 ? `suggestion-${open.chosen}` : undefined}
          onInput={(e) => {
            const a = e.currentTarget;
            if (/[\r\n]/.test(a.value)) a.value = a.value.replace(/\s*[\r\n]+\s*/g, " ");
            store.setText(a.value);
            setBack(-1);
            look();
          }}
          onKeyDown={onKey}
          onFocus={() => setFocused(true)}
          onBlur={() => {
            setFocused(false);
            setOpen(undefined);
          }}
        />
      </div>
      {open && (
        <ul id="suggestions" class="suggestions" role="listbox" aria-label="Suggestions">
          {open.all.map((s, i) => (
            <li id={`suggestion-${i}`} role="option" aria-selected={i === open.chosen} onMouseDown={(e) => (e.preventDefault(), take(s))}>
              <Text text={s.text} />
              <small>{s.note}</small>
            </li>
          ))}
        </ul>
      )}
      {error && !open && (
        <p id="query-problem" class="problem" role="alert">
          <b>
            <Text text={error.message} />
          </b>
          {error.mend && (
            <>
              {" · "}
              <Text text={error.mend} />
            </>
          )}
        </p>
      )}
      {!error && !open && focused && hints.length > 0 && (
        <p class="problem hint">
          {hints.map((h) => (
            <span>
              <b>
                <Text text={h.message} />
              </b>
              {h.mend && " · "}
              <Text text={h.mend} />
            </span>
          ))}
        </p>
      )}
    </div>
  );
}
