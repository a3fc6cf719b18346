// The page's state and what can be done with it. Components read the store and call it; it says when to draw.

import { Failure, get, parameters, post, type Hint, type Me, type Service } from "./api.ts";
import { facetsOf, type Facets, type LogEvent } from "./event.ts";
import { isList, readAddress, writeAddress, type List, type Place } from "./links.ts";
import { fromBytes, parse, toggle, withTerm, type Parsed } from "./query.ts";
import { marksOf, noMarks, type Marks } from "./marks.ts";
import { isGap, Search } from "./search.ts";

export type Theme = "auto" | "light" | "dark";

/** What the server says about the query in the box. */
export interface Advice {
  error?: { message: string; mend: string; from: number; to: number };
  hints: { message: string; mend: string }[];
}

/** A list of its own view, loaded when it is looked at. */
export interface Loaded {
  rows: unknown[];
  problem?: Failure;
  loading: boolean;
}

const facetRows = 5000;
const historyKey = "lookout.history";
const themeKey = "lookout.theme";

class Store {
  place: Place = readAddress("");
  text = ""; // in the query box
  parsed: Parsed = parse("");
  advice: Advice = { hints: [] };
  shown: Search | undefined; // whose rows are shown
  next: Search | undefined; // that has none yet
  marks: Marks = noMarks;
  selected = ""; // id of the row with the keyboard
  services: Service[] | undefined;
  lists: Record<string, Loaded> = {};
  me: Me | undefined;
  login: { needed: boolean; busy: boolean; problem?: Failure; why?: string } = { needed: false, busy: false };
  offline = false;
  theme: Theme = "auto";
  help = false;
  sidebar = false; // on a narrow screen
  said = ""; // a word about what was done, for a moment
  history: string[] = [];
  draw: () => void = () => undefined;

  private facetsFor: { search: Search; version: number; at: number } | undefined;
  private facetsNow: Facets = facetsOf([], 0);
  private checking: AbortController | undefined;
  private timers: Record<string, number> = {};

  async start(draw: () => void): Promise<void> {
    this.draw = draw;
    this.theme = (keep.get(themeKey) as Theme | null) ?? "auto";
    this.applyTheme();
    try {
      this.history = (JSON.parse(keep.get(historyKey) ?? "[]") as unknown[]).filter((q): q is string => typeof q === "string");
    } catch {
      this.history = []; // somebody else's
    }
    const code = takeCode();
    this.read();
    addEventListener("hashchange", () => {
      const code = takeCode(); // a one-time address, opened where the page is already
      if (code) void this.enter({ code });
    });
    addEventListener("popstate", () => {
      this.read();
      this.run();
    });
    addEventListener("online", () => void this.refresh());
    document.addEventListener("visibilitychange", () => document.hidden || void this.refresh());
    this.every("services", 30_000, () => document.hidden || this.login.needed || void this.refresh());
    if (code) await this.enter({ code });
    else await this.open();
  }

  /** Finds out who this is, and begins. */
  private async open(): Promise<void> {
    try {
      this.me = await get<Me>("/api/v1/me");
      this.offline = false;
      this.login = { needed: false, busy: false };
      void this.refresh();
      this.run();
    } catch (err) {
      this.failed(err);
      if (this.offline) this.after("open", 2000, () => void this.open());
    }
    this.draw();
  }

  private every(name: string, ms: number, fn: () => void): void {
    this.timers[name] = setInterval(fn, ms);
  }

  private after(name: string, ms: number, fn: () => void): void {
    clearTimeout(this.timers[name]);
    this.timers[name] = setTimeout(fn, ms);
  }

  /** What concerns the whole page: no session, no server. */
  failed(err: unknown): void {
    if (!(err instanceof Failure)) return;
    if (err.status === 401) {
      this.login = { ...this.login, needed: true, busy: false, ...(this.me ? { why: "The session is over. The query is kept." } : {}) };
      this.me = undefined;
      this.shown?.unfollow();
      this.next?.close();
      this.next = undefined;
    } else if (err.code === "offline") {
      this.offline = true;
      this.after("online", 2000, () => void this.refresh());
    }
    this.draw();
  }

