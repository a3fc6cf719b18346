// Levels, services and fields of what is shown; a click adds a term to the query or takes it out.

import { useState } from "preact/hooks";
import type { Facet } from "./event.ts";
import { asksFor, levels, parse } from "./query.ts";
import { Icon, Text } from "./shown.tsx";
import { store } from "./store.ts";
import { count, cut, short } from "./text.ts";

const mostServices = 30;
const mostFields = 40;
const mostValues = 10;

export function Sidebar() {
  const [open, setOpen] = useState("");
  const [all, setAll] = useState(false);
  const f = store.facets();
  const s = store.shown;
  const asked = parse(store.place.q);
  const found = s?.services;
  const names = new Map<string, number>();
  for (const service of store.services ?? []) names.set(service.name, 0);
  for (const [name, n] of f.services) names.set(name, n);
  for (const [name, n] of found ?? []) names.set(name, n);
  const services = [...names].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const sum = services.reduce((n, [, m]) => n + m, 0);
  const fields = [...f.fields].sort((a, b) => b[1].rows - a[1].rows || (a[0] < b[0] ? -1 : 1));
  const shownLevels = levels.filter((l) => f.levels.has(l) || asksFor(asked, "level", l));
  return (
    <aside class={store.sidebar ? "unfolded" : ""} aria-label="Filters">
      <h3>Level</h3>
      {(shownLevels.length ? shownLevels : ["error", "warning", "info"]).map((l) => (
        <Choice field="level" value={l} asked={asksFor(asked, "level", l)} note={count(f.levels.get(l) ?? 0)} className={`level ${l}`} />
      ))}
      <h3>Service</h3>
      {services.slice(0, all ? services.length : mostServices).map(([name, n]) => (
        <Choice field="service" value={name} asked={asksFor(asked, "service", name)} note={n ? short(n) : ""} share={sum ? n / sum : 0} />
      ))}
      {services.length > mostServices && (
        <button class="link" onClick={() => setAll(!all)}>
          {all ? "fewer" : `all ${count(services.length)}`}
        </button>
      )}
      {services.length === 0 && <p class="x">none yet</p>}
      {fields.length > 0 && <h3>Fields</h3>}
      {fields.slice(0, mostFields).map(([name, facet]) => (
        <>
          <div class="choice">
            <button class="pick" aria-expanded={open === name} onClick={() => setOpen(open === name ? "" : name)}>
              <span class="name">
                <Text text={cut(name, 60)} />
              </span>
              <span class="n">{facet.values.size ? `${facet.values.size}${facet.many ? "+" : ""}` : ""}</span>
            </button>
          </div>
          {open === name && <Values name={name} facet={facet} />}
        </>
      ))}
      {fields.length > mostFields && <p class="x">and {count(fields.length - mostFields)} more</p>}
      {f.rows > 0 && s && f.rows < s.items.length && <p class="x">levels and fields: the newest {count(f.rows)} rows</p>}
    </aside>
  );
}

function Values({ name, facet }: { name: string; facet: Facet }) {
  const asked = parse(store.place.q);
  const values = [...facet.values].sort((a, b) => b[1] - a[1]);
  return (
    <div class="values">
      {values.slice(0, mostValues).map(([v, n]) => (
        <Choice field={name} value={v} asked={asksFor(asked, name, v)} note={count(n)} share={n / facet.rows} />
      ))}
      {values.length > mostValues && (
        <p class="x">
          and {values.length - mostValues}
          {facet.many ? "+" : ""} more
        </p>
      )}
      {values.length === 0 && <p class="x">nested values</p>}
    </div>
  );
}

function Choice({
  field,
  value,
  asked,
  note,
  share,
  className = "",
}: {
  field: string;
  value: string;
  asked: "with" | "without" | undefined;
  note: string;
  share?: number;
  className?: string;
}) {
  return (
    <div class={`choice ${asked ?? ""} ${className}`}>
      <button
        class="pick"
        aria-pressed={asked === "with"}
        title={asked ? "Take it out of the query" : "Only with it"}
        onClick={() => store.toggle(field, value, asked ?? "with")}
      >
        <span class="name">{value ? <Text text={cut(value, 80)} /> : <i>empty</i>}</span>
        <span class="n">{note}</span>
        {share ? <i class="bar" style={{ "--share": `${share * 100}%` }} /> : null}
      </button>
      <button
        class="plain not"
        aria-pressed={asked === "without"}
        title={asked === "without" ? "Take it out of the query" : "Without it"}
        aria-label={`Without ${cut(value, 60)}`}
        onClick={() => store.toggle(field, value, "without")}
      >
        <Icon name="minus" />
      </button>
    </div>
  );
}
