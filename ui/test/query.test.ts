import assert from "node:assert/strict";
import test from "node:test";
import { find, fromRE2, marksOf } from "../src/marks.ts";
import { asksFor, fieldTerm, fromBytes, paint, parse, toggle, valueText, withTerm, writing } from "../src/query.ts";

/** The terms as the tokenizer sees them: -field op values, texts as they are, regular expressions with ~. */
function terms(text: string): string[] {
  return parse(text).terms.map(
    (t) =>
      (t.negated ? "-" : "") +
      (t.field === undefined ? (t.regex ? "~" : "") : `${t.field} ${t.operator} `) +
      t.values.map((v) => (v.quoted ? `"${v.text}"` : v.text)).join("|"),
  );
}

test("terms are what index/query reads", () => {
  for (const [text, ...want] of [
    ["timeout", "timeout"],
    [' "connection refused"  -healthz', '"connection refused"', "-healthz"],
    ["service:pay* level>=warning", "service : pay*", "level >= warning"],
    ['path~"^/api/v[12]/" NOT user.id:*', 'path ~ "^/api/v[12]/"', "-user.id : *"],
    ['(level>=error OR ~"panic|fatal") -service:(canary, loadtest)', "level >= error", '~"panic|fatal"', "-service : canary|loadtest"],
    ["-(a b) c", "-a", "-b", "c"],
    ["NOT NOT a", "a"],
    ["!(a -b)", "-a", "b"],
    ["error: refused http://x a::b C:\\dir 12:30 a->b a=>b", "error:", "refused", "http://x", "a::b", "C:\\dir", "12:30", "a->b", "a=>b"],
    ["a:b:c path:/api/*", "a : b:c", "path : /api/*"],
    ["x - y -- --z ! !a -> b", "x", "-", "y", "--", "--z", "!", "-a", "->", "b"],
    ['don\'t {"a":1}', "don't", '{"a":1}'],
    ['"odd field":x \'it "is"\' `a\'b`', "odd field : x", '"it "is""', '"a\'b"'],
    ['"a\\"b\\\\c\\d"', '"a"b\\c\\d"'],
    ["f!=v f!~re f<=5 f:-5", "f != v", "f !~ re", "f <= 5", "f : -5"],
    ['f:(a OR b, "c, d")', 'f : a|b|"c, d"'],
    ["ANDY AND ORLY OR NOTE", "ANDY", "ORLY", "NOTE"],
    ["größe:5 a.b-c:1 a-:1 @x=1", "größe : 5", "a.b-c : 1", "a-:1", "@x = 1"],
    ["~a.*b ~", "~a.*b", "~"],
    ["", ...[]],
    ['f: "open', "f:", '"open"'],
    ["f:(a", "f : a"],
    ["))((", ...[]],
    ["f:", "f:"],
    ["f>=", "f >= "],
  ] as [string, ...string[]][])
    assert.deepEqual(terms(text), want, text);
});

test("every text is read to its end, and tokens do not overlap", () => {
  const parts = ["a", "f:", "-", "!", "(", ")", '"', "'", "`", "~", "|", ",", " ", "OR", "NOT ", ">=", "\\", "é", "😀", ":", "f:(", "\n"];
  let seed = 7;
  const next = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  for (let i = 0; i < 20_000; i++) {
    let text = "";
    for (let j = next(12); j >= 0; j--) text += parts[next(parts.length)];
    const p = parse(text);
    let end = 0;
    for (const t of p.tokens) {
      assert(t.from >= end && t.to > t.from && t.to <= text.length, text);
      end = t.to;
    }
    const shown = paint(p)
      .map((x) => x.text)
      .join("");
    assert.equal(shown, text);
    assert.equal(
      paint(p, { from: 1, to: 1 })
        .map((x) => x.text)
        .join("")
        .trimEnd(),
      text.trimEnd(),
    );
  }
});