  /** The services, and with them whether the server is there. */
  async refresh(): Promise<void> {
    if (this.login.needed) return;
    try {
      const none = this.services?.length === 0;
      this.services = (await get<{ services: Service[] }>("/api/v1/services")).services;
      if (this.services.length === 0) this.after("first", 2000, () => void this.refresh());
      else if (none && this.shown?.items.length === 0 && !this.shown.connection) this.run();
      const back = this.offline;
      this.offline = false;
      if (back && !this.me) return void this.open();
      if (back && this.shown?.state === "failed") this.run();
      if (this.place.view === "containers") void this.load("containers");
      void this.load("alerts"); // the top bar says how many fire, and how many are down
      void this.load("probes");
    } catch (err) {
      this.failed(err);
    }
    this.draw();
  }

  async load(list: List): Promise<void> {
    const before = this.lists[list];
    this.lists[list] = { rows: before?.rows ?? [], loading: true };
    try {
      this.lists[list] = { rows: (await get<Record<string, unknown[]>>(`/api/v1/${list}`))[list] ?? [], loading: false };
    } catch (err) {
      this.lists[list] = { rows: before?.rows ?? [], loading: false, ...(err instanceof Failure ? { problem: err } : {}) };
      this.failed(err);
    }
    this.draw();
  }

  // Login.

  async enter(secret: { code: string } | { token: string }): Promise<void> {
    this.login = { needed: true, busy: true };
    this.draw();
    try {
      await post("/api/v1/login", secret);
      await this.open();
      return;
    } catch (err) {
      const f = err instanceof Failure ? err : undefined;
      const code = "code" in secret;
      this.login = { needed: true, busy: false, ...(f ? { problem: f } : {}) };
      // The code may be spent by this very browser: then its session still holds.
      if (code && f?.status === 401) {
        try {
          this.me = await get<Me>("/api/v1/me");
          return void (await this.open());
        } catch {
          // The first error says more.
        }
      }
    }
    this.draw();
  }

  async logout(): Promise<void> {
    try {
      await post("/api/v1/logout", {});
    } catch (err) {
      if (!(err instanceof Failure) || err.status !== 401) return this.failed(err);
    }
    this.shown?.close();
    this.next?.close();
    this.shown = this.next = this.me = this.services = undefined;
    this.lists = {};
    this.login = { needed: true, busy: false };
    this.draw();
  }

  // Where the page is.

  private read(): void {
    this.place = readAddress(location.search);
    this.setText(this.place.q);
    this.title();
  }

  private title(): void {
    const { view, q } = this.place;
    document.title = (view === "explore" ? q || "all events" : view) + " · lookout";
  }

  /** Goes to another place; with run it searches there. */
  go(change: Partial<Place>, how: { run?: boolean; replace?: boolean } = {}): void {
    this.place = { ...this.place, ...change };
    const address = writeAddress(this.place);
    if (address !== location.pathname + location.search) history[how.replace ? "replaceState" : "pushState"](null, "", address);
    this.title();
    this.sidebar = false;
    if (how.run) {
      this.setText(this.place.q);
      this.run();
    } else if (isList(this.place.view)) void this.load(this.place.view);
    this.draw();
  }

  // Searching.

  setText(text: string): void {
    if (text === this.text) return;
    this.text = text;
    this.parsed = parse(text);
    this.advice = { hints: [] };
    this.after("check", 150, () => void this.check());
    this.draw();
  }

  private async check(): Promise<void> {
    this.checking?.abort();
    const text = this.text;
    if (text.trim() === "" || text.length > 4000) return;
    this.checking = new AbortController();
    try {
      const a = await get<{ ok: boolean; hints?: Hint[]; error?: Hint }>("/api/v1/check?" + parameters({ q: text }), this.checking.signal);
      if (text !== this.text) return;
      this.advice = { hints: a.hints ?? [], ...(a.error ? { error: this.errorAt(a.error.message, a.error.mend, a.error) } : {}) };
      this.draw();
    } catch (err) {
      if (err instanceof Failure && err.status === 401) this.failed(err);
    }
  }

  private errorAt(message: string, mend: string, place: { position: number; end: number }) {
    return { message, mend, from: fromBytes(this.text, place.position), to: fromBytes(this.text, place.end) };
  }

  /** Runs what stands in the box. */
  submit(): void {
    const q = this.text.trim();
    if (q) {
      this.history = [q, ...this.history.filter((h) => h !== q)].slice(0, 100);
      keep.set(historyKey, JSON.stringify(this.history));
    }
    this.go({ q, view: "explore", id: "" }, { run: true });
  }

