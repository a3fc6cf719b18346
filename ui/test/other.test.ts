import assert from "node:assert/strict";
import test from "node:test";
import { byShipper, facetsOf, later, nextPage, parseLine, requestOf, type LogEvent } from "../src/event.ts";
import { command, placeOf, readAddress, shellWord, writeAddress, type Place } from "../src/links.ts";
import { bytes, count, cut, plainText, short, show, withoutColours } from "../src/text.ts";
import { age, dayOf, duration, fullTime, justAfter, rangeLabel, readTime, shortTime, timeOfDay, toServer } from "../src/time.ts";

test("what cannot be shown is written out", () => {
  for (const [text, want] of [
    ["plain é 日本 😀", "plain é 日本 😀"],
    ["a\x1b[31mb\x07\0", "a\\x1b[31mb\\x07\\x00"],
    ["a\tb\nc", "a\tb\nc"],
    ["a\rb\x7f\x9b", "a\\rb\\x7f\\x9b"],
    ["x\u202egnp.exe\u202c", "x\\u202egnp.exe\\u202c"],
    ["a\u200bb\ufeff\u2060\u00ad", "a\\u200bb\\ufeff\\u2060\\xad"],
    ["a\u200db", "a\\u200db"],
    ["👨\u200d👩", "👨\u200d👩"],
    ["می\u200cخواهم", "می\u200cخواهم"],
    ["a\u200d👩", "a\\u200d👩"],
    ["\u{e0041}", "\\U000e0041"],
    ["\u2028\u2066", "\\u2028\\u2066"],
    ["\ud800x", "\\ud800x"],
    ["\u3164\u115f", "\\u3164\\u115f"],
  ] as [string, string][]) {
    assert.equal(plainText(text), want);
    assert.equal(
      show(text)
        .map((p) => p.text)
        .join(""),
      want,
    );
  }
  assert.deepEqual(
    show("a\x1bb").map((p) => p.written),
    [false, true, false],
  );
  assert.deepEqual(show(""), []);
});

test("marks and written characters together", () => {
  const shown = show("ab\x00cd", [[1, 4]]);
  assert.deepEqual(
    shown.map((p) => `${p.text}${p.marked ? "!" : ""}${p.written ? "?" : ""}`),
    ["a", "b!", "\\x00!?", "c!", "d"],
  );
});

test("texts and numbers are short", () => {
  assert.equal(withoutColours("\x1b[1;31mred\x1b[0m \x1b]0;t\x07"), "red \x1b]0;t\x07");
  assert.equal(cut("abcdef", 3), "abc…");
  assert.equal(cut("ab😀cd", 3), "ab…");
  assert.equal(cut("abc", 3), "abc");
  assert.deepEqual([count(0), count(999), count(1522), count(1234567)], ["0", "999", "1,522", "1,234,567"]);
  assert.deepEqual([short(99_999), short(120_000), short(8_100_000), short(2e9)], ["99,999", "120 k", "8.1 M", "2.0 G"]);
  assert.deepEqual([bytes(12), bytes(21e6), bytes(1536)], ["12 B", "20 MiB", "1.5 KiB"]);
});

test("numbers are shown as they were sent", () => {
  const fields = (line: string) => (parseLine(line) as { f: unknown }).f;
  for (const [line, want] of [
    ['{"f":500}', 500],
    ['{"f":1.5}', 1.5],
    ['{"f":12345678901234567890}', "12345678901234567890"],
    ['{"f":-12345678901234567890}', "-12345678901234567890"],
    ['{"f":0.12345678901234567}', "0.12345678901234567"],
    ['{"f":1e5}', "1e5"],
    ['{"f":3.50}', "3.50"],
    ['{"f":-0}', "-0"],
    ['{"f":[1,12345678901234567890]}', [1, "12345678901234567890"]],
    ['{"f":"a \\" 12345678901234567890"}', 'a " 12345678901234567890'],
    ['{"f":"x","g":12345678901234567890}', "x"],
  ] as [string, unknown][])
    assert.deepEqual(fields(line), want, line);
});

const event = (id: string, time: string, more: Partial<LogEvent> = {}): LogEvent => ({ id, time, ...more });
const at = (n: number) => `2026-11-21T14:00:00.${String(n).padStart(9, "0")}Z`;

/** A server's answer: newest first by (time, sequence), up to until (exclusive). */
function answer(all: LogEvent[], until: string | undefined, limit: number): LogEvent[] {
  const sorted = all
    .filter((e) => !until || e.time < until)
    .sort((a, b) => (a.time === b.time ? Number(b.id) - Number(a.id) : a.time < b.time ? 1 : -1));
  return sorted.slice(0, limit);
}

