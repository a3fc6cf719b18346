import assert from "node:assert/strict";
import test from "node:test";
import type { LogEvent } from "../src/event.ts";
import { isGap, Search, type Gap } from "../src/search.ts";

const at = (n: number) => `2026-11-21T14:00:00.${String(n).padStart(9, "0")}Z`;

/** A server of events whose sequences are 1, 2, …; each second one has the time of the one before it. */
class Server {
  events: LogEvent[] = [];
  queries: URLSearchParams[] = [];
  sockets: FakeSocket[] = [];
  fail = "";

  constructor(n: number) {
    this.add(n);
  }

  add(n: number): LogEvent[] {
    const from = this.events.length + 1;
    const more = Array.from({ length: n }, (_, i) => ({ id: String(from + i), time: at((from + i) >> 1), service: "s", message: `m${from + i}` }));
    this.events.push(...more);
    return more;
  }

  fetch = async (address: string): Promise<Response> => {
    const p = new URLSearchParams(address.split("?")[1]);
    this.queries.push(p);
    if (this.fail) return Response.json({ error: { code: "busy", message: this.fail } }, { status: 429 });
    const limit = Number(p.get("limit") ?? Infinity);
    const last = Number(p.get("sequence") || this.events.length);
    const after = Number(p.get("after_sequence") ?? 0);
    const behind = Number(p.get("cursor") || Infinity); // the place's sequence: times never go back here
    const found = this.events.filter((e) => Number(e.id) <= last && Number(e.id) > after && Number(e.id) < behind && (!p.get("until") || p.get("until") === "0s" || e.time < p.get("until")!));
    const rows = p.get("count") ? [] : found.reverse().slice(0, limit);
    const matched = p.get("count") ? found.length : rows.length;
    const lines = rows.map((event) => JSON.stringify({ event }) + "\n");
    const summary = { searched: { events: found.length, bytes: 1 }, matched, complete: true, sequence: last, took_ms: 1, services: { s: matched }, ...(rows.length < found.length ? { next: rows.at(-1)?.id } : {}) };
    lines.push(JSON.stringify({ summary }) + "\n");
    return new Response(lines.join(""));
  };
}

class FakeSocket {
  onopen?: () => void;
  onmessage?: (m: { data: string }) => void;
  onclose?: () => void;
  after: number;

  constructor(readonly address: string) {
    this.after = Number(new URL(address).searchParams.get("after"));
    server.sockets.push(this);
  }

  begin(): this {
    this.onopen?.();
    this.say({ position: { sequence: this.after } });
    return this;
  }

  say(line: unknown): void {
    this.onmessage?.({ data: JSON.stringify(line) });
  }

  close(): void {
    this.onclose?.();
  }
}

let server: Server;

/** A test of a search over a server with so many events. */
function over(events: number, name: string, fn: (search: Search, server: Server) => Promise<void>): void {
  test(name, async () => {
    server = new Server(events);
    Object.assign(globalThis, { fetch: server.fetch, WebSocket: FakeSocket, location: { origin: "http://lookout" } });
    const search = new Search(
      "q",
      false,
      { since: "1h", until: "" },
      () => undefined,
      () => undefined,
    );
    try {
      await fn(search, server);
    } finally {
      search.close();
    }
  });
}

// What it waits for comes within a second or two; a machine may be slow.
async function until(what: string, ok: () => boolean): Promise<void> {
  for (const limit = Date.now() + 300_000; !ok(); await new Promise((done) => setTimeout(done, 2))) assert(Date.now() < limit, what);
}

const ids = (s: Search) => s.items.map((i) => (isGap(i) ? `gap of ${i.rows}` : i.id));
const down = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, i) => String(from - i));

over(3000, "history comes page by page, and is counted", async (search) => {
  await search.run(false);
  assert.deepEqual(ids(search), down(3000, 2701));
  assert.equal(search.total, 3000);
  assert(server.queries.length > 1 && server.queries.every((p) => p.get("reports") === "false"));
  assert.deepEqual([...search.services!], [["s", 3000]]);
  for (let i = 0; i < 20 && search.older; i++) await search.loadOlder();
  assert.deepEqual(ids(search), down(3000, 1));
});

over(400, "a count that fails leaves the rows alone", async (search, server) => {
  const real = server.fetch;
  Object.assign(globalThis, {
    fetch: (a: string) =>
      a.includes("count=") ? Promise.resolve(Response.json({ error: { code: "busy", message: "busy" } }, { status: 429 })) : real(a),
  });
  await search.run(false);
  assert.equal(search.state, "done");
  assert.equal(search.problem, undefined);
  assert.equal(search.total, undefined);
  assert.equal(search.items.length, 300);
});

over(500, "a page that fails can be loaded again", async (search, server) => {
  await search.run(false);
  server.fail = "too much";
  await search.loadOlder();
  assert.equal(search.olderFailed, true);
  assert.equal(search.problem?.message, "too much");
  server.fail = "";
  await search.loadOlder();
  assert.equal(search.problem, undefined);
  assert.deepEqual(ids(search), down(500, 1));
});

