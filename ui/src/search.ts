// One search: its rows newest first, the pages of its history, and what arrives behind it while it is live.

import { aborted, Failure, query, type Skipped, type Summary } from "./api.ts";
import { later, nextPage, type LogEvent } from "./event.ts";
import { Tail, type Connection } from "./live.ts";
import { justAfter, toServer, type TimeRange } from "./time.ts";

/** Rows that are not here, at their place in the list. */
export interface Gap {
  gap: true;
  id: string; // its own, for the list
  rows: number;
  first: string; // the sequences between which they are, both included
  last: string;
  cursor: string; // behind those that were loaded; empty before that
  why: string;
  loading: boolean;
}

export type Item = LogEvent | Gap;

export const isGap = (item: Item): item is Gap => "gap" in item;

const firstPage = 300;
const laterPage = 1000;
const mostHistory = 100_000; // rows; a narrower search finds more
const mostLive = 50_000; // rows kept while live: the oldest go
const mostWaiting = 10_000; // rows kept for somebody who has scrolled away

export class Search {
  items: Item[] = [];
  version = 0; // of items
  state: "running" | "done" | "failed" = "running";
  problem: Failure | undefined;
  summary: Summary | undefined; // of the first page, then of the count
  warnings: string[] = [];
  total: number | undefined; // matches in range, when known
  services: Map<string, number> | undefined; // matches of each service
  counting = false;
  older = false; // there may be more history
  loadingOlder = false;
  olderFailed = false;
  letGo = false; // old rows were dropped
  connection: Connection | undefined; // undefined: not live
  waiting: Item[] = []; // arrived, not shown yet
  arrived = 0; // since it is live
  readonly began = performance.now();

  private readonly stop = new AbortController();
  private tail: Tail | undefined;
  private held = false;
  private timer: number | undefined;
  private sequence = "0"; // the snapshot's: history is up to it
  private position = "0"; // following goes on behind it
  private gaps = 0;

  constructor(
    readonly q: string,
    readonly reports: boolean, // with what probes and containers say regularly
    readonly range: TimeRange,
    private readonly changed: () => void,
    private readonly failed: (f: Failure) => void,
  ) {}

  get done(): boolean {
    return this.state !== "running";
  }

  close(): void {
    this.stop.abort();
    this.unfollow();
  }

  /** Runs the search, and goes on live when asked to. */
  async run(live: boolean): Promise<void> {
    try {
      this.summary = await this.page({ order: "newest", limit: firstPage }, (e) => this.append(e));
      this.state = "done";
      this.position = this.sequence = String(this.summary.sequence);
      this.warnings = this.summary.warnings ?? [];
      this.older = this.items.length >= firstPage;
      if (!this.older) {
        this.total = this.items.length;
        this.services = new Map(Object.entries(this.summary.services ?? {}));
      }
      if (live) this.follow();
      this.changed();
    } catch (err) {
      return this.fail(err, () => (this.state = "failed"));
    }
    if (this.older) await this.count();
  }

  private fail(err: unknown, then: () => void): void {
    if (aborted(err)) return;
    this.problem = err instanceof Failure ? err : new Failure("page", `the page failed: ${String(err)}`, "load it again");
    then();
    this.failed(this.problem);
    this.changed();
  }

  private page(p: Record<string, string | number | undefined>, take: (events: LogEvent[]) => void): Promise<Summary> {
    const elapsed = performance.now() - this.began;
    const range = { since: toServer(this.range.since, elapsed), until: toServer(this.range.until, elapsed), q: this.q, reports: this.reports ? "" : "false" };
    return query({ ...range, ...p }, (rows) => take(rows.map((r) => r.event)), this.stop.signal);
  }

  private append(events: LogEvent[]): void {
    this.items.push(...events);
    this.version++;
    this.changed();
  }

  /** Counts what matches in the whole range: the first page is only the newest part of it. Without an answer the count
   * stays unknown, which is no problem of the rows. */
  private async count(): Promise<void> {
    this.counting = true;
    this.changed();
    try {
      const s = await this.page({ count: "true", sequence: this.sequence }, () => undefined);
      this.total = s.matched + this.arrived;
      this.services = new Map(Object.entries(s.services ?? {}));
      for (const item of this.items.concat(this.waiting)) if (!isGap(item) && later(item.id, this.sequence)) this.countOne(item);
      this.summary = s;
    } catch (err) {
      if (err instanceof Failure) this.failed(err);
    }
    this.counting = false;
    this.changed();
  }

  private countOne(e: LogEvent): void {
    if (e.service) this.services?.set(e.service, (this.services.get(e.service) ?? 0) + 1);
  }

