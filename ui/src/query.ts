// The query language as far as the page needs it: colours, marks, suggestions, and adding and removing terms. It reads
// any text and never fails; what is wrong with a query is the server's to say (/api/v1/check). The rules are those of
// index/query/parse.go.

export type Kind = "text" | "string" | "regex" | "field" | "operator" | "value" | "negation" | "keyword" | "paren";

export interface Token {
  kind: Kind;
  from: number; // in UTF-16 units, as all places here
  to: number;
}

/** One term: a text, a regular expression, or a field with its operator and values. */
export interface Term {
  from: number; // its signs included
  to: number;
  depth: number; // of the parentheses around it
  negated: boolean; // its own signs and those of the groups around it together
  signs: number; // its own
  field?: string;
  operator?: string;
  values: Value[]; // one for a text and a regular expression, several for a list
  regex: boolean;
}

export interface Value {
  text: string;
  quoted: boolean;
}

export interface Parsed {
  text: string;
  tokens: Token[];
  terms: Term[];
  or: boolean; // there is an OR outside of all parentheses
}

const space = /[\t-\r \x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const operators = ["!=", "!~", ">=", "<=", ":", "=", ">", "<", "~"];
const nameAt = /[\p{L}_@][\p{L}\p{Nd}_@-]*(?:\.[\p{L}_@][\p{L}\p{Nd}_@-]*)*/uy;
const wholeName = new RegExp(`^(?:${nameAt.source})$`, "u");

const isQuote = (c: string | undefined) => c === '"' || c === "'" || c === "`";

/** A string in quotes that begins at i: what it stands for, and the place behind it. */
function readString(text: string, i: number): { value: string; to: number } {
  const quote = text[i];
  let value = "";
  for (let j = i + 1; j < text.length; j++) {
    const c = text[j]!;
    if (c === quote) return { value, to: j + 1 };
    if (quote === '"' && c === "\\" && (text[j + 1] === '"' || text[j + 1] === "\\")) j++;
    value += text[j];
  }
  return { value, to: text.length };
}

export function parse(text: string): Parsed {
  const tokens: Token[] = [];
  const terms: Term[] = [];
  const groups: boolean[] = []; // of each open parenthesis: whether what is in it is negated
  let or = false;
  let i = 0;
  let signs = 0;
  let start = -1; // of the signs

  const stops = (at: number) => at >= text.length || text[at] === "(" || text[at] === ")" || space.test(text[at]!);
  const closes = (at: number) => stops(at) && text[at] !== "(";
  const keyword = (word: string) => text.startsWith(word, i) && stops(i + word.length);
  const outer = () => groups[groups.length - 1] ?? false;
  const token = (kind: Kind, to: number) => {
    if (to > i) tokens.push({ kind, from: i, to });
    i = to;
  };
  const wordEnd = (at: number, list = false) => {
    while (at < text.length && !"()|".includes(text[at]!) && !(list && text[at] === ",") && !space.test(text[at]!)) at++;
    return at;
  };
  const add = (term: Pick<Term, "field" | "operator" | "values" | "regex">, from: number) => {
    terms.push({ ...term, from: start < 0 ? from : start, to: i, depth: groups.length, negated: outer() !== (signs % 2 === 1), signs });
    signs = 0;
    start = -1;
  };
  const value = (kind: Kind, list = false): Value => {
    if (isQuote(text[i])) {
      const s = readString(text, i);
      token(kind === "regex" ? "regex" : "string", s.to);
      return { text: s.value, quoted: true };
    }
    const from = i;
    token(kind, wordEnd(i, list));
    return { text: text.slice(from, i), quoted: false };
  };
  const operatorAt = (at: number, afterQuote: boolean) => {
    const o = operators.find((o) => text.startsWith(o, at));
    if (!o || text.startsWith("=>", at)) return undefined;
    if (!afterQuote && o === ":" && (closes(at + 1) || /^(?::|\/\/|\\)/.test(text.slice(at + 1, at + 3)))) return undefined;
    return o;
  };
  const field = (name: string, from: number, nameEnd: number, operator: string) => {
    token("field", nameEnd);
    token("operator", i + operator.length);
    const values: Value[] = [];
    const regex = operator === "~" || operator === "!~";
    if (text[i] === "(" && operator === ":") {
      token("paren", i + 1);
      while (i < text.length && text[i] !== ")") {
        if (space.test(text[i]!)) i++;
        else if (text[i] === ",") token("operator", i + 1);
        else if (keyword("OR")) token("keyword", i + 2);
        else if (text[i] === "(" || text[i] === "|") token("paren", i + 1);
        else values.push(value("value", true));
      }
      if (i < text.length) token("paren", i + 1);
    } else if (!closes(i)) values.push(value(regex ? "regex" : "value"));
    add({ field: name, operator, values, regex }, from);
  };

  while (i < text.length) {
    const c = text[i]!;
    const from = i;
    if (space.test(c)) {
      i++;
    } else if (keyword("AND")) {
      token("keyword", i + 3);
    } else if (keyword("OR")) {
      or ||= groups.length === 0;
      token("keyword", i + 2);
    } else if (keyword("NOT")) {
      if (start < 0) start = i;
      signs++;
      token("keyword", i + 3);
    } else if ((c === "-" || c === "!") && isSign(text, i, closes)) {
      if (start < 0) start = i;
      signs++;
      token("negation", i + 1);
    } else if (c === "(") {
      groups.push(outer() !== (signs % 2 === 1));
      signs = 0;
      start = -1;
      token("paren", i + 1);
    } else if (c === ")") {
      groups.pop();
      token("paren", i + 1);
    } else if (c === "|") {
      token("paren", i + 1);
    } else if (isQuote(c)) {
      const s = readString(text, i);
      const o = operatorAt(s.to, true);
      if (o) field(s.value, from, s.to, o);
      else {
        token("string", s.to);
        add({ values: [{ text: s.value, quoted: true }], regex: false }, from);
      }
    } else if (c === "~" && !closes(i + 1)) {
      token("operator", i + 1);
      const v = value("regex");
      add({ values: [v], regex: true }, from);
    } else {
      nameAt.lastIndex = i;
      const name = nameAt.exec(text)?.[0] ?? "";
      const o = name && !/-$/.test(name) && !/-\./.test(name) ? operatorAt(i + name.length, false) : undefined;
      if (o) field(name, from, i + name.length, o);
      else {
        const end = Math.max(wordEnd(i), i + 1);
        token("text", end);
        add({ values: [{ text: text.slice(from, end), quoted: false }], regex: false }, from);
      }
    }
  }
  return { text, tokens, terms, or };
}

/** Whether the - or ! at i negates what it touches. --x, an arrow and signs by themselves are text. */
function isSign(text: string, i: number, closes: (at: number) => boolean): boolean {
  const s = text.slice(i);
  if (/^(?:--|->|!=)/.test(s)) return false;
  return !closes(i + /^[-!]+/.exec(s)![0].length) && !(s.startsWith("!~") && closes(i + 2));
}

/** A piece of the query box: its kind and whether it is ruled out decide the colour, bad underlines it. */
export interface Piece {
  text: string;
  kind?: Kind;
  negated: boolean;
  bad: boolean;
}

/** The text cut into pieces of one look. An empty place of an error becomes the character before it, or a space at the end. */
export function paint(p: Parsed, error?: { from: number; to: number }): Piece[] {
  let { from, to } = error ?? { from: -1, to: -1 };
  const text = error && from >= p.text.length ? p.text + " " : p.text;
  if (error && to <= from) to = from + 1;
  const cuts = new Set([0, text.length]);
  for (const t of p.tokens) cuts.add(t.from).add(t.to);
  if (error) cuts.add(Math.min(from, text.length)).add(Math.min(to, text.length));
  const places = [...cuts].sort((a, b) => a - b);
  const pieces: Piece[] = [];
  let next = 0;
  for (let i = 0; i + 1 < places.length; i++) {
    const [a, b] = [places[i]!, places[i + 1]!];
    while (next < p.tokens.length && p.tokens[next]!.to <= a) next++;
    const t = p.tokens[next];
    const inside = t && t.from <= a;
    const negated = inside === true && p.terms.some((term) => term.negated && term.from <= a && b <= term.to);
    pieces.push({ text: text.slice(a, b), ...(inside ? { kind: t.kind } : {}), negated, bad: a >= from && b <= to });
  }
  return pieces;
}

/** The place in a string that the server gives as an offset in UTF-8 bytes. */
export function fromBytes(text: string, bytes: number): number {
  let i = 0;
  for (const c of text) {
    const code = c.codePointAt(0)!;
    bytes -= code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes < 0) break;
    i += c.length;
  }
  return i;
}