  run(): void {
    if (this.login.needed) return;
    const { view } = this.place;
    if (isList(view)) void this.load(view);
    if (view !== "explore") return this.draw();
    this.next?.close();
    this.shown?.unfollow();
    const s: Search = new Search(
      this.place.q,
      this.place.reports,
      { since: this.place.since, until: this.place.until },
      () => this.arrived(s),
      (f) => this.searchFailed(s, f),
    );
    this.next = s;
    void s.run(this.place.live);
    this.draw();
  }

  /** The rows of the last search stay until the new one has some, or has none. */
  private arrived(s: Search): void {
    if (s === this.next && (s.items.length > 0 || s.state === "done")) {
      this.shown?.close();
      this.shown = s;
      this.next = undefined;
      this.marks = marksOf(parse(s.q));
      this.selected = this.place.id;
    }
    if (s === this.shown && s.done) this.offline = false;
    this.draw();
  }

  private searchFailed(s: Search, f: Failure): void {
    if (f.place && f.place.text === this.text) this.advice = { hints: [], error: this.errorAt(f.message, f.mend, f.place) };
    if (s === this.next && !this.shown) {
      this.shown = s;
      this.next = undefined;
    }
    this.failed(f);
  }

  /** The search that the status is about. */
  get current(): Search | undefined {
    return this.next ?? this.shown;
  }

  toggle(field: string, value: string, want: "with" | "without" = "with"): void {
    this.ask(toggle(this.place.q, field, value, want));
  }

  addTerm(term: string): void {
    this.ask(withTerm(this.place.q, term));
  }

  ask(q: string, range: Partial<Pick<Place, "since" | "until" | "live">> = {}): void {
    this.go({ q, view: "explore", id: "", ...range }, { run: true });
  }

  setLive(live: boolean): void {
    const s = this.shown;
    // What arrived since the search is brought by following; after long there may be too much of it.
    const fresh = s && s === this.current && s.state === "done" && !this.place.until && performance.now() - s.began < 60_000;
    this.go({ live, ...(live ? { until: "", since: this.place.until ? "15m" : this.place.since } : {}) }, { run: live && !fresh, replace: true });
    if (!live) s?.unfollow();
    else if (fresh) s.follow();
    this.draw();
  }

  openRow(e: LogEvent): void {
    this.selected = e.id;
    this.go({ id: this.place.id === e.id ? "" : e.id }, { replace: true });
  }

  closeRow(): void {
    if (this.place.id) this.go({ id: "" }, { replace: true });
  }

  /** What the newest rows hold; counted at most twice a second. */
  facets(): Facets {
    const s = this.shown;
    const last = this.facetsFor;
    if (!s || (last?.search === s && last.version === s.version)) return this.facetsNow;
    const wait = last?.search === s ? 500 - (performance.now() - last.at) : 0;
    if (wait > 0) this.after("facets", wait, () => this.draw());
    else {
      this.facetsFor = { search: s, version: s.version, at: performance.now() };
      this.facetsNow = facetsOf(events(s), facetRows);
    }
    return this.facetsNow;
  }

  // The rest.

  setTheme(theme: Theme): void {
    this.theme = theme;
    keep.set(themeKey, theme);
    this.applyTheme();
    this.draw();
  }

  private applyTheme(): void {
    document.documentElement.dataset.theme = this.theme;
  }

  say(text: string): void {
    this.said = text;
    this.after("said", 2000, () => {
      this.said = "";
      this.draw();
    });
    this.draw();
  }

  /** Copies a text. Without TLS a browser offers no clipboard, but the old way works. */
  async copy(text: string, what: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "away";
      const before = document.activeElement;
      (document.querySelector("dialog[open]") ?? document.body).append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (before instanceof HTMLElement) before.focus();
      if (!done) return this.say("The browser does not let the page copy");
    }
    this.say(`Copied: ${what}`);
  }
}

/** The code of a one-time address, which is taken out of the address and the browser's history. */
function takeCode(): string | undefined {
  const code = /^#login=([^&]+)$/.exec(location.hash)?.[1];
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return code;
}

function* events(s: Search): Iterable<LogEvent> {
  for (const item of s.items) if (!isGap(item)) yield item;
}

/** What the browser keeps; it may keep nothing. */
const keep = {
  get(key: string): string | null {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key: string, value: string): void {
    try {
      localStorage.setItem(key, value);
    } catch {
      // Then not.
    }
  },
};

export const store = new Store();
