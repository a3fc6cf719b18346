// An open row: all its fields, the whole message, and the next things a person would do.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { aborted, Failure, query } from "./api.ts";
import { requestOf, valueText, valuesOf, type LogEvent, type Value } from "./event.ts";
import { command, placeOf, writeAddress } from "./links.ts";
import { Cells, levelClass } from "./list.tsx";
import { asksFor, fieldTerm } from "./query.ts";
import { Icon, Text } from "./shown.tsx";
import { store } from "./store.ts";
import { bytes, cut, withoutColours } from "./text.ts";
import { age, fullTime, moved } from "./time.ts";

const folded = 10; // lines of a message
const mostText = 50_000; // characters of it
const mostValue = 2000;

export function Detail({ event: e }: { event: LogEvent }) {
  const [around, setAround] = useState(0);
  const request = requestOf(e);
  const copy = (text: string, what: string) => () => void store.copy(text, what);
  const place = placeOf(store.place.q, e);
  return (
    <div class="detail" role="gridcell">
      <div class="acts">
        <button class="link" onClick={() => setAround(around ? 0 : 10)} aria-expanded={around > 0}>
          Context ±10 lines
        </button>
        {request && (
          <button
            class="link"
            title={fieldTerm(request.field, [request.value])}
            onClick={() =>
              store.ask(fieldTerm(request.field, [request.value]), { since: moved(e.time, -600_000), until: moved(e.time, 600_000), live: false })
            }
          >
            This request, all services
          </button>
        )}
        {e.service && (
          <button class="link" onClick={() => store.ask(fieldTerm("service", [e.service!]))}>
            Only this service
          </button>
        )}
        {e.container && (
          <button class="link" onClick={() => store.ask(fieldTerm("container", [e.container!]))}>
            Only this container
          </button>
        )}
        <span>
          Copy{" "}
          <button class="link" onClick={copy(location.origin + writeAddress(place), "the link")}>
            link
          </button>
          {" · "}
          <button class="link" onClick={copy(JSON.stringify(e), "the event as JSON")}>
            JSON
          </button>
          {" · "}
          <button class="link" onClick={copy(command({ ...place, q: `id:${e.id}` }), "the command")}>
            CLI
          </button>
        </span>
      </div>
      <Message text={e.message ?? ""} />
      <table>
        <tbody>
          {Object.entries(e.fields ?? {}).map(([name, value]) => valuesOf(value).map((v) => <Field name={name} value={v} />))}
          {(["service", "level", "container", "host", "env", "stream"] as const).map(
            (name) => e[name] && <Field name={name} value={e[name]!} built />,
          )}
          <Line name="time" copy={e.time}>
            {fullTime(e.time)} <span class="x">{e.time}</span>
          </Line>
          {e.received && (
            <Line name="received" copy={e.received}>
              {fullTime(e.received)} <span class="x">{lag(e)}</span>
            </Line>
          )}
          <Line name="id" copy={e.id}>
            {e.id}
          </Line>
        </tbody>
      </table>
      {around > 0 && <Around event={e} lines={around} more={() => setAround(around * 3)} />}
    </div>
  );
}

function lag(e: LogEvent): string {
  const ms = new Date(e.received!).getTime() - new Date(e.time).getTime();
  return ms >= 1000 ? `${age(ms)} later` : "";
}

/** The whole message; a stack trace is folded. */
function Message({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  const lines = text.split("\n");
  const long = text.length > mostText;
  const hidden = lines.length - folded;
  const fold = (hidden > 2 || long) && !all;
  if (text === "") return <pre class="message none">no message</pre>;
  const part = fold ? lines.slice(0, hidden > 2 ? folded : lines.length).join("\n") : text;
  return (
    <pre class="message">
      <Text text={fold ? cut(part, mostText) : part} marks={store.marks.message} />
      {(fold || all) && (
        <button class="link fold" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "▾ fewer lines" : hidden > 2 ? `▸ ${hidden} more lines` : `▸ all of ${bytes(text.length)}`}
        </button>
      )}
    </pre>
  );
}

function Line({
  name,
  copy,
  children,
  acts,
  built = true,
}: {
  name: string;
  copy: string;
  children: ComponentChildren;
  acts?: ComponentChildren;
  built?: boolean;
}) {
  return (
    <tr class={built ? "built" : ""}>
      <th scope="row">
        <Text text={cut(name, 200)} />
      </th>
      <td>
        {children}
        <span class="do">
          {acts}
          <button class="plain" title="Copy" aria-label={`Copy ${cut(name, 60)}`} onClick={() => void store.copy(copy, cut(name, 60))}>
            <Icon name="copy" />
          </button>
        </span>
      </td>
    </tr>
  );
}

function Field({ name, value, built = false }: { name: string; value: Value; built?: boolean }) {
  const [all, setAll] = useState(false);
  const text = valueText(value);
  const can = value !== null && typeof value !== "object" && text.length <= 1000;
  const asked = can ? asksFor(store.parsed, name, text) : undefined;
  const only = asked === "with" ? "Drop the filter for this value" : "Only with this value";
  const without = asked === "without" ? "Drop the filter against this value" : "Without this value";
  return (
    <Line
      name={name}
      copy={text}
      built={built}
      acts={
        can && (
          <>
            <button
              class="plain"
              aria-pressed={asked === "with"}
              title={only}
              aria-label={`${only}: ${name}`}
              onClick={() => store.toggle(name, text)}
            >
              <Icon name="plus" />
            </button>
            <button
              class="plain"
              aria-pressed={asked === "without"}
              title={without}
              aria-label={`${without}: ${name}`}
              onClick={() => store.toggle(name, text, "without")}
            >
              <Icon name="minus" />
            </button>
          </>
        )
      }
    >
      <span class={`value ${value === null ? "x" : ""}`}>
        <Text text={all ? text : cut(text, mostValue)} marks={built ? [] : store.marks.fields} />
      </span>
      {text.length > mostValue && !all && (
        <button class="link" onClick={() => setAll(true)}>
          all of {bytes(text.length)}
        </button>
      )}
    </Line>
  );
}

/** The lines before and behind an event, of the same source, oldest first. */
function Around({ event, lines, more }: { event: LogEvent; lines: number; more: () => void }) {
  const [rows, setRows] = useState<LogEvent[]>();
  const [problem, setProblem] = useState<Failure>();
  useEffect(() => {
    const stop = new AbortController();
    const came: LogEvent[] = [];
    setProblem(undefined);
    query({ id: event.id, before: lines, after: lines }, (batch) => came.push(...batch.map((r) => r.event)), stop.signal, "/api/v1/context")
      .then(() => setRows(came))
      .catch((err: unknown) => {
        if (aborted(err) || !(err instanceof Failure)) return;
        setProblem(err);
        store.failed(err);
      });
    return () => stop.abort();
  }, [event.id, lines]);
  if (problem)
    return (
      <p class="note bad" role="alert">
        <b>
          <Text text={problem.message} />
        </b>{" "}
        <Text text={problem.mend} />
      </p>
    );
  if (!rows) return <p class="x around">loading …</p>;
  return (
    <div class="around" aria-label="Context">
      {rows.map((r) => (
        <div class={`row ${levelClass(r.level)} ${r.id === event.id ? "this" : ""}`} title={r.id === event.id ? "this event" : undefined}>
          <Cells event={r} />
          <span class="m">
            <Text text={cut(withoutColours(r.message ?? ""), 2000)} />
          </span>
        </div>
      ))}
      {lines < 500 && rows.length > 1 && (
        <button class="link" onClick={more}>
          more lines
        </button>
      )}
    </div>
  );
}