over(5, "an answer without a summary is not complete", async (search) => {
  Object.assign(globalThis, { fetch: async () => new Response('{"event":{"id":"1","time":"x"}}\n') });
  await search.run(false);
  assert.equal(search.state, "failed");
  assert.equal(search.problem?.code, "cut_off");
  assert.equal(search.items.length, 1);
});

over(10, "following begins behind the history, and goes on where it was", async (search, server) => {
  await search.run(true);
  const first = server.sockets[0]!.begin();
  assert.equal(first.after, 10);
  for (const event of server.add(5)) first.say({ event });
  first.say({ event: server.events[14] }); // twice: ignored
  await until("rows", () => search.items.length === 15);
  first.close();
  assert.equal(search.connection, "waiting");
  await until("another connection", () => server.sockets.length === 2);
  const second = server.sockets[1]!.begin();
  assert.equal(second.after, 15);
  second.say({ position: { sequence: 40 } }); // nothing of these matched
  second.close();
  await until("a third connection", () => server.sockets.length === 3);
  assert.equal(server.sockets[2]!.after, 40);
  assert.deepEqual(ids(search), down(15, 1));
  assert.equal(search.total, 15);
  // Off and on again: behind what was seen.
  search.unfollow();
  assert.equal(search.connection, undefined);
  search.follow();
  assert.equal(server.sockets[3]!.after, 40);
});

over(10, "a gap stands where it is, and loads", async (search, server) => {
  await search.run(true);
  const socket = server.sockets[0]!.begin();
  socket.say({ event: server.add(1)[0] });
  server.add(8);
  socket.say({ position: { sequence: 19 } });
  socket.say({ error: { code: "gap", message: "the events 12 to 19 cannot be read: a block is damaged", mend: "follow again with after=19" } });
  socket.close();
  await until("another connection", () => server.sockets.length === 2);
  const next = server.sockets[1]!.begin();
  assert.equal(next.after, 19);
  next.say({ event: server.add(1)[0] });
  await until("rows", () => search.items.length === 13);
  assert.deepEqual(ids(search).slice(0, 3), ["20", "gap of 8", "11"]);
  const gap = search.items[1]!;
  assert(isGap(gap) && gap.why.includes("a block is damaged"));
  await search.loadGap(gap);
  assert.deepEqual(ids(search), down(20, 1));
});

over(10, "what the page was too slow for is a row that loads it", async (search, server) => {
  await search.run(true);
  const socket = server.sockets[0]!.begin();
  socket.say({ event: server.add(1)[0] });
  server.add(12_000);
  socket.say({ skipped: { events: 12_000, after: 11, to: 12_011 } });
  socket.say({ event: server.add(1)[0] });
  await until("rows", () => search.items.length === 13);
  assert.deepEqual(ids(search).slice(0, 3), ["12012", "gap of 12000", "11"]);
  assert.equal(search.total, 12_012);
  assert.equal(search.arrived, 12_002);
  await search.loadGap(search.items[1]! as Gap);
  assert.deepEqual(ids(search).slice(9_999, 10_003), ["2013", "2012", "gap of 2000", "11"]);
  await search.loadGap(search.items.find(isGap)!);
  assert.deepEqual(ids(search), down(12_012, 1));
  const asked = server.queries.slice(-2).map((p) => `${p.get("after_sequence")} ${p.get("sequence")} ${p.get("cursor")} ${p.get("since")}`);
  assert.deepEqual(asked, ["11 12011 null null", "11 12011 2012 null"]);
  socket.close(); // a connection that is lost goes on behind what was left out
  await until("another connection", () => server.sockets.length === 2);
  assert.equal(server.sockets[1]!.after, 12_012);
});

over(3, "who looks at older rows is left in peace, and too many new ones become a gap that loads", async (search, server) => {
  await search.run(true);
  const socket = server.sockets[0]!.begin();
  search.hold(true);
  for (const event of server.add(100)) socket.say({ event });
  await new Promise((done) => setTimeout(done, 60));
  assert.equal(search.items.length, 3);
  assert.equal(search.waiting.length, 100);
  for (const event of server.add(23_000)) socket.say({ event });
  assert(search.waiting.length <= 10_000);
  search.hold(false);
  const gaps = search.items.filter(isGap);
  assert.equal(gaps.length, 1);
  assert.equal(gaps[0]!.rows + search.items.length - 1, 23_103);
  for (let i = 0; i < 20 && search.items.some(isGap); i++) await search.loadGap(search.items.find(isGap)!);
  assert.deepEqual(ids(search), down(23_103, 1));
});

over(400, "a live page keeps so many rows", async (search, server) => {
  await search.run(true);
  const socket = server.sockets[0]!.begin();
  for (let i = 0; i < 6; i++) {
    for (const event of server.add(9000)) socket.say({ event });
    await until("rows", () => search.waiting.length === 0);
  }
  assert.deepEqual(ids(search), down(54_400, 4401));
  assert(search.letGo && !search.older);
});