  /** Loads the next page of history: nothing twice and nothing left out, however many rows have one time. */
  async loadOlder(): Promise<void> {
    if (!this.older || this.loadingOlder) return;
    const history = this.items.filter((i): i is LogEvent => !isGap(i) && !later(i.id, this.sequence));
    const next = nextPage(history, justAfter);
    if (!next) return;
    this.loadingOlder = true;
    this.olderFailed = false;
    this.problem = undefined;
    this.changed();
    let came = 0;
    try {
      const limit = laterPage + next.seen.size;
      await this.page({ order: "newest", limit, until: next.until, sequence: this.sequence }, (events) => {
        came += events.length;
        this.append(events.filter((e) => !next.seen.has(e.id)));
      });
      this.older = came >= limit && this.items.length < mostHistory;
      this.letGo ||= came >= limit && !this.older;
    } catch (err) {
      this.fail(err, () => (this.olderFailed = true));
    }
    this.loadingOlder = false;
    this.changed();
  }

  // Live.

  /** Follows behind the snapshot: no gap to the history and no row twice. */
  follow(): void {
    if (this.tail || this.state !== "done") return;
    this.tail = new Tail(this.q, this.reports, this.position, {
      rows: (events) => this.arrive(events),
      state: (state) => {
        this.connection = state;
        this.changed();
      },
      gap: (f) => this.arrive([this.serverGap(f)]),
      skipped: (s) => {
        this.arrived += s.events;
        if (this.total !== undefined) this.total += s.events;
        this.arrive([this.skipped(s)]);
      },
      warnings: (texts) => {
        this.warnings = [...new Set([...this.warnings, ...texts])];
        this.changed();
      },
      offline: (f) => this.failed(f),
      failed: (f) => {
        this.unfollow();
        this.fail(f, () => undefined);
      },
    });
  }

  unfollow(): void {
    if (this.tail) this.position = this.tail.close();
    this.tail = undefined;
    this.connection = undefined;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.flush();
  }

  /** Keeps what arrives waiting, while somebody looks at older rows. */
  hold(held: boolean): void {
    if (held === this.held) return;
    this.held = held;
    if (!held) this.flush();
  }

  private arrive(items: Item[]): void {
    for (const item of items) {
      this.waiting.push(item);
      if (isGap(item)) continue;
      this.arrived++;
      if (this.total !== undefined) {
        this.total++;
        this.countOne(item);
      }
    }
    if (this.waiting.length > mostWaiting) this.leaveOut();
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      if (this.held) this.changed();
      else this.flush();
    }, 50);
  }

  /** Replaces the older half of what waits by a gap that can be loaded. */
  private leaveOut(): void {
    const out = this.waiting.splice(0, this.waiting.length / 2);
    let gap: Gap | undefined;
    for (const item of out) {
      const rows = isGap(item) ? item.rows : 1;
      if (gap) gap = { ...gap, rows: gap.rows + rows, last: isGap(item) ? item.last : item.id };
      else gap = isGap(item) ? item : this.gap(1, item.id, item.id, "more came than a page can hold while it was scrolled away");
    }
    this.waiting.unshift(gap!);
  }

  private gap(rows: number, first: string, last: string, why: string): Gap {
    return { gap: true, id: `gap ${++this.gaps}`, rows, first, last, cursor: "", why, loading: false };
  }

  private serverGap(f: Failure): Gap {
    const [, first = "0", last = "0"] = /(\d+) to (\d+)/.exec(f.message) ?? [];
    return this.gap(Number(BigInt(last) - BigInt(first) + 1n), first, last, f.message);
  }

  private skipped(s: Skipped): Gap {
    return this.gap(s.events, String(BigInt(s.after) + 1n), String(s.to), "they came faster than this page takes them");
  }

  /** Shows what waits. */
  private flush(): void {
    if (this.waiting.length === 0) return;
    this.items = this.waiting.reverse().concat(this.items);
    this.waiting = [];
    if (this.items.length > mostLive && this.tail) {
      this.items.length = mostLive;
      this.older = false;
      this.letGo = true;
    }
    this.version++;
    this.changed();
  }

  /** Asks for the rows of a gap, newest first, and puts those that come in its place. */
  async loadGap(gap: Gap): Promise<void> {
    const at = this.items.indexOf(gap);
    if (at < 0 || gap.loading) return;
    gap.loading = true;
    this.problem = undefined;
    this.changed();
    const came: LogEvent[] = [];
    try {
      const range = { since: "", until: "", after_sequence: String(BigInt(gap.first) - 1n), sequence: gap.last };
      const s = await this.page({ ...range, order: "newest", limit: mostWaiting, cursor: gap.cursor }, (events) => came.push(...events));
      came.sort((a, b) => (later(b.id, a.id) ? 1 : -1));
      const rest = s.next && came.length ? [{ ...gap, loading: false, rows: Math.max(gap.rows - came.length, 1), cursor: s.next }] : [];
      const place = this.items.indexOf(gap);
      if (place >= 0) this.items.splice(place, 1, ...came, ...rest);
      this.version++;
    } catch (err) {
      gap.loading = false;
      this.fail(err, () => undefined);
    }
    this.changed();
  }
}
