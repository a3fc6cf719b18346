// Events and the lines of the server's answers.

export type Value = string | number | boolean | null | Value[] | { [name: string]: Value };

export interface LogEvent {
  id: string;
  time: string; // RFC 3339, UTC, nine digits behind the point
  received?: string;
  level?: string;
  service?: string;
  env?: string;
  host?: string;
  container?: string;
  stream?: string;
  message?: string;
  fields?: Record<string, Value>;
}

/** A line of JSON. A number that the browser would round, or write otherwise, becomes a text: what is shown is what was
 * sent. */
export function parseLine(line: string): unknown {
  return JSON.parse(/[:,[]-?[\d.eE+-]{16}|[:,[]-?\d[\d.]*[eE]|[:,[]-?\d+\.\d*0[,\]}]|[:,[]-0[,\]}]/.test(line) ? exact(line) : line);
}

/** The line with each number that would change in quotes. */
function exact(line: string): string {
  return line.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (token) => (token[0] === '"' || String(Number(token)) === token ? token : `"${token}"`));
}

/** Whether id a came later than b: whole numbers of any length. */
export const later = (a: string, b: string) => a.length > b.length || (a.length === b.length && a > b);

/** A field's value as one line of text. */
export function valueText(value: Value): string {
  if (typeof value === "string") return value;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** A field's values: an array is several. */
export const valuesOf = (value: Value): Value[] => (Array.isArray(value) ? value : [value]);

/** The field that says to which request an event belongs, with its value. */
export function requestOf(e: LogEvent): { field: string; value: string } | undefined {
  for (const [field, value] of Object.entries(e.fields ?? {})) {
    if (typeof value === "string" && value && /^(?:.*[._-])?x?[._-]?(?:request|req|trace|correlation)[._-]?id$/i.test(field)) return { field, value };
  }
  return undefined;
}

// Pages of history, newest first by (time, sequence).

/** What to ask for to get the rows behind the ones there are: up to the oldest one's time, itself included, since others
 * may have the same; and which of the answer are there already. */
export function nextPage(rows: readonly LogEvent[], after: (time: string) => string): { until: string; seen: Set<string> } | undefined {
  const oldest = rows[rows.length - 1];
  if (!oldest) return undefined;
  const seen = new Set<string>();
  for (let i = rows.length - 1; i >= 0 && rows[i]!.time === oldest.time; i--) seen.add(rows[i]!.id);
  return { until: after(oldest.time), seen };
}

/** Tells of the fields that Docker adds to every line: they say the same each time, and stand in the detail alone. The command
 * line leaves out the same ones. */
export const byShipper = (name: string) =>
  name.startsWith("com.docker.") || /^(?:command|container_id|container_name|created|image_id|image_name|tag|facility)$/.test(name);

// What the rows at hand hold, for the sidebar.

export interface Facets {
  rows: number;
  levels: Map<string, number>;
  services: Map<string, number>;
  fields: Map<string, Facet>;
}

export interface Facet {
  rows: number;
  values: Map<string, number>;
  many: boolean; // there are more values than are counted
}

const mostValues = 100;

export function facetsOf(rows: Iterable<LogEvent>, most: number): Facets {
  const f: Facets = { rows: 0, levels: new Map(), services: new Map(), fields: new Map() };
  const add = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1);
  const field = (name: string, value: Value) => {
    let facet = f.fields.get(name);
    if (!facet) {
      if (f.fields.size >= 500) return;
      f.fields.set(name, (facet = { rows: 0, values: new Map(), many: false }));
    }
    facet.rows++;
    for (const v of valuesOf(value)) {
      if (v === null || typeof v === "object") continue;
      const text = String(v);
      if (facet.values.has(text) || facet.values.size < mostValues) add(facet.values, text);
      else facet.many = true;
    }
  };
  for (const e of rows) {
    if (f.rows++ >= most) break;
    if (e.level) add(f.levels, e.level);
    if (e.service) add(f.services, e.service);
    for (const name of ["host", "container", "env", "stream"] as const) if (e[name]) field(name, e[name]!);
    for (const [name, value] of Object.entries(e.fields ?? {})) if (!byShipper(name)) field(name, value);
  }
  f.rows = Math.min(f.rows, most);
  return f;
}