// Writing terms.

/** s in the quotes that need the fewest escapes. */
export function quoted(s: string): string {
  if (!s.includes('"') && !/\\(?:\\|$)/.test(s)) return `"${s}"`;
  if (!s.includes("'")) return `'${s}'`;
  if (!s.includes("`")) return "`" + s + "`";
  return `"${s.replace(/[\\"]/g, "\\$&")}"`;
}

const plain = /^(?:[\p{L}_][\p{L}\p{Nd}_-]*(?:\.[\p{L}\p{Nd}_-]+)*|0|[1-9]\d*)$/u;

/** A value behind "field:" that stands for exactly this text: in quotes when it could mean something else. */
export function valueText(s: string): string {
  return plain.test(s) && !/^(?:AND|OR|NOT)$/.test(s) ? s : quoted(s);
}

export function fieldName(name: string): string {
  return wholeName.test(name) && !/-(?:\.|$)/.test(name) ? name : quoted(name);
}

export function fieldTerm(field: string, values: string[]): string {
  return listTerm(field, values.map(valueText));
}

const listTerm = (field: string, list: string[]) => `${fieldName(field)}:${list.length === 1 ? list[0] : `(${list.join(", ")})`}`;

/** The query with one more term that everything must meet. */
export function withTerm(query: string, term: string): string {
  const text = query.trim();
  if (text === "" || text === "*") return term;
  return `${parse(text).or ? `(${text})` : text} ${term}`;
}