test("the place of an error is underlined", () => {
  const bad = (text: string, from: number, to: number) =>
    paint(parse(text), { from, to })
      .filter((p) => p.bad)
      .map((p) => p.text)
      .join("");
  assert.equal(bad("a foo(bar)", 5, 6), "(");
  assert.equal(bad("a OR", 2, 4), "OR");
  assert.equal(bad("f:", 2, 2), " "); // behind the end
  assert.equal(bad("level>=loud x", 7, 11), "loud");
});

test("negated terms are painted as a whole", () => {
  assert.equal(
    paint(parse("a -b -f:x NOT c"))
      .filter((p) => p.negated)
      .map((p) => p.text)
      .join("|"),
    "-|b|-|f|:|x|NOT|c",
  );
});

test("byte offsets become places", () => {
  for (const [text, bytes, want] of [
    ["abc", 2, 2],
    ["é€x", 5, 2],
    ["😀x", 4, 2],
    ["😀x", 5, 3],
    ["ab", 9, 2],
  ] as [string, number, number][])
    assert.equal(fromBytes(text, bytes), want, text);
});

test("values are quoted when they could mean something else", () => {
  for (const [value, want] of [
    ["pay", "pay"],
    ["pay-ments_2.x", "pay-ments_2.x"],
    ["500", "500"],
    ["0500", '"0500"'],
    ["1..5", '"1..5"'],
    ["10.0.0.0/8", '"10.0.0.0/8"'],
    ["a*", '"a*"'],
    ["*", '"*"'],
    ["", '""'],
    ["OR", '"OR"'],
    ["a b", '"a b"'],
    ['say "hi"', "'say \"hi\"'"],
    ["C:\\", "'C:\\'"],
    [`a"b'c`, "`a\"b'c`"],
    ["a\"b'c`d\\", '"a\\"b\'c`d\\\\"'],
    ["-x", '"-x"'],
    ["a,b", '"a,b"'],
    ["3s", '"3s"'],
  ] as [string, string][]) {
    assert.equal(valueText(value), want);
    assert.deepEqual(parse(fieldTerm("f", [value])).terms[0]!.values[0]!.text, value);
    assert.deepEqual(
      parse(fieldTerm("f", ["x", value])).terms[0]!.values.map((v) => v.text),
      ["x", value],
    );
  }
  assert.equal(fieldTerm("odd field", ["a", "b c"]), '"odd field":(a, "b c")');
});

test("terms are added and taken out", () => {
  for (const [query, field, value, want, result] of [
    ["", "level", "error", "with", "level:error"],
    ["*", "level", "error", "with", "level:error"],
    ["timeout", "level", "error", "with", "timeout level:error"],
    ["timeout level:error", "level", "error", "with", "timeout"],
    ["level:error timeout", "level", "error", "with", "timeout"],
    ["a level:error b", "level", "warning", "with", "a level:(error, warning) b"],
    ["a level:(error, warning) b", "level", "error", "with", "a level:warning b"],
    ["a level:warning b", "level", "warning", "without", "a b -level:warning"],
    ["-level:debug", "level", "debug", "with", "level:debug"],
    ["-level:debug", "level", "debug", "without", ""],
    ["-level:debug", "level", "info", "without", "-level:(debug, info)"],
    ["-level:debug", "level", "error", "with", "-level:debug level:error"],
    ["a OR b", "service", "x", "with", "(a OR b) service:x"],
    ["(a OR b) c", "service", "x", "with", "(a OR b) c service:x"],
    ["(service:x OR b) c", "service", "x", "with", "(service:x OR b) c service:x"],
    ["level>=warning", "level", "error", "with", "level>=warning level:error"],
    ['"two  spaces" f:1', "f", "1", "with", '"two  spaces"'],
    ["f:*", "f", "x", "with", "f:* f:x"],
    ["x NOT f:1", "f", "1", "without", "x"],
  ] as [string, string, string, "with" | "without", string][]) {
    assert.equal(toggle(query, field, value, want), result, query);
  }
  assert.equal(asksFor(parse("a -f:(x, y)"), "f", "y"), "without");
  assert.equal(asksFor(parse("a f:x"), "f", "x"), "with");
  assert.equal(asksFor(parse("(f:x OR a)"), "f", "x"), undefined);
  assert.equal(withTerm(" a OR b ", "c"), "(a OR b) c");
});

