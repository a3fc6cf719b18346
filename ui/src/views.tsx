// The simple views: services, alerts, containers, probes.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Service } from "./api.ts";
import { readAddress, type List } from "./links.ts";
import { fieldTerm } from "./query.ts";
import { Text } from "./shown.tsx";
import { store } from "./store.ts";
import { bytes, count, hue, plainText, plural, short } from "./text.ts";
import { age, fullTime } from "./time.ts";

type Cell = { sort: string | number; show: ComponentChildren; title?: string };

/** A table that sorts by a click on a column's head. */
function Table<T>({
  name,
  rows,
  columns,
  first,
  open,
}: {
  name: string;
  rows: T[];
  columns: [head: string, cell: (row: T) => Cell, kind?: "number"][];
  first: number;
  open: (row: T) => void;
}) {
  const [sort, setSort] = useState({ column: first, down: false });
  const cell = columns[sort.column]![1];
  const sorted = [...rows].sort((a, b) => {
    const [x, y] = [cell(a).sort, cell(b).sort];
    return (x < y ? -1 : x > y ? 1 : 0) * (sort.down ? -1 : 1);
  });
  return (
    <div class="table">
      <table aria-label={name}>
        <thead>
          <tr>
            {columns.map(([head, , kind], i) => (
              <th class={kind} aria-sort={i === sort.column ? (sort.down ? "descending" : "ascending") : undefined}>
                <button class="plain" onClick={() => setSort({ column: i, down: i === sort.column ? !sort.down : kind === "number" })}>
                  {head}
                  {i === sort.column ? (sort.down ? " ↓" : " ↑") : ""}
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.map((row) => (
            <tr onClick={() => document.getSelection()?.toString() || open(row)}>
              {columns.map(([head, cell, kind], i) => {
                const c = cell(row);
                return (
                  <td class={kind} data-head={head} title={c.title}>
                    {i === 0 ? (
                      <button class="link" onClick={(e) => (e.stopPropagation(), open(row))}>
                        {c.show}
                      </button>
                    ) : (
                      c.show
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const text = (s: string | undefined): Cell => ({ sort: s ?? "", show: s ? <Text text={s} /> : "", title: s ? plainText(s) : undefined });
const named = (s: string): Cell => ({
  sort: s,
  show: (
    <span class="s" style={{ "--hue": hue(plainText(s)) }}>
      <Text text={s} />
    </span>
  ),
});
const number = (n: number | undefined, show: (n: number) => ComponentChildren = count): Cell => ({
  sort: n ?? -1,
  show: n === undefined ? "" : show(n),
});

function when(time: string | undefined): Cell {
  const d = time ? new Date(time) : undefined;
  if (!d || isNaN(d.getTime()) || d.getTime() <= 0) return { sort: 0, show: "" };
  return { sort: d.getTime(), show: `${age(Date.now() - d.getTime())} ago`, title: fullTime(time!) };
}

const good = /^(?:up|running|healthy|ok|resolved)$/;
const bad = /^(?:down|dead|unhealthy|restarting|oom|firing)$/;

/** A state by colour and word. */
const state = (s: string | undefined): Cell => ({
  sort: !s ? 3 : bad.test(s) ? 0 : good.test(s) ? 2 : 1,
  show: s ? (
    <span class={`state ${bad.test(s) ? "bad" : good.test(s) ? "good" : ""}`}>
      <i aria-hidden="true" />
      <Text text={s} />
    </span>
  ) : (
    ""
  ),
});

const explore = (q: string) => store.ask(q);

export function Services() {
  const rows = store.services;
  if (!rows) return <Loading />;
  const level = (s: Service, ...names: string[]) => names.reduce((n, l) => n + (s.levels[l] ?? 0), 0);
  return (
    <>
      <h1>Services {rows.length > 0 && <small>{count(rows.length)}</small>}</h1>
      {rows.length === 0 ? (
        <p class="x">No service has sent anything yet.</p>
      ) : (
        <Table
          name="Services"
          rows={rows}
          first={0}
          open={(s) => explore(fieldTerm("service", [s.name]))}
          columns={[
            ["Service", (s) => named(s.name)],
            ["Events", (s) => number(s.events, short), "number"],
            ["Errors", (s) => number(level(s, "emergency", "alert", "critical", "error"), (n) => (n ? <b class="bad">{short(n)}</b> : "")), "number"],
            ["Warnings", (s) => number(level(s, "warning"), (n) => (n ? <b class="warn">{short(n)}</b> : "")), "number"],
            ["Size", (s) => number(s.bytes, bytes), "number"],
            ["Last seen", (s) => when(s.last_seen), "number"],
            ["First seen", (s) => when(s.first_seen), "number"],
            ["Hosts", (s) => text(s.hosts.length > 3 ? plural(s.hosts.length, "host") : s.hosts.join(", "))],
          ]}
        />
      )}
    </>
  );
}

interface Alert {
  rule: string;
  service: string;
  title: string;
  state: string;
  count: number;
  since: string;
  last: string;
  acknowledged?: string;
  by?: string;
  resolved?: string;
  link?: string;
}

export function Alerts() {
  const list = store.lists.alerts;
  const rows = (list?.rows ?? []) as Alert[];
  return (
    <>
      <h1>Alerts {rows.length > 0 && <small>{count(rows.length)}</small>}</h1>
      <Problem list="alerts" />
      {rows.length > 0 ? (
        <Table
          name="Alerts"
          rows={rows}
          first={1}
          open={(a) => (a.link ? store.go(readAddress(a.link.slice(a.link.indexOf("?"))), { run: true }) : explore(fieldTerm("service", [a.service])))}
          columns={[
            ["Alert", (a) => text(a.title)],
            ["State", (a) => state(a.state)],
            ["Since", (a) => when(a.resolved || a.acknowledged || a.since), "number"],
            ["Service", (a) => named(a.service)],
            ["Events", (a) => number(a.count), "number"],
            ["Last", (a) => when(a.last), "number"],
            ["Rule", (a) => text(a.rule)],
            ["Acknowledged by", (a) => text(a.by)],
          ]}
        />
      ) : (
        list && !list.loading && <p class="x">None: nothing fires, and nothing did since yesterday. Rules need a channel of Slack, or Pushover, to tell somebody.</p>
      )}
      {!list && <Loading />}
    </>
  );
}

interface Container {
  container: string;
  service: string;
  host: string;
  image?: string;
  version?: string;
  state: string;
  health?: string;
  logs?: string;
  started?: string;
  restarts: number;
  cpu_percent?: number;
  memory_bytes?: number;
  memory_limit_bytes?: number;
  last: string;
}

export function Containers() {
  const list = store.lists.containers;
  const rows = (list?.rows ?? []) as Container[];
  return (
    <>
      <h1>Containers {rows.length > 0 && <small>{count(rows.length)}</small>}</h1>
      <Problem list="containers" />
      {rows.length > 0 ? (
        <Table
          name="Containers"
          rows={rows}
          first={1}
          open={(c) => explore(fieldTerm("container", [c.container]))}
          columns={[
            ["Container", (c) => text(c.container)],
            ["State", (c) => state(c.state === "running" && c.health && c.health !== "none" ? c.health : c.state)],
            ["Service", (c) => named(c.service)],
            ["Version", (c) => text(c.version)],
            ["CPU", (c) => number(c.cpu_percent, (n) => `${n < 10 ? n.toFixed(1) : Math.round(n)} %`), "number"],
            [
              "Memory",
              (c) => ({ ...number(c.memory_bytes, bytes), ...(c.memory_limit_bytes ? { title: `of ${bytes(c.memory_limit_bytes)}` } : {}) }),
              "number",
            ],
            ["Restarts", (c) => number(c.restarts || undefined, (n) => <b class="warn">{count(n)}</b>), "number"],
            ["Started", (c) => when(c.started), "number"],
            ["Host", (c) => text(c.host)],
            ["Measured", (c) => when(c.last), "number"],
            ["Logs", (c) => text(c.logs)],
            ["Image", (c) => text(c.image)],
          ]}
        />
      ) : (
        list && !list.loading && <p class="x">None seen. lookout lists the containers of each machine where it, or an agent, has Docker's socket.</p>
      )}
      {!list && <Loading />}
    </>
  );
}

interface Probe {
  name: string;
  target: string;
  host?: string;
  url?: string;
  state: string;
  since?: string;
  last: string;
  duration_ms: number;
  status?: number;
  cert_days?: number;
  error?: string;
}

export function Probes() {
  const list = store.lists.probes;
  const rows = (list?.rows ?? []) as Probe[];
  return (
    <>
      <h1>Probes {rows.length > 0 && <small>{count(rows.length)}</small>}</h1>
      <Problem list="probes" />
      {rows.length > 0 ? (
        <Table
          name="Probes"
          rows={rows}
          first={1}
          open={(p) => store.go({ view: "explore", q: fieldTerm("probe", [p.name]), reports: true, id: "" }, { run: true })}
          columns={[
            ["Probe", (p) => text(p.name)],
            ["State", (p) => state(p.state)],
            ["Since", (p) => when(p.since), "number"],
            ["Service", (p) => named(p.target)],
            ["Status", (p) => number(p.status, String), "number"],
            ["Took", (p) => number(p.duration_ms, (n) => `${n < 10 ? n.toFixed(1) : Math.round(n)} ms`), "number"],
            ["Certificate", (p) => number(p.cert_days, (n) => <span class={n < 14 ? "warn" : ""}>{plural(Math.floor(n), "day")}</span>), "number"],
            ["Checked", (p) => when(p.last), "number"],
            ["Error", (p) => text(p.error)],
            ["Address", (p) => text(p.url)],
            ["From", (p) => text(p.host)],
          ]}
        />
      ) : (
        list &&
        !list.loading && (
          <p class="x">
            None. A container gets one by the label <code>lookout.probe=http://:8080/status</code>, anything else by <code>probes:</code> in the
            configuration.
          </p>
        )
      )}
      {!list && <Loading />}
    </>
  );
}

const Loading = () => <p class="x">loading …</p>;

function Problem({ list }: { list: List }) {
  const problem = store.lists[list]?.problem;
  if (!problem) return null;
  return (
    <p class="note bad" role="alert">
      <b>
        <Text text={problem.message} />
      </b>
      {problem.mend && " · "}
      <Text text={problem.mend} />
      <button onClick={() => void store.load(list)}>Try again</button>
    </p>
  );
}