const isList = (t: Term, field: string) =>
  t.depth === 0 && t.field === field && t.operator === ":" && !t.regex && t.values.length > 0 && t.signs <= 1;

/** Whether all that the query finds has this value of a field, or has it not, by a term of its own. */
export function asksFor(p: Parsed, field: string, value: string): "with" | "without" | undefined {
  for (const t of p.or ? [] : p.terms) {
    if (isList(t, field) && t.values.some((v) => v.text === value)) return t.negated ? "without" : "with";
  }
  return undefined;
}

/** The query with one more value of the field asked for (or ruled out), or without it when that was so already. Values of
 * one field gather in one list. */
export function toggle(query: string, field: string, value: string, want: "with" | "without" = "with"): string {
  const p = parse(query);
  const before = asksFor(p, field, value);
  let text = query;
  let done = false;
  for (const t of p.or ? [] : p.terms.slice().reverse()) {
    if (!isList(t, field)) continue;
    // What stands without quotes stays so: it may be a glob or a range. Such a term is not joined: the value narrows it.
    const values = t.values.filter((v) => v.text !== value).map((v) => (v.quoted ? quoted(v.text) : v.text));
    const exact = t.values.every((v) => v.quoted || plain.test(v.text));
    if (values.length === t.values.length && exact && before !== want && t.negated === (want === "without") && !done) {
      values.push(valueText(value));
      done = true;
    }
    const term = values.length ? (t.negated ? "-" : "") + listTerm(field, values) : "";
    text = text.slice(0, t.from) + term + text.slice(t.to);
  }
  text = text.replace(/^\s+|\s+$/g, "");
  if (text !== query.trim()) text = tidy(text);
  if (before !== want && !done) text = withTerm(text, (want === "without" ? "-" : "") + fieldTerm(field, [value]));
  return text;
}

/** Takes out the double spaces that a removed term leaves, but not those within quotes. */
function tidy(text: string): string {
  let out = "";
  let end = 0;
  for (const t of parse(text).tokens) {
    out += text.slice(end, t.from).replace(/\s+/g, " ") + text.slice(t.from, t.to);
    end = t.to;
  }
  return (out + text.slice(end)).trim();
}

// Suggestions.

export const builtins = ["service", "level", "host", "container", "env", "stream", "message"];
export const levels = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];

/** What is being written at the caret: a field's name, or the value of a field. from is where a suggestion would begin. */
export function writing(text: string, caret: number): { from: number; part: string; field?: string } | undefined {
  const before = text.slice(0, caret);
  const list = /(?:^|[\s(!-])([\p{L}_@][\p{L}\p{Nd}_@.-]*):\((?:[^()]*[,\s])?([^\s(),"'`]*)$/u.exec(before);
  if (list) return { from: caret - list[2]!.length, part: list[2]!, field: list[1] };
  const value = /(?:^|[\s(!-])([\p{L}_@][\p{L}\p{Nd}_@.-]*)(?::|!=|>=|<=|=|>|<)([^\s()"'`=<>~:]*)$/u.exec(before);
  if (value) return { from: caret - value[2]!.length, part: value[2]!, field: value[1] };
  const name = /(?:^|[\s(!-])([\p{L}_@][\p{L}\p{Nd}_@.-]*)$/u.exec(before);
  if (name) return { from: caret - name[1]!.length, part: name[1]! };
  return undefined;
}
