// What made a row match: the query's words, phrases and regular expressions that are not negated, found in the texts
// that a row shows.

import type { Parsed } from "./query.ts";

export type Range = [from: number, to: number];

/** An expression, and how much of a text it may look at. */
export interface Mark {
  re: RegExp;
  most: number;
}

export interface Marks {
  message: Mark[];
  fields: Mark[];
}

export const noMarks: Marks = { message: [], fields: [] };

export function marksOf(p: Parsed): Marks {
  const marks: Marks = { message: [], fields: [] };
  for (const t of p.terms) {
    if (t.negated || t.values.length === 0) continue;
    const onMessage = t.field === "message" && (t.operator === ":" || t.operator === "~");
    if (t.field !== undefined && !onMessage) continue;
    for (const v of t.values) {
      if (v.text === "" || (v.text === "*" && !v.quoted)) continue;
      const mark = t.regex ? fromRE2(v.text) : literal(v.text);
      if (!mark) continue;
      marks.message.push(mark);
      if (t.field === undefined) marks.fields.push(mark);
    }
  }
  return marks;
}

/** The language's rule for words: one without an upper-case letter is found in any case. */
function literal(text: string): Mark {
  return { re: new RegExp(text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), /\p{Lu}/u.test(text) ? "gu" : "giu"), most: 100_000 };
}

/** A regular expression of Go's, in the browser's words, when it can be said in them and cannot take long. RE2 needs
 * linear time for every expression; the browser's engine backtracks, so that repeats within repeats, and many of them, are
 * not marked: a link to a query must not hang the page. */
export function fromRE2(source: string): Mark | undefined {
  let flags = "gms";
  const leading = /^\(\?([imsU]+)\)/.exec(source);
  let text = source;
  if (leading) {
    if (leading[1]!.includes("U")) return undefined;
    if (leading[1]!.includes("i")) flags += "i";
    text = text.slice(leading[0].length);
  }
  const repeats = openRepeats(text);
  if (/\\[QECAz]|\[\[:|\(\?[imsU-]/.test(text) || repeats > 2) return undefined;
  text = text.replace(/\(\?P</g, "(?<").replace(/\\p([A-Z])/g, "\\p{$1}");
  for (const unicode of ["u", ""]) {
    try {
      return { re: new RegExp(text, flags + unicode), most: repeats > 1 ? 300 : 2000 };
    } catch {
      // The next one is laxer.
    }
  }
  return undefined;
}

/** How many repeats without a small bound an expression has: matching takes at most about the text's length to the power
 * of one more. Infinity when one holds another, or alternatives: then it can take for ever. */
function openRepeats(source: string): number {
  let text = source.replace(/\\./g, "a").replace(/\[\^?\]?[^\]]*\]/g, "a");
  const repeats = (text.match(/[*+]|\{\d+,\d*\}|\{\d{3,}\}/g) ?? []).length;
  for (let group; (group = /\(([^()]*)\)([*+]|\{\d+,?\d*\})?/.exec(text));) {
    if (group[2] && /[*+|{?]/.test(group[1]!.replace(/^\?(?::|P?<[^>]*>)/, ""))) return Infinity;
    text = text.slice(0, group.index) + group[1]!.replace(/^\?(?::|P?<[^>]*>)/, "") + text.slice(group.index + group[0].length);
  }
  return repeats;
}

/** The places of a text to mark, in order, without overlaps. */
export function find(text: string, marks: readonly Mark[]): Range[] {
  const found: Range[] = [];
  for (const { re, most } of marks) {
    const part = text.slice(0, most);
    re.lastIndex = 0;
    for (let m = re.exec(part); m && found.length < 1000; m = re.exec(part)) {
      if (m[0] === "") re.lastIndex++;
      else found.push([m.index, m.index + m[0].length]);
    }
  }
  found.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const merged: Range[] = [];
  for (const r of found) {
    const last = merged[merged.length - 1];
    if (last && r[0] <= last[1]) last[1] = Math.max(last[1], r[1]);
    else merged.push(r);
  }
  return merged;
}
