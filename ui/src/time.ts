// Times: ranges as people and links write them, and as rows show them. An event's time is RFC 3339 in UTC with nine digits
// behind the point, and stays text: a Date has milliseconds only.

/** A range of time: since is a duration back (15m), RFC 3339, unix time or "all"; until is empty (now), or as since. */
export interface TimeRange {
  since: string;
  until: string;
}

export const ranges = [
  { since: "5m", label: "Last 5 minutes" },
  { since: "15m", label: "Last 15 minutes" },
  { since: "1h", label: "Last 1 hour" },
  { since: "6h", label: "Last 6 hours" },
  { since: "24h", label: "Last 24 hours" },
  { since: "3d", label: "Last 3 days" },
  { since: "7d", label: "Last 7 days" },
  { since: "all", label: "All time" },
];

export const standardSince = "1h";

const units: Record<string, number> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** The milliseconds of a duration such as 15m, 1h30m, 7d; undefined when it is none. */
export function duration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[dhms]))+$/.test(text)) return undefined;
  let sum = 0;
  for (const m of text.matchAll(/(\d+(?:\.\d+)?)(ms|[dhms])/g)) sum += Number(m[1]) * units[m[2]!]!;
  return sum;
}

/** One end of a range as the server takes it. A duration back is counted from when the search began, so many
 * milliseconds ago: by the server's clock, since this one may be wrong. */
export function toServer(text: string, elapsed: number): string {
  if (text === "all") return "";
  const ms = duration(text);
  return ms === undefined ? text : `${(ms + Math.round(elapsed)) / 1000}s`;
}

const pad = (n: number, width = 2) => String(n).padStart(width, "0");
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const day = (d: Date) => `${d.getDate()} ${months[d.getMonth()]}`;
const clock = (d: Date) => `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;

export const sameDay = (a: Date, b: Date) => a.getFullYear() === b.getFullYear() && a.getMonth() === b.getMonth() && a.getDate() === b.getDate();

/** 14:00:02.114, in the local zone. */
export function timeOfDay(time: string): string {
  const d = new Date(time);
  return isNaN(d.getTime()) ? time : `${clock(d)}.${pad(d.getMilliseconds(), 3)}`;
}

/** 21 Nov, in the local zone. */
export const dayOf = (time: string) => day(new Date(time)).padStart(6);

/** 2026-11-21 14:00:02.114033201 +01:00, in the local zone. */
export function fullTime(time: string): string {
  const d = new Date(time);
  if (isNaN(d.getTime())) return time;
  const fraction = /\.(\d+)/.exec(time)?.[1] ?? "";
  const offset = -d.getTimezoneOffset();
  const zone = `${offset < 0 ? "-" : "+"}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(d)}${fraction ? "." + fraction.replace(/0{3,6}$/, "") : ""} ${zone}`;
}

/** A point in time as a label shows it: 14:00, 14:00:05, or with its day when that is not today. */
export function shortTime(time: string, now: Date): string {
  const d = new Date(time);
  if (isNaN(d.getTime())) return time;
  const text = d.getSeconds() ? clock(d) : clock(d).slice(0, 5);
  if (sameDay(d, now)) return text;
  return `${day(d)}${d.getFullYear() === now.getFullYear() ? "" : " " + d.getFullYear()} ${text}`;
}

export function rangeLabel(r: TimeRange, now: Date): string {
  const known = r.until ? undefined : ranges.find((k) => k.since === r.since);
  if (known) return known.label;
  const at = (text: string) => (duration(text) === undefined ? shortTime(text, now) : `${text} ago`);
  if (!r.until) return duration(r.since) === undefined ? `Since ${at(r.since)}` : `Last ${r.since}`;
  return r.since === "all" ? `Until ${at(r.until)}` : `${at(r.since)} – ${at(r.until)}`;
}

/** What a person writes for a point in time, as a range has it: 15m, 14:05, 2026-11-21, 2026-11-21 14:05, RFC 3339, now,
 * all. What does not carry an offset is local. undefined when it is none of these. */
export function readTime(text: string, now: Date): string | undefined {
  const s = text.trim().replace(/\s+/g, " ").replace(/ ago$/, "");
  if (s === "" || s === "now") return "";
  if (s === "all" || (duration(s) ?? 0) > 0) return s;
  const m = /^(?:(today|yesterday)|(\d{4})-(\d\d?)-(\d\d?))?(?:[ T]?(\d\d?):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?$/i.exec(s);
  if (m) {
    const date = m[2]
      ? new Date(+m[2], +m[3]! - 1, +m[4]!)
      : new Date(now.getFullYear(), now.getMonth(), now.getDate() - (m[1]?.toLowerCase() === "yesterday" ? 1 : 0));
    if (m[2] && (date.getMonth() !== +m[3]! - 1 || date.getDate() !== +m[4]!)) return undefined;
    const [h, min, sec] = [+(m[5] ?? 0), +(m[6] ?? 0), +(m[7] ?? 0)];
    if (h > 23 || min > 59 || sec > 59) return undefined;
    date.setHours(h, min, sec, +(m[8] ?? "0").slice(0, 3).padEnd(3, "0"));
    return date.toISOString();
  }
  if (!/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*(?:Z|[+-]\d\d:?\d\d)$/i.test(s)) return undefined;
  const d = new Date(s);
  return isNaN(d.getTime()) ? undefined : d.toISOString();
}

/** The smallest time behind another one. */
export function justAfter(time: string): string {
  const nanos = BigInt((/\.(\d{1,9})/.exec(time)?.[1] ?? "").padEnd(9, "0")) + 1n;
  const second = new Date(time.replace(/\.\d+/, ""));
  second.setUTCSeconds(second.getUTCSeconds() + Number(nanos / 1_000_000_000n)); // a local hour that comes twice stays the one it is
  return `${second.toISOString().slice(0, -5)}.${String(nanos % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** A time moved by so many milliseconds. */
export const moved = (time: string, ms: number) => new Date(new Date(time).getTime() + ms).toISOString();

/** How long ago: 5 s, 3 min, 2 h, 4 d. */
export function age(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 2 * 86_400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}
