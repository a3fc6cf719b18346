// What comes from outside (lines, names, labels, answers) as text that shows what is there and does nothing: control
// characters, ANSI, characters that turn the direction of text and those without a width are written out. Nothing here or
// anywhere in the page makes markup of them.

/** A piece of text; written tells that it stands for a character that cannot be shown. */
export interface Shown {
  text: string;
  written: boolean;
  marked: boolean;
}

const active = new RegExp(
  [
    "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]", // control characters but for tab and newline
    "[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]", // the direction of text
    "[\\u00ad\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b\\u202f\\u2060-\\u2065\\u206a-\\u206f\\u3164\\ufeff\\uffa0\\ufff0-\\ufffb]", // no width, no ink
    "[\\u2028\\u2029]", // ends of lines
    "[\\u{e0000}-\\u{e0fff}]", // tags
    "(?<![^\\x00-\\x7f])[\\u200c\\u200d]|[\\u200c\\u200d](?![^\\x00-\\x7f])", // joiners, but where scripts and emoji need them
    "\\p{Cs}", // halves of characters
  ].join("|"),
  "u",
);
const activeAll = new RegExp(active, "gu");

/** Whether a text can be shown as it is. */
export const isPlain = (text: string) => !active.test(text);

/** A character as the command line writes it, too. */
function written(c: string): string {
  const code = c.codePointAt(0)!;
  if (c === "\r") return "\\r";
  const hex = code.toString(16);
  return code < 0x100 ? "\\x" + hex.padStart(2, "0") : code > 0xffff ? "\\U" + hex.padStart(8, "0") : "\\u" + hex.padStart(4, "0");
}

/** The pieces of a text, with marked ranges. */
export function show(text: string, marks: readonly (readonly [number, number])[] = []): Shown[] {
  if (marks.length === 0 && isPlain(text)) return text ? [{ text, written: false, marked: false }] : [];
  const pieces: Shown[] = [];
  const part = (from: number, to: number, marked: boolean) => {
    let end = from;
    const add = (text: string, written: boolean) => text && pieces.push({ text, written, marked });
    for (const m of text.slice(from, to).matchAll(activeAll)) {
      add(text.slice(end, from + m.index), false);
      add(written(m[0]), true);
      end = from + m.index + m[0].length;
    }
    add(text.slice(end, to), false);
  };
  let at = 0;
  for (const [from, to] of marks) {
    part(at, from, false);
    part(from, to, true);
    at = to;
  }
  part(at, text.length, false);
  return pieces;
}

/** The same as one text, for titles and names. */
export const plainText = (text: string) => text.replace(activeAll, written);

/** A text without the colours of a terminal: they say nothing in a row. */
export const withoutColours = (text: string) => (text.includes("\x1b") ? text.replace(/\x1b\[[\d;:]*m/g, "") : text);

/** The beginning of a text, not cut through a character. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  const end = /[\ud800-\udbff]/.test(text[most - 1]!) ? most - 1 : most;
  return text.slice(0, end) + "…";
}

// Numbers.

/** 1,522 */
export const count = (n: number) => String(Math.round(n)).replace(/\B(?=(?:\d{3})+$)/g, ",");

/** 8.1 M */
export function short(n: number): string {
  if (n < 100_000) return count(n);
  const [size, unit] = n < 1e6 ? [1e3, "k"] : n < 1e9 ? [1e6, "M"] : [1e9, "G"];
  return `${(n / size).toFixed(n / size < 100 ? 1 : 0)} ${unit}`;
}

/** 21 MiB */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${n < 10 && i > 0 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export const milliseconds = (ms: number) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

export const plural = (n: number, one: string, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

/** A hue that is a name's own. */
export function hue(name: string): number {
  let h = 2166136261;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 16777619);
  return (h >>> 0) % 360;
}
