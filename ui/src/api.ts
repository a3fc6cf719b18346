// The server's HTTP interface (docs/api.md). The session is a cookie that no script sees.

import { parseLine, type LogEvent } from "./event.ts";

/** What went wrong, in words for a person: the server's own, with its mend. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly mend = "",
    readonly status = 0, // 0: there was no answer
    readonly place?: { text: string; position: number; end: number }, // in the query; offsets in UTF-8
  ) {
    super(message);
  }
}

export interface Hint {
  message: string;
  mend: string;
  position: number;
  end: number;
}

export interface Summary {
  searched: { events: number; bytes: number };
  matched: number;
  complete: boolean;
  reasons?: string[];
  sequence: number | string;
  took_ms: number;
  services?: Record<string, number>;
  warnings?: string[];
  next?: string; // a cursor, when there is more
}

/** Events that a live view has left out: so many that match, of the sequences above after up to to. */
export interface Skipped {
  events: number;
  after: number | string;
  to: number | string;
}

/** A line of an answer: one of these. */
export interface Line {
  event?: LogEvent;
  context?: boolean;
  summary?: Summary;
  position?: { sequence: number | string; warnings?: string[] };
  skipped?: Skipped;
  error?: ErrorBody;
}

export interface Service {
  name: string;
  hosts: string[];
  events: number;
  bytes: number;
  first_seen?: string;
  last_seen?: string;
  levels: Record<string, number>;
}

export interface Me {
  name: string;
  role: string;
  version: string;
}

interface ErrorBody {
  code?: string;
  message?: string;
  mend?: string;
  position?: number;
  end?: number;
  text?: string;
}

export function failure(e: ErrorBody | undefined, status = 0): Failure {
  const place = e?.position === undefined ? undefined : { text: e.text ?? "", position: e.position, end: e.end ?? e.position };
  return new Failure(e?.code ?? "bad_answer", e?.message ?? `the server answered ${status} without saying why`, e?.mend, status, place);
}

export const aborted = (err: unknown) => err instanceof DOMException && err.name === "AbortError";

/** Sends a request. An answer that is no success is a Failure, and so is none. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...init });
  } catch (err) {
    if (aborted(err)) throw err;
    throw new Failure("offline", "the server does not answer", "the page tries again by itself");
  }
  if (answer.ok) return answer;
  const body = (await answer.json().catch(() => undefined)) as { error?: ErrorBody } | undefined;
  throw failure(body?.error, answer.status);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, { signal: signal ?? null })).json()) as T;
}

export async function post(path: string, body: unknown): Promise<void> {
  await request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

export function parameters(p: Record<string, string | number | undefined>): string {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(p)) if (value !== undefined && value !== "") all.set(name, String(value));
  return all.toString();
}

/** Runs a search and hands its rows over as they come, some at a time. The summary is the proof that all came. */
export async function query(
  p: Record<string, string | number | undefined>,
  rows: (events: { event: LogEvent; context: boolean }[]) => void,
  signal: AbortSignal,
  path = "/api/v1/query",
): Promise<Summary> {
  const text = parameters(p);
  const long = text.length > 4000;
  const answer = await request(
    long ? path : `${path}?${text}`,
    long ? { method: "POST", headers: { "Content-Type": "application/x-www-form-urlencoded" }, body: text, signal } : { signal },
  );
  let summary: Summary | undefined;
  const take = (text: string) => {
    const events: { event: LogEvent; context: boolean }[] = [];
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const l = parseLine(line) as Line;
      if (l.event) events.push({ event: l.event, context: l.context ?? false });
      else if (l.summary) summary = l.summary;
      else if (l.error) {
        if (events.length) rows(events);
        throw failure(l.error);
      }
    }
    if (events.length) rows(events);
  };
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  const broken = new Failure("cut_off", "the answer broke off: what is shown is not all", "search again");
  try {
    for (let rest = ""; ;) {
      const { done, value } = await reader.read();
      if (done) break;
      rest += value;
      const end = rest.lastIndexOf("\n") + 1;
      if (end === 0) continue;
      take(rest.slice(0, end));
      rest = rest.slice(end);
    }
  } catch (err) {
    if (aborted(err) || err instanceof Failure) throw err;
    throw broken;
  } finally {
    void reader.cancel().catch(() => undefined); // it is over, or nobody wants the rest
  }
  if (!summary) throw broken;
  return summary;
}
