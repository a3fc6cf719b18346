// What a search found and whether that is all: the line above the rows.

import { parse } from "./query.ts";
import { Text } from "./shown.tsx";
import { store } from "./store.ts";
import { count, milliseconds, plural, short } from "./text.ts";

const serious = ["emergency", "alert", "critical", "error"];

export function Status() {
  const s = store.current;
  if (!s) return null;
  const f = store.facets();
  const sum = s.summary;
  const rows = store.shown?.items.length ?? 0;
  const errors = serious.reduce((n, l) => n + (f.levels.get(l) ?? 0), 0);
  const warnings = f.levels.get("warning") ?? 0;
  const all = f.rows >= rows ? "" : ` among the newest ${count(f.rows)}`;
  const matched =
    s.total !== undefined ? plural(s.total, "match", "matches") : s.state === "done" ? `more than ${plural(rows, "match", "matches")}` : "";
  return (
    <div class="status">
      {errors > 0 && (
        <button class="chip error" title={`Rows loaded${all}: show only these`} onClick={() => store.addTerm("level>=error")}>
          <b>{count(errors)}</b> {errors === 1 ? "error" : "errors"}
        </button>
      )}
      {warnings > 0 && (
        <button class="chip warning" title={`Rows loaded${all}: show only these`} onClick={() => store.toggle("level", "warning")}>
          <b>{count(warnings)}</b> {warnings === 1 ? "warning" : "warnings"}
        </button>
      )}
      <Reports />
      <span class="sum" role="status" aria-live={store.place.live ? "off" : "polite"}>
        {s.state === "running" && "searching …"}
        {s.state === "done" && sum && (
          <>
            {matched}
            {s.counting && ", counting …"}
            {s.arrived > 0 && `, ${count(s.arrived)} live`}
            {s.arrived === 0 && sum.searched.events >= rows && (
              <span class="of">
                {" "}
                in {short(sum.searched.events)} {sum.searched.events === 1 ? "event" : "events"}
              </span>
            )}{" "}
            · {milliseconds(sum.took_ms)} · {sum.complete ? "complete" : <b class="incomplete">not complete</b>}
          </>
        )}
        {s.state === "failed" && <b class="incomplete">no answer</b>}
      </span>
      {s.state === "running" && <div class="progress" />}
    </div>
  );
}

/** Says that regular reports are left out, where there are some, and shows them. */
function Reports() {
  const { reports } = store.place;
  const named = parse(store.place.q).terms.some((t) => t.field === "service" || t.field === "stream"); // then nothing is left out
  if (named || !store.services?.some((s) => s.name === "probe" || s.name === "docker")) return null;
  return (
    <button
      class="chip"
      aria-pressed={reports}
      title="What probes and containers report regularly: results of checks, CPU and memory"
      onClick={() => store.go({ reports: !reports, id: "" }, { run: true })}
    >
      {reports ? "with reports" : "reports hidden"}
    </button>
  );
}

/** What the server has to say about an answer: errors, why it is incomplete, advice. */
export function Notes() {
  const s = store.current;
  if (!s) return null;
  const problem = s.problem && !(s.problem.place && store.advice.error) && s.problem.status !== 401 ? s.problem : undefined;
  return (
    <>
      {problem && (
        <p class="note bad" role="alert">
          <b>
            <Text text={problem.message} />
          </b>
          {problem.mend && " · "}
          <Text text={problem.mend} />
          <button onClick={() => store.run()}>Search again</button>
        </p>
      )}
      {s.summary && !s.summary.complete && (
        <p class="note bad">
          <b>Not complete</b>
          {(s.summary.reasons ?? []).map((r) => (
            <>
              {" · "}
              <Text text={r} />
            </>
          ))}
        </p>
      )}
      {s.warnings.map((w) => (
        <p class="note">
          <Text text={w} />
        </p>
      ))}
    </>
  );
}