test("pages lose nothing and bring nothing twice, however many rows have one time", () => {
  let seed = 3;
  const next = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  for (let round = 0; round < 200; round++) {
    const times = 1 + next(8);
    const all = Array.from({ length: next(60) }, (_, i) => event(String(i + 1), at(next(times))));
    const page = 1 + next(7);
    const rows = answer(all, undefined, page);
    for (let more = rows.length === page; more;) {
      const p = nextPage(rows, justAfter)!;
      const limit = page + p.seen.size;
      const came = answer(all, p.until, limit);
      rows.push(...came.filter((e) => !p.seen.has(e.id)));
      more = came.length === limit;
    }
    assert.deepEqual(
      rows.map((e) => e.id),
      answer(all, undefined, 1000).map((e) => e.id),
    );
  }
  assert.equal(nextPage([], justAfter), undefined);
});

test("times", () => {
  assert.equal(justAfter("2026-11-21T14:00:00.434466309Z"), "2026-11-21T14:00:00.434466310Z");
  assert.equal(justAfter("2026-12-31T23:59:59.999999999Z"), "2027-01-01T00:00:00.000000000Z");
  assert.equal(justAfter("2026-11-21T14:00:00Z"), "2026-11-21T14:00:00.000000001Z");
  const local = new Date(2026, 10, 21, 14, 5, 9, 45);
  assert.equal(timeOfDay(local.toISOString()), "14:05:09.045");
  assert.equal(dayOf(local.toISOString()), "21 Nov");
  assert(fullTime(local.toISOString()).startsWith("2026-11-21 14:05:09.045 "));
  assert.equal(fullTime("nonsense"), "nonsense");
  assert.equal(shortTime(new Date(2026, 10, 21, 14, 5).toISOString(), local), "14:05");
  assert.equal(shortTime(new Date(2025, 10, 21, 14, 5, 1).toISOString(), local), "21 Nov 2025 14:05:01");
  assert.deepEqual([age(4000), age(240_000), age(3 * 3600_000), age(50 * 3600_000)], ["4 s", "4 min", "3 h", "2 d"]);
});

test("the hour before clocks are set back is not the one after", () => {
  const zone = process.env.TZ;
  process.env.TZ = "Europe/Berlin"; // 02:30 twice
  try {
    assert.equal(justAfter("2026-10-25T00:30:00.5Z"), "2026-10-25T00:30:00.500000001Z");
    assert.equal(justAfter("2026-10-25T01:30:00.5Z"), "2026-10-25T01:30:00.500000001Z");
  } finally {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  }
});

test("durations and ends of ranges", () => {
  assert.deepEqual(
    [duration("15m"), duration("1h30m"), duration("7d"), duration("1.5h"), duration("x"), duration(""), duration("5")],
    [900_000, 5_400_000, 604_800_000, 5_400_000, undefined, undefined, undefined],
  );
  assert.equal(toServer("15m", 0), "900s");
  assert.equal(toServer("15m", 1234.4), "901.234s"); // the range stays where it was
  assert.equal(toServer("all", 5), "");
  assert.equal(toServer("2026-11-21T14:00:00Z", 5), "2026-11-21T14:00:00Z");
  const now = new Date(2026, 10, 21, 14, 5, 9);
  const iso = (...a: [number, number, number, number?, number?, number?, number?]) => new Date(...a).toISOString();
  for (const [text, want] of [
    ["", ""],
    ["now", ""],
    ["15m", "15m"],
    ["2h ago", "2h"],
    ["all", "all"],
    ["13:00", iso(2026, 10, 21, 13, 0)],
    ["yesterday 9:30", iso(2026, 10, 20, 9, 30)],
    ["2026-11-01", iso(2026, 10, 1)],
    ["2026-11-01 08:07:06.5", iso(2026, 10, 1, 8, 7, 6, 500)],
    ["2026-11-01T08:07", iso(2026, 10, 1, 8, 7)],
    ["2026-11-01T08:07:06Z", "2026-11-01T08:07:06.000Z"],
    ["2026-11-01T08:07:06+01:00", "2026-11-01T07:07:06.000Z"],
    ["2026-02-30", undefined],
    ["25:00", undefined],
    ["soon", undefined],
  ] as [string, string | undefined][])
    assert.equal(readTime(text, now), want, text);
  assert.equal(rangeLabel({ since: "1h", until: "" }, now), "Last 1 hour");
  assert.equal(rangeLabel({ since: "2h", until: "" }, now), "Last 2h");
  assert.equal(rangeLabel({ since: iso(2026, 10, 21, 13, 0), until: iso(2026, 10, 21, 13, 30) }, now), "13:00 – 13:30");
  assert.equal(rangeLabel({ since: iso(2026, 10, 21, 13, 0), until: "" }, now), "Since 13:00");
});

