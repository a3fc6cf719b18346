// What a list without rows says: how to go on.

import type { Search } from "./search.ts";
import { Text } from "./shown.tsx";
import { store } from "./store.ts";
import { duration, rangeLabel, ranges } from "./time.ts";

export function Empty({ search }: { search: Search }) {
  if (search.state === "failed" && search.problem) return <div class="empty" />;
  if (!search.done || !store.services) return null;
  if (store.services.length === 0) return <NoEvents />;
  const wider = search.range.until
    ? undefined
    : ranges.find((r) => r.since === "all" || (duration(r.since) ?? 0) > (duration(search.range.since) ?? Infinity));
  return (
    <div class="empty">
      <h2>{search.range.since === "all" ? "Nothing matches" : "Nothing matches in this range"}</h2>
      <p class="x">
        {rangeLabel(search.range, new Date())}
        {search.q && (
          <>
            {" · "}
            <code>
              <Text text={search.q} />
            </code>
          </>
        )}
      </p>
      <p>
        {search.range.since !== "all" && wider && wider.since !== "all" && (
          <button onClick={() => store.go({ since: wider.since }, { run: true })}>{wider.label}</button>
        )}{" "}
        {(search.range.since !== "all" || search.range.until) && (
          <button onClick={() => store.go({ since: "all", until: "" }, { run: true })}>All time</button>
        )}{" "}
        {search.q && <button onClick={() => store.ask("")}>All events</button>}{" "}
        {store.place.live ? (
          <span class="x">New ones are shown as they arrive.</span>
        ) : (
          <button onClick={() => store.setLive(true)}>Wait for new ones</button>
        )}
      </p>
    </div>
  );
}

function NoEvents() {
  const host = location.hostname.includes(":") ? `[${location.hostname}]` : location.hostname;
  const ways: [string, string, string][] = [
    [
      "A container",
      "by Docker's own gelf driver",
      `docker run --log-driver gelf \\\n  --log-opt gelf-address=udp://${host}:12201 \\\n  --log-opt gelf-compression-type=none IMAGE`,
    ],
    ["A pipe", "any program's output", "myprogram 2>&1 | lookout send --service myprogram"],
    [
      "HTTP",
      "one JSON object a line",
      `curl -H "Authorization: Bearer $(cat lookout-data/token)" \\\n  --data-binary '{"service":"shop","message":"hello"}' \\\n  ${location.origin}/api/v1/events`,
    ],
    ["GELF", "any library, over UDP", `${host}:12201`],
  ];
  return (
    <div class="empty">
      <h2>No events yet</h2>
      <p class="x">Send some; they are shown here as they arrive.</p>
      <dl>
        {ways.map(([name, note, text]) => (
          <>
            <dt>
              {name} <span class="x">{note}</span>
            </dt>
            <dd>
              <pre>{text}</pre>
              <button onClick={() => void store.copy(text, "the command")}>Copy</button>
            </dd>
          </>
        ))}
      </dl>
    </div>
  );
}