test("a value narrows a glob, and leaves it as it is", () => {
  assert.equal(toggle("service:pay*", "service", "payments"), "service:pay* service:payments");
  assert.equal(toggle("service:pay* service:payments", "service", "payments"), "service:pay*");
  assert.equal(toggle("service:(pay*, sales) x", "service", "sales"), "service:pay* x");
  assert.equal(toggle('f:"a*"', "f", "b"), 'f:("a*", b)');
  assert.equal(toggle("status:500..599 x", "status", "504"), "status:500..599 x status:504");
});

test("what is being written", () => {
  const at = (text: string) => {
    const w = writing(text, text.length);
    return w && `${w.field ?? ""}|${w.part}|${w.from}`;
  };
  for (const [text, want] of [
    ["ser", "|ser|0"],
    ["a ser", "|ser|2"],
    ["-ser", "|ser|1"],
    ["service:", "service||8"],
    ["a service:pa", "service|pa|10"],
    ["level>=w", "level|w|7"],
    ["service:(a, b", "service|b|12"],
    ["user.id:4", "user.id|4|8"],
    ["(a", "|a|1"],
    ['"a', undefined],
    ["", undefined],
  ] as [string, string | undefined][])
    assert.equal(at(text), want, text);
});

test("what matched is marked", () => {
  const marked = (query: string, text: string, where: "message" | "fields" = "message") =>
    find(text, marksOf(parse(query))[where])
      .map(([a, b]) => text.slice(a, b))
      .join("|");
  for (const [query, text, want] of [
    ["timeout", "Timeout and timeout", "Timeout|timeout"],
    ["Timeout", "Timeout and timeout", "Timeout"],
    ['"a b"', "xA By", "A B"],
    ["a.b", "aXb a.b", "a.b"],
    ["-timeout", "timeout", ""],
    ["-(a -timeout)", "a timeout", "timeout"],
    ["service:timeout", "timeout", ""],
    ["message:time", "timeout", "time"],
    ["message~t.m", "timeout", "tim"],
    ["~t.m", "timeout Tam", "tim"],
    ["~(?i)t", "", ""],
    ['~"(?i)T.M"', "timeout Tam", "tim|Tam"],
    ["*", "a*b", ""],
    ['"*"', "a*b", "*"],
    ["straße", "STRAßE", "STRAßE"],
    ["ab bc", "abc", "abc"],
    ['~"^b"', "a\nb", "b"],
    ['~"a.b"', "a\nb", "a\nb"],
    ['~"(?P<x>ab)+"', "abab", "abab"],
    ['""', "a", ""],
  ] as [string, string, string][])
    assert.equal(marked(query, text), want, `${query} in ${text}`);
  assert.equal(marked("timeout", "Timeout", "fields"), "Timeout");
  assert.equal(marked("message:timeout", "Timeout", "fields"), "");
});

test("no expression makes the page wait", () => {
  for (const source of ["(a+)+$", "(a|a)*b", "((a*))*b", "(a{1,50}){1,50}", "a*a*a*b", "(?:x+y?)*z", "([a-z]+)*@", "[[:alpha:]]+", "\\Qa", "(?U)a+"])
    assert.equal(fromRE2(source), undefined, source);
  for (const source of ["a+b", "^/api/v[12]/", "(a|b) c", "\\d+ ms", "(?i)panic|fatal", "[^)]*x", "(ab)+", "a{2}", "\\pL"])
    assert(fromRE2(source), source);
  const started = Date.now();
  for (const source of ["a*a*b", "(?i)a.*a.*b", "x*y*z"]) find("a".repeat(100_000), [fromRE2(source)!]);
  assert(Date.now() - started < 30_000);
});
