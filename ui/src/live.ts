// Following over a WebSocket: /api/v1/tail, without gap and without a row twice.

import { failure, parameters, request, type Failure, type Line, type Skipped } from "./api.ts";
import { later, parseLine, type LogEvent } from "./event.ts";

export type Connection = "connecting" | "on" | "waiting";

export interface Listener {
  rows(events: LogEvent[]): void;
  state(state: Connection): void;
  /** The server could not read what stands between two positions; following goes on behind it. */
  gap(failure: Failure): void;
  /** The page was too slow; following goes on behind what was left out. */
  skipped(skipped: Skipped): void;
  /** Following cannot go on: the session is over, or the server has another store. */
  failed(failure: Failure): void;
  /** The server does not answer; following goes on when it does. */
  offline(failure: Failure): void;
  warnings(texts: string[]): void;
}

const firstWait = 500;
const longestWait = 15_000;
const silence = 25_000; // the server says its position each 10 s

export class Tail {
  private socket: WebSocket | undefined;
  private timer: number | undefined; // of the next attempt, or of the silence
  private wait = firstWait;
  private closed = false;

  /** Follows what arrives behind the sequence after. */
  constructor(
    private readonly q: string,
    private readonly reports: boolean,
    private after: string,
    private readonly on: Listener,
  ) {
    this.connect();
  }

  /** Ends it, and returns the position behind which another may go on. */
  close(): string {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
    return this.after;
  }

  private get path(): string {
    return "/api/v1/tail?" + parameters({ q: this.q, reports: this.reports ? "" : "false", after: this.after });
  }

  private connect(): void {
    this.on.state("connecting");
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + this.path);
    this.socket = socket;
    let opened = false;
    let said: Failure | undefined;
    const listen = () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => socket.close(), silence);
    };
    listen();
    socket.onopen = () => {
      opened = true;
      listen();
    };
    socket.onmessage = (message: MessageEvent<string>) => {
      if (this.closed) return;
      listen();
      const line = parseLine(message.data) as Line;
      if (line.event) {
        if (!later(line.event.id, this.after)) return;
        this.after = line.event.id;
        this.on.rows([line.event]);
      } else if (line.skipped) {
        const to = String(line.skipped.to);
        if (!later(to, this.after)) return;
        this.after = to;
        this.on.skipped(line.skipped);
      } else if (line.position) {
        const at = String(line.position.sequence);
        if (later(at, this.after)) this.after = at;
        this.wait = firstWait;
        this.on.state("on");
        if (line.position.warnings) this.on.warnings(line.position.warnings);
      } else if (line.error) said = failure(line.error);
    };
    socket.onclose = () => {
      clearTimeout(this.timer);
      if (this.closed) return;
      if (said?.code === "gap") this.on.gap(said);
      void this.again(opened);
    };
  }

  /** Waits and connects again. A WebSocket does not say why it was refused, so a plain request asks. */
  private async again(opened: boolean): Promise<void> {
    this.on.state("waiting");
    if (!opened) {
      const stop = new AbortController();
      try {
        await request(this.path, { signal: stop.signal });
      } catch (err) {
        const f = err as Failure;
        if (!this.closed && f.status >= 400 && f.status < 429) return this.on.failed(f);
        if (!this.closed && f.code === "offline") this.on.offline(f);
      } finally {
        stop.abort();
      }
    }
    if (this.closed) return;
    this.timer = setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, longestWait);
  }
}
