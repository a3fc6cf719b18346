// Addresses of the page, and the same search for the command line.

import type { LogEvent } from "./event.ts";
import { moved, standardSince, type TimeRange } from "./time.ts";

/** A view of its own list, loaded when it is looked at. */
export type List = "alerts" | "containers" | "probes";

export type View = "explore" | "services" | List;

/** What an address says. */
export interface Place extends TimeRange {
  view: View;
  q: string;
  live: boolean;
  reports: boolean; // with what probes and containers say regularly
  id: string; // of the event that is open
}

const lists: readonly string[] = ["alerts", "containers", "probes"];
const views: readonly string[] = ["explore", "services", ...lists];

export const isList = (view: View): view is List => lists.includes(view);

export function readAddress(search: string): Place {
  const p = new URLSearchParams(search);
  const view = p.get("view") ?? "";
  const until = p.get("until") ?? "";
  const live = p.get("live") === "1" && !until;
  return {
    view: (views.includes(view) ? view : "explore") as View,
    q: p.get("q") ?? "",
    since: p.get("since") || standardSince,
    until,
    live,
    reports: p.get("reports") === "1",
    id: /^\d{1,20}$/.test(p.get("id") ?? "") ? p.get("id")! : "",
  };
}

export function writeAddress(place: Place): string {
  const parts: string[] = [];
  const add = (name: string, value: string) =>
    value && parts.push(`${name}=${encodeURIComponent(value).replace(/%20/g, "+").replace(/%3A/g, ":").replace(/%2C/g, ",")}`);
  if (place.view !== "explore") add("view", place.view);
  add("q", place.q);
  if (place.since !== standardSince || place.until) add("since", place.since);
  add("until", place.until);
  if (place.live) add("live", "1");
  if (place.reports) add("reports", "1");
  add("id", place.id);
  return parts.length ? "/?" + parts.join("&") : "/";
}

/** What probes and containers say regularly, as the server has it. */
const isReport = (e: LogEvent) => (e.service === "probe" && e.stream === "probe") || (e.service === "docker" && e.stream === "stats");

/** A place that shows one event for as long as it is kept. */
export function placeOf(q: string, e: LogEvent): Place {
  return { view: "explore", q, since: moved(e.time, -60_000), until: moved(e.time, 1000), live: false, reports: isReport(e), id: e.id };
}

/** A word for a POSIX shell. */
export const shellWord = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replace(/'/g, `'\\''`)}'`);

/** The search as a command. */
export function command(place: Pick<Place, "q" | "since" | "until" | "live" | "reports">): string {
  const q = place.q.trim() || "*";
  const flags: string[] = [];
  if (place.since === "all") flags.push("--all");
  else if (place.since !== standardSince || place.until) flags.push("-s " + shellWord(place.since));
  if (place.until) flags.push("-u " + shellWord(place.until));
  if (place.live) flags.push("-f");
  if (place.reports) flags.push("--reports");
  const words = ["lookout grep", ...flags];
  if (q.startsWith("-")) words.push("--");
  words.push(shellWord(q));
  return words.join(" ");
}
