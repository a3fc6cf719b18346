// The menu for the range of time.

import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./shown.tsx";
import { store } from "./store.ts";
import { duration, fullTime, rangeLabel, ranges, readTime, standardSince } from "./time.ts";

/** A range's end as one writes it: local, without what is zero. */
const asWritten = (text: string) =>
  text === "" || text === "all" || duration(text) !== undefined
    ? text
    : fullTime(text)
        .replace(/ [+-]\d\d:\d\d$/, "")
        .replace(/(:\d\d)(?:\.0+)?$/, "$1");

export function RangeMenu() {
  const menu = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);
  const [since, setSince] = useState("");
  const [until, setUntil] = useState("");
  const [problem, setProblem] = useState("");
  const now = new Date();

  useEffect(() => {
    if (!open) return;
    setSince(asWritten(store.place.since));
    setUntil(asWritten(store.place.until));
    setProblem("");
    const outside = (e: Event) => menu.current?.contains(e.target as Node) || setOpen(false);
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [open]);

  const pick = (since: string, until: string) => {
    setOpen(false);
    store.go({ since, until, live: store.place.live && !until, id: "" }, { run: true });
  };
  const custom = (e: Event) => {
    e.preventDefault();
    const from = readTime(since, now);
    const to = readTime(until, now);
    if (from === undefined || to === undefined || to === "all") {
      setProblem(`${from === undefined ? "From" : "Until"} is no time: write 15m, 14:05, yesterday 14:00, 2026-11-21 14:05, or RFC 3339`);
    } else pick(from || standardSince, to);
  };

  return (
    <div class="menu" ref={menu} onKeyDown={(e) => e.key === "Escape" && (e.stopPropagation(), setOpen(false))}>
      <button aria-haspopup="true" aria-expanded={open} onClick={() => setOpen(!open)}>
        {rangeLabel(store.place, now)}
        <Icon name="down" />
      </button>
      {open && (
        <div class="sheet">
          <ul>
            {ranges.map((r) => (
              <li>
                <button aria-current={r.since === store.place.since && !store.place.until ? "true" : undefined} onClick={() => pick(r.since, "")}>
                  {r.label}
                </button>
              </li>
            ))}
          </ul>
          <form onSubmit={custom}>
            <label>
              From
              <input value={since} onInput={(e) => setSince(e.currentTarget.value)} placeholder="2026-11-21 14:05, 3h" spellcheck={false} />
            </label>
            <label>
              Until
              <input value={until} onInput={(e) => setUntil(e.currentTarget.value)} placeholder="now" spellcheck={false} />
            </label>
            {problem && (
              <p class="problem" role="alert">
                {problem}
              </p>
            )}
            <button class="primary">Show</button>
          </form>
        </div>
      )}
    </div>
  );
}