test("addresses say the place and back", () => {
  const base: Place = { view: "explore", q: "", since: "1h", until: "", live: false, reports: false, id: "" };
  for (const [place, address] of [
    [{}, "/"],
    [{ q: "a b&c=d +é" }, "/?q=a+b%26c%3Dd+%2B%C3%A9"],
    [{ q: "level:error", since: "15m", live: true }, "/?q=level:error&since=15m&live=1"],
    [{ since: "2026-11-21T14:00:00Z", until: "2026-11-21T15:00:00Z", id: "17" }, "/?since=2026-11-21T14:00:00Z&until=2026-11-21T15:00:00Z&id=17"],
    [{ view: "probes" }, "/?view=probes"],
    [{ q: "sales", reports: true }, "/?q=sales&reports=1"],
  ] as [Partial<Place>, string][]) {
    assert.equal(writeAddress({ ...base, ...place }), address);
    assert.deepEqual(readAddress(address.slice(1)), { ...base, ...place });
  }
  assert.deepEqual(readAddress("?view=<script>&id=1;2&live=1&until=5m"), { ...base, until: "5m" });
  assert.deepEqual(placeOf("x", event("5", "2026-11-21T14:00:00.5Z")), {
    ...base,
    q: "x",
    since: "2026-11-21T13:59:00.500Z",
    until: "2026-11-21T14:00:01.500Z",
    id: "5",
  });
  // What is left out otherwise has to be asked for.
  for (const [service, stream, reports] of [["probe", "probe", true], ["docker", "stats", true], ["sales", "probe", false], ["probe", "stdout", false]] as const)
    assert.equal(placeOf("", { ...event("5", "2026-11-21T14:00:00.5Z"), service, stream }).reports, reports);
});

test("the same search as a command", () => {
  const c = (q: string, since = "1h", until = "", live = false, reports = false) => command({ q, since, until, live, reports });
  assert.equal(c(""), "lookout grep '*'");
  assert.equal(c("timeout"), "lookout grep timeout");
  assert.equal(c("it's $HOME `x`", "24h"), "lookout grep -s 24h 'it'\\''s $HOME `x`'");
  assert.equal(c("-debug web"), "lookout grep -- '-debug web'");
  assert.equal(c("a", "all"), "lookout grep --all a");
  assert.equal(
    c("a", "2026-11-21T14:00:00.000Z", "2026-11-21T15:00:00.000Z"),
    "lookout grep -s 2026-11-21T14:00:00.000Z -u 2026-11-21T15:00:00.000Z a",
  );
  assert.equal(c("a", "1h", "", true), "lookout grep -f a");
  assert.equal(c("a", "1h", "", false, true), "lookout grep --reports a");
  assert.equal(shellWord(""), "''");
});

test("sequences compare as numbers", () => {
  assert(later("10", "9") && !later("9", "10") && !later("9", "9") && later("18446744073709551615", "9007199254740993"));
});

test("a request's id is found", () => {
  for (const [field, found] of [
    ["request_id", true],
    ["http.request_id", true],
    ["trace_id", true],
    ["traceId", true],
    ["X-Request-Id", true],
    ["correlation-id", true],
    ["user_id", false],
    ["id", false],
    ["request", false],
  ] as [string, boolean][])
    assert.equal(requestOf(event("1", at(0), { fields: { [field]: "x" } })) !== undefined, found, field);
  assert.equal(requestOf(event("1", at(0), { fields: { request_id: "" } })), undefined);
});

test("facets count the newest rows, and names do no harm", () => {
  const rows = [
    event("3", at(3), { level: "error", service: "a", fields: { n: 1, tags: ["x", "y"], ["__proto__"]: "p", o: { deep: 1 } } }),
    event("2", at(2), { level: "error", service: "__proto__", fields: { n: 1 } }),
    event("1", at(1), { service: "a" }),
  ];
  const f = facetsOf(rows, 2);
  assert.equal(f.rows, 2);
  assert.deepEqual([...f.levels], [["error", 2]]);
  assert.deepEqual(
    [...f.services],
    [
      ["a", 1],
      ["__proto__", 1],
    ],
  );
  assert.deepEqual([...f.fields.get("n")!.values], [["1", 2]]);
  assert.deepEqual([...f.fields.get("tags")!.values.keys()], ["x", "y"]);
  assert.equal(f.fields.get("o")!.values.size, 0);
  const many = facetsOf(
    Array.from({ length: 300 }, (_, i) => event(String(i), at(i), { fields: { n: i } })),
    1000,
  );
  assert(many.fields.get("n")!.many && many.fields.get("n")!.values.size === 100);
});

test("what Docker adds to every line is no field to choose", () => {
  for (const name of ["container_id", "tag", "com.docker.compose.service"]) assert(byShipper(name), name);
  for (const name of ["request_id", "tags", "container_idx", "xcom.docker.x", "version"]) assert(!byShipper(name), name);
  const f = facetsOf([{ ...event("1", "2026-11-21T14:00:00Z"), fields: { tag: "x", user: "y" } }], 10);
  assert.deepEqual([...f.fields.keys()].filter((n) => n === "tag" || n === "user"), ["user"]);
});
