package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var shots = flag.String("shots", "", "a folder for pictures of the page")

// page is the page in a real browser.
type page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the browser complained about
}

// browse starts a browser. It outlives the test's context, so that its end can be seen.
func browse(t *testing.T) *page {
	t.Helper()
	need(t, "chromium", "run make setup as root on Debian or Ubuntu")
	dir, err := os.MkdirTemp("", "lookout-chromium")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU,
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(dir), chromedp.WindowSize(1440, 820),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("lang", "en-US"))
	ctx, _ = chromedp.NewContext(ctx)
	ctx, end := context.WithTimeout(ctx, patience*3*time.Minute)
	p := &page{t: t, ctx: ctx}
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // lets the browser end by itself
		end()
		stop()
		os.RemoveAll(dir)
	})
	err = chromedp.Listen(ctx, func(event any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning || e.Entry.Source == log.EntrySourceSecurity {
				p.problems = append(p.problems, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		case *runtime.EventConsoleAPICalled:
			p.problems = append(p.problems, fmt.Sprintf("console.%s: %v", e.Type, e.Args))
		case *runtime.EventExceptionThrown:
			text := e.ExceptionDetails.Text
			if e.ExceptionDetails.Exception != nil {
				text += " " + e.ExceptionDetails.Exception.Description
			}
			p.problems = append(p.problems, "exception: "+text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// clean checks that the browser complained about nothing but what is expected, and forgets it.
func (p *page) clean(expected ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		if !slices.ContainsFunc(expected, func(part string) bool { return strings.Contains(problem, part) }) {
			p.t.Errorf("the browser complains: %s", problem)
		}
	}
	p.problems = nil
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience*20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%v; the page says:\n%s", err, last(p.text("body"), 1500))
	}
}

func (p *page) open(address string) { p.t.Helper(); p.do(chromedp.Navigate(address)) }

func (p *page) key(keys string) { p.t.Helper(); p.drawn(); p.do(chromedp.KeyEvent(keys)) }

func (p *page) click(selector string) {
	p.t.Helper()
	p.drawn()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// drawn waits until the page shows what was done before, as a person does before the next key: it draws with the next frame.
func (p *page) drawn() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience*20*time.Second)
	defer cancel()
	// Its error is that of a page that is being left.
	_, _ = chromedp.Run(ctx, chromedp.Evaluate[any](`new Promise(done => { requestAnimationFrame(() => setTimeout(done)); setTimeout(done, 1000) })`, chromedp.EvalAwaitPromise))
}

// clickText clicks the first element that the selector finds and whose text begins so.
func (p *page) clickText(selector, text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`(() => { const e = [...document.querySelectorAll(%q)].find(e => e.textContent.trim().startsWith(%q)); if (!e) return false; e.click(); return true })()`, selector, text))
}

// js returns what an expression yields, or the promise that it is.
func js[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience*30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait waits until an expression is true. It is asked anew each time, so that it may hold over a load of the page.
func (p *page) wait(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience*20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")")); err == nil && ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.t.Fatalf("never: %s; the page says:\n%s", expression, last(p.text("body"), 1500))
		}
	}
}

func (p *page) text(selector string) string {
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector)))
	if err != nil {
		return err.Error()
	}
	return v
}

// search runs a query and waits for so many matches.
func (p *page) search(q string, matches string) {
	p.t.Helper()
	p.key("/")
	js[any](p, `document.querySelector(".query textarea").select()`)
	if q == "" {
		p.key(kb.Backspace)
	} else {
		p.key(q)
	}
	p.key(kb.Enter)
	p.wait(fmt.Sprintf(`document.querySelector(".sum").textContent.startsWith(%q) && new URLSearchParams(location.search).get("q") == %s`, matches, orNull(q)))
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return strconv.Quote(s)
}

func (p *page) rows() int {
	p.t.Helper()
	return js[int](p, `+document.querySelector(".rows").ariaRowCount`)
}

// all scrolls through the whole list, which loads what there is, and returns the messages from the top to the bottom. It
// checks that the list says how many there are, and that it holds few of them at a time.
func (p *page) all() []string {
	p.t.Helper()
	found := js[struct {
		Messages []string
		Most     int
	}](p, `(async () => {
		const box = document.querySelector(".rows"), seen = new Map();
		const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
		let most = 0;
		box.scrollTop = 0;
		for (let still = 0; still < 5; ) {
			await frame();
			await frame();
			const rows = [...document.querySelectorAll(".window > .row")];
			most = Math.max(most, rows.length);
			for (const r of rows) seen.set(r.id, r.querySelector(".m bdi")?.textContent ?? "");
			const before = box.scrollTop;
			box.scrollTop += box.clientHeight;
			still = box.scrollTop === before && !document.querySelector(".end")?.textContent.includes("loading") ? still + 1 : 0;
		}
		box.scrollTop = 0;
		await frame();
		return { Messages: [...seen.values()], Most: most };
	})()`)
	if found.Most > 120 {
		p.t.Errorf("%d rows in the document at a time", found.Most)
	}
	if n := p.rows(); n != len(found.Messages) {
		p.t.Errorf("the list says that it has %d rows, and shows %d", n, len(found.Messages))
	}
	return found.Messages
}

func (p *page) shot(name string) {
	if *shots == "" {
		return
	}
	b, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(*shots, name+".png"), b, 0o644)
	}
	if err != nil {
		p.t.Log(name, err)
	}
}

func (p *page) size(width, height int64) { p.t.Helper(); p.do(chromedp.EmulateViewport(width, height)) }

func (p *page) scheme(name string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// send sends events, one JSON object each, as the API takes them.
func (s *server) send(events ...map[string]any) {
	s.t.Helper()
	var body strings.Builder
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			s.t.Fatal(err)
		}
		body.Write(append(line, '\n'))
	}
	resp, err := http.DefaultClient.Do(s.request("POST", "/api/v1/events", strings.NewReader(body.String())))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Accepted int }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Accepted != len(events) {
		s.t.Fatalf("%d of %d accepted, %v", answer.Accepted, len(events), err)
	}
}

// ticks are events whose messages are numbered.
func ticks(from, n int) []map[string]any {
	var all []map[string]any
	for i := range n {
		all = append(all, map[string]any{"service": "ticker", "level": "info", "message": fmt.Sprintf("tick %d", from+i)})
	}
	return all
}

// descending checks that rows are tick n-1 … tick 0: none missing, none twice, newest first.
func descending(t *testing.T, messages []string, n int) {
	t.Helper()
	if len(messages) != n {
		t.Errorf("%d rows, want %d", len(messages), n)
	}
	for i, m := range messages {
		if want := fmt.Sprintf("tick %d", n-1-i); m != want {
			t.Fatalf("row %d is %q, want %q", i, m, want)
		}
	}
}

const dangerous = `<script>window.__xss=1</script><img src=x onerror="window.__xss=2"><svg onload="window.__xss=3">`

// shop is what a small shop logs within some minutes.
func shop() []map[string]any {
	now := time.Now()
	var all []map[string]any
	add := func(age time.Duration, service, level, message string, fields map[string]any) {
		e := map[string]any{"time": now.Add(-age).Format(time.RFC3339Nano), "service": service, "level": level, "message": message, "host": "node-1", "container": service + "-1", "env": "prod"}
		for name, value := range fields {
			e[name] = value
		}
		all = append(all, e)
	}
	for i := range 40 {
		add(time.Duration(400-i)*time.Second, "sales", "info", fmt.Sprintf("GET /orders/%d 200", i), map[string]any{"status": 200, "duration_ms": 1.5 + float64(i), "request_id": fmt.Sprintf("r%03d", i)})
	}
	var trace strings.Builder
	trace.WriteString("com.acme.pay.GatewayException: gateway timeout")
	for i := range 23 {
		fmt.Fprintf(&trace, "\n\tat com.acme.pay.Gateway.call%d(Gateway.java:%d)", i, 100+i)
	}
	add(390*time.Second, "payments", "warning", "retrying charge after gateway Timeout attempt=1", map[string]any{"request_id": "r020", "order": 88121})
	add(389*time.Second, "payments", "error", trace.String(), map[string]any{"request_id": "r020", "big": json.Number("12345678901234567890")})
	add(388*time.Second, "payments", "debug", "pool has room", nil)
	add(300*time.Second, "payroll", "notice", "certificate renewed", nil)
	// Hostile in every place that a sender fills.
	add(200*time.Second, "<b>evil</b>", "info", dangerous, map[string]any{"<i>field</i>": "<img src=x onerror=window.__xss=4>", "link": "javascript:window.__xss=5"})
	add(199*time.Second, "hostile", "info", "\x1b[31mred\x1b[0m \x1b]52;c;aGFjaw==\x07 user \u202egnp.exe\u202c zero\u200bwidth", map[string]any{"host": `"><script>window.__xss=6</script>`})
	return all
}

// One browser, one server: what a person does with the page, in an order that one might.
func TestPage(t *testing.T) {
	p := browse(t)
	s := serve(t, t.TempDir(), "LOOKOUT_HTTP=127.0.0.1:"+freePorts(t, 1)[0]) // which it gets again after it was killed

	t.Cleanup(func() {
		if t.Failed() {
			p.shot("failed")
		}
	})
	step := func(name string, fn func(t *testing.T)) {
		if t.Failed() {
			return // what follows stands on it
		}
		t.Run(name, func(sub *testing.T) {
			p.t, s.t = sub, sub
			defer func() { p.t, s.t = t, t }()
			fn(sub)
		})
	}
	const unauthorized = "status of 401" // what the browser says of every such answer

	p.size(1440, 820)
	step("without a session there is a login and nothing else", func(t *testing.T) {
		p.open(s.http)
		p.wait(`document.querySelector(".login input")`)
		p.shot("login")
		p.click(".login input")
		p.key("lk_wrong")
		p.key(kb.Enter)
		p.wait(`document.querySelector(".login [role=alert]")`)
		p.contrast("login")
		p.clean(unauthorized)
	})

	step("a one-time address logs in", func(t *testing.T) {
		address, _, _ := s.cli("", "ui")
		p.open(strings.TrimSpace(address))
		p.wait(`document.querySelector(".empty")?.textContent.includes("No events yet")`)
		if at := js[string](p, `location.href`); at != s.http+"/" {
			t.Errorf("the code is still in the address: %s", at)
		}
		if cookie := js[string](p, `document.cookie`); cookie != "" {
			t.Errorf("scripts see the session: %s", cookie)
		}
		p.shot("empty")
		p.contrast("empty")
		s.send(shop()...)
		p.wait(`document.querySelectorAll(".row").length > 20`) // by itself
		p.clean(unauthorized)
	})

	step("search", func(t *testing.T) {
		p.search("timeout service:pay* level>=warning -healthz", "2 matches")
		if title := js[string](p, `document.title`); title != "timeout service:pay* level>=warning -healthz · lookout" {
			t.Error(title)
		}
		if marks := js[[]string](p, `[...document.querySelectorAll(".rows mark")].map(m => m.textContent)`); !slices.Equal(marks, []string{"timeout", "Timeout"}) {
			t.Errorf("marked: %q", marks)
		}
		if levels := js[[]string](p, `[...document.querySelectorAll(".rows .row")].map(r => r.className.trim() + " " + r.querySelector(".l").textContent)`); !slices.Equal(levels, []string{"row error error", "row warning warning"}) {
			t.Errorf("%q", levels)
		}
		if cli := p.text(".cli"); cli != "lookout grep 'timeout service:pay* level>=warning -healthz'" {
			t.Error(cli)
		}
		p.shot("search")
		// It is said for two seconds, in which a slow machine may not look.
		js[any](p, `(() => {
			const place = document.querySelector(".said");
			window.said = [];
			new MutationObserver(() => said.push(place.textContent)).observe(place, { childList: true, characterData: true, subtree: true });
		})()`)
		p.click(".cli")
		p.wait(`said.includes("Copied: the command")`)
		// The sidebar adds a term and takes it out.
		p.clickText("aside .pick", "payments")
		p.wait(`document.querySelector(".query textarea").value.endsWith("-healthz service:payments")`)
		p.clickText("aside .pick", "payments")
		p.wait(`document.querySelector(".query textarea").value === "timeout service:pay* level>=warning -healthz"`)
		// Back and forward.
		p.search("status:200", "40 matches")
		p.do(chromedp.NavigateBack())
		p.wait(`document.querySelector(".query textarea").value.startsWith("timeout") && document.querySelector(".sum").textContent.startsWith("2 matches")`)
		p.do(chromedp.NavigateForward())
		p.wait(`document.querySelector(".sum").textContent.startsWith("40 matches")`)
		// Earlier queries by keys, and what was being written after them.
		p.click(".query textarea")
		p.key(kb.End)
		p.key(" x")
		for _, c := range []struct{ key, value string }{{kb.ArrowUp, "status:200"}, {kb.ArrowUp, "timeout service:pay* level>=warning -healthz"}, {kb.ArrowDown, "status:200"}, {kb.ArrowDown, "status:200 x"}} {
			p.key(c.key)
			p.wait(fmt.Sprintf(`document.querySelector(".query textarea").value === %q`, c.value))
		}
		p.key(kb.Escape)
		p.wait(`document.activeElement === document.body`)
		p.clean()
	})

	step("an error has its place and the mend", func(t *testing.T) {
		p.key("/")
		js[any](p, `document.querySelector(".query textarea").select()`)
		p.key("größe foo(bar)")
		p.wait(`document.querySelector(".box .bad")`)
		if bad := js[string](p, `[...document.querySelectorAll(".box .bad")].map(e => e.textContent).join("")`); bad != "(" {
			t.Errorf("underlined: %q", bad)
		}
		if problem := p.text(".problem"); !strings.Contains(problem, "inside a word") || !strings.Contains(problem, `"foo(bar)"`) {
			t.Error(problem)
		}
		p.shot("error")
		p.contrast("error")
		p.key(kb.Enter) // the server refuses it as well; the rows stay
		p.wait(`document.querySelector(".sum").textContent === "no answer" && document.querySelectorAll(".row").length > 20`)
		p.clean("status of 400")
		// A suggestion by keys.
		p.key("/")
		js[any](p, `document.querySelector(".query textarea").select()`)
		p.key("serv")
		p.wait(`document.querySelector(".suggestions li")?.textContent.startsWith("service:")`)
		p.key(kb.Tab)
		p.key("payr")
		p.wait(`document.querySelector(".suggestions li")?.textContent.startsWith("payroll")`)
		p.key(kb.ArrowDown)
		p.key(kb.Enter)
		p.key(kb.Enter)
		p.wait(`new URLSearchParams(location.search).get("q") === "service:payroll" && document.querySelector(".sum").textContent.startsWith("1 match ")`)
		p.search("main.go:42", "0 matches")
		if note := p.text(".note"); !strings.Contains(note, `"main.go:42"`) {
			t.Errorf("no advice: %q", note)
		}
		p.clean()
	})

	step("a row opens in place", func(t *testing.T) {
		p.search("GatewayException", "1 match")
		p.key("j")
		p.key(kb.Enter)
		p.wait(`document.querySelector(".detail")`)
		if lines := strings.Count(p.text(".message"), "\n\tat "); lines != 9 {
			t.Errorf("%d lines of the trace behind the first", lines)
		}
		p.clickText(".message .fold", "▸ 14 more lines")
		p.wait(`document.querySelector(".message").textContent.includes("call22")`)
		if detail := p.text(".detail"); !strings.Contains(detail, "12345678901234567890") {
			t.Errorf("the number is not what was sent: %s", detail)
		}
		p.clickText(".acts button", "Context")
		p.wait(`document.querySelectorAll(".around .row").length === 3`)
		around := js[[]string](p, `[...document.querySelectorAll(".around .row")].map(r => r.querySelector(".s").textContent + " " + r.querySelector(".l").textContent + (r.classList.contains("this") ? " this" : ""))`)
		if want := []string{"payments warning", "payments error this", "payments debug"}; !slices.Equal(around, want) {
			t.Errorf("context %q", around)
		}
		p.shot("detail")
		p.contrast("detail")
		p.key(kb.Escape)
		p.wait(`!document.querySelector(".detail")`)
		p.key(kb.Enter)
		// For and without a value, and back.
		p.wait(`document.querySelector(".detail")`)
		p.clickText(".acts button", "This request")
		p.wait(`document.querySelector(".sum").textContent.startsWith("3 matches")`)
		if services := js[[]string](p, `[...new Set([...document.querySelectorAll(".rows .s")].map(s => s.textContent))].sort()`); !slices.Equal(services, []string{"payments", "sales"}) {
			t.Errorf("services %q", services)
		}
		p.click(".row.warning")
		p.wait(`document.querySelector(".detail")`)
		js[any](p, `document.querySelector('[aria-label="Without this value: order"]').click()`)
		p.wait(`document.querySelector(".query textarea").value === "request_id:r020 -order:88121" && document.querySelector(".sum").textContent.startsWith("2 matches")`)
		p.clean()
	})

	step("a link shows the event", func(t *testing.T) {
		id := s.query("GatewayException")[0].Event.ID
		at, err := time.Parse(time.RFC3339Nano, s.query("GatewayException")[0].Event.Time)
		if err != nil {
			t.Fatal(err)
		}
		link := fmt.Sprintf("%s/?q=service:payments&since=%s&until=%s&id=%s", s.http, at.Add(-time.Minute).Format(time.RFC3339), at.Add(3*time.Second).Format(time.RFC3339), id)
		p.open(link)
		p.wait(`document.querySelector(".detail")?.textContent.includes("GatewayException") && document.querySelector(".sum").textContent.startsWith("3 matches")`)
		if n := p.rows(); n != 3 {
			t.Errorf("%d rows", n)
		}
		p.open(s.http + "/?q=level%3E%3Derror&since=15m&until=") // as an alert writes it
		p.wait(`document.querySelector(".sum").textContent.startsWith("1 match ")`)
		p.clean()
	})

	step("hostile lines are text", func(t *testing.T) {
		p.open(s.http + "/?q=window.__xss+OR+service:hostile&since=15m")
		p.wait(`document.querySelectorAll(".rows .row").length === 2`)
		p.click(".rows .row:nth-child(2)")
		p.wait(`document.querySelector(".detail")`)
		p.clickText("aside .pick", "<i>field</i>")
		p.wait(`document.querySelector("aside .values .choice")`)
		p.shot("hostile")
		page := js[string](p, `document.body.textContent`)
		for _, want := range []string{dangerous, "<b>evil</b>", "<i>field</i>", "<img src=x onerror=window.__xss=4>", "javascript:window.__xss=5", "\\u202egnp.exe\\u202c", "zero\\u200bwidth", "\\x1b]52;c;aGFjaw==\\x07"} {
			if !strings.Contains(page, want) {
				t.Errorf("%q is not shown", want)
			}
		}
		if strings.ContainsAny(page, "\u202e\u202c\x1b\x07") {
			t.Error("a character that does something is in the page")
		}
		if made := js[int](p, `document.querySelectorAll("script:not([src^='/assets/']), img, iframe, object, .rows svg:not(.icon), aside svg:not(.icon), b > b, [onerror], [onload], a[href^='javascript']").length`); made != 0 {
			t.Errorf("%d elements were made of text", made)
		}
		p.open(s.http + "/?view=services")
		p.wait(`document.querySelector(".table")?.textContent.includes("<b>evil</b>")`)
		p.shot("services")
		if done := js[bool](p, `"__xss" in window`); done {
			t.Error("a script of a line ran")
		}
		p.clean()
		// The browser itself would refuse markup and scripts.
		if refused := js[bool](p, `(() => { try { document.createElement("p").innerHTML = "<b>x</b>"; return false } catch { return true } })()`); !refused {
			t.Error("Trusted Types are off")
		}
		p.clean("TrustedHTML")
	})

	step("every row is loaded once, however many have one time", func(t *testing.T) {
		at := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano)
		all := ticks(0, 3000)
		for _, e := range all[200:2600] { // more than a page
			e["time"] = at
		}
		for _, e := range all[:200] {
			e["time"] = time.Now().Add(-2 * time.Minute).UTC().Format(time.RFC3339Nano)
		}
		s.send(all...)
		p.open(s.http + "/?q=tick")
		p.wait(`document.querySelector(".sum").textContent.startsWith("3,000 matches")`)
		descending(t, p.all(), 3000)
		p.clean()
	})

	step("live: nothing missing, nothing twice, over a kill", func(t *testing.T) {
		p.open(s.http + "/?q=tick&live=1")
		p.wait(`document.querySelector(".live").textContent === "Live"`)
		s.send(ticks(3000, 300)...)
		p.wait(`document.querySelector(".sum").textContent.startsWith("3,300 matches, 300 live")`)
		// Whoever looks at older rows is left in peace.
		js[any](p, `document.querySelector(".rows").scrollTop = 400`)
		p.wait(`document.querySelector(".rows").scrollTop === 400`)
		top := js[string](p, `new Promise(done => requestAnimationFrame(() => setTimeout(() => done(document.querySelector(".window > .row").id))))`)
		s.send(ticks(3300, 50)...)
		p.wait(`document.querySelector(".newer")?.textContent.includes("50 new") && document.querySelector(".live").textContent === "Paused"`)
		if now := js[string](p, `document.querySelector(".window > .row").id`); now != top {
			t.Errorf("the rows moved from %s to %s", top, now)
		}
		p.shot("live")
		p.contrast("live")
		p.click(".newer")
		p.wait(`document.querySelector(".rows .m").textContent.startsWith("tick 3349")`)
		p.clean()

		s.kill()
		p.wait(`document.querySelector(".live").textContent === "Reconnecting"`)
		p.wait(`document.querySelector(".offline")`)
		p.shot("offline")
		s.start()
		s.send(ticks(3350, 150)...)
		p.wait(`document.querySelector(".live").textContent === "Live" && document.querySelector(".rows .m").textContent.startsWith("tick 3499") && !document.querySelector(".offline")`)
		descending(t, p.all(), 3500)
		p.clean("ERR_CONNECTION", "WebSocket", "ERR_EMPTY_RESPONSE", "ERR_INCOMPLETE")
	})

	step("dark, and narrow", func(t *testing.T) {
		p.scheme("dark")
		p.open(s.http + "/?q=-service:ticker&since=15m")
		p.wait(`document.querySelectorAll(".rows .row").length > 20`)
		p.shot("dark")
		p.contrast("dark")
		p.click("[aria-label='Theme: as the system']")
		p.wait(`getComputedStyle(document.body).backgroundColor === "rgb(251, 251, 252)"`) // light, though the system is dark
		p.contrast("light")
		p.click("[aria-label='Theme: light']")
		p.click("[aria-label='Theme: dark']")
		p.size(390, 844)
		p.wait(`innerWidth === 390`)
		p.click(".rows .row.error")
		p.wait(`document.querySelector(".detail")`)
		p.shot("narrow")
		p.contrast("narrow")
		if wide := js[[]string](p, `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("aside, .m, nav, pre, .away")).map(e => e.className || e.tagName)`); len(wide) > 0 {
			t.Errorf("wider than the screen: %q", wide)
		}
		if hidden := js[bool](p, `(n => n.scrollWidth > n.clientWidth)(document.querySelector("nav"))`); hidden {
			t.Error("not all views are in the bar")
		}
		if cut := js[int](p, `[...document.querySelectorAll(".rows .t")].filter(e => e.scrollWidth > e.clientWidth).length`); cut > 0 {
			t.Errorf("%d times are cut", cut)
		}
		p.click(".fold")
		p.wait(`getComputedStyle(document.querySelector("aside")).display !== "none"`)
		p.shot("sidebar")
		p.clickText("aside .pick", "payments")
		p.wait(`getComputedStyle(document.querySelector("aside")).display === "none" && document.querySelector(".query textarea").value.endsWith("service:payments")`)
		p.size(1440, 820)
		p.scheme("light")
		p.clean()
	})

	step("containers and probes", func(t *testing.T) {
		for view, want := range map[string]string{"alerts": "nothing fires", "containers": "None seen", "probes": "lookout.probe="} {
			p.open(s.http + "/?view=" + view)
			p.wait(fmt.Sprintf(`document.querySelector(".view").textContent.includes(%q)`, want))
		}
		// What is in the lists comes by events (collector/docker, collector/probe); these are such.
		measured := func(name, state, health string) map[string]any {
			return map[string]any{"service": "docker", "stream": "stats", "level": "debug", "host": "node-1", "container": name, "message": name + " cpu 3 %", "target": "sales", "image": dangerous,
				"version": "2.3.1", "state": state, "health": health, "logs": "followed", "restarts": 3, "memory_bytes": 21 << 20, "memory_limit_bytes": 512 << 20}
		}
		probed := func(name, state string) map[string]any {
			return map[string]any{"service": "probe", "stream": "probe", "level": "debug", "host": "node-1", "message": name, "probe": name, "target": "sales", "url": "javascript:window.__xss=7",
				"ok": state == "up", "state": state, "duration_ms": 12.3, "status": 503, "cert_days": 5.5, "error": dangerous}
		}
		s.send(measured("sales-1", "running", "healthy"), measured("sales-2", "running", "unhealthy"), probed("sales", "up"), probed("payments", "down"))
		for view, want := range map[string][]string{"containers": {"sales-2 unhealthy", "sales-1 healthy"}, "probes": {"payments down", "sales up"}} {
			p.open(s.http + "/?view=" + view)
			p.wait(`document.querySelectorAll(".table tbody tr").length === 2 && document.querySelector("nav b")?.textContent === "1"`)
			rows := js[[]string](p, `[...document.querySelectorAll(".table tbody tr")].map(r => r.cells[0].textContent + " " + r.cells[1].textContent)`)
			if !slices.Equal(rows, want) { // the worst first
				t.Errorf("%s: %q", view, rows)
			}
			p.shot(view)
			p.contrast(view)
		}
		p.open(s.http + "/?view=containers")
		p.clickText(".table .link", "sales-2")
		// Regular reports are not among the lines, unless they are asked for.
		p.wait(`location.search === "?q=container:sales-2" && document.querySelector(".sum").textContent.startsWith("0 matches ")`)
		p.clickText(".status .chip", "reports hidden")
		p.wait(`location.search === "?q=container:sales-2&reports=1" && document.querySelector(".sum").textContent.startsWith("1 match ")`)
		if done := js[bool](p, `"__xss" in window || document.querySelector("img, a[href^='javascript']") !== null`); done {
			t.Error("what a container or a probe says is not text alone")
		}
		p.clean()
	})

	step("logout, and login by token", func(t *testing.T) {
		p.open(s.http + "/?q=certificate&since=15m")
		p.wait(`document.querySelectorAll(".rows .row").length === 1`)
		p.click("[aria-label='Log out']")
		p.wait(`document.querySelector(".login") && !document.querySelector(".row")`)
		if code := js[int](p, `fetch("/api/v1/query?q=x").then(r => r.status)`); code != 401 {
			t.Errorf("after the logout: %d", code)
		}
		login := func() {
			t.Helper()
			p.click(".login input")
			p.key(s.token())
			p.key(kb.Enter)
			p.wait(`document.querySelectorAll(".rows .row").length === 1 && document.querySelector(".query textarea").value === "certificate"`) // the query is kept
		}
		p.do(chromedp.Reload())
		p.wait(`document.querySelector(".login input")`)
		login()
		// The session ends elsewhere: a live page notices.
		p.key("l")
		p.wait(`document.querySelector(".live").textContent === "Live"`)
		js[any](p, `fetch("/api/v1/logout", { method: "POST" }).then(r => r.status)`)
		p.wait(`document.querySelector(".login")?.textContent.includes("The session is over")`)
		login()
		p.clean(unauthorized, "WebSocket")
	})
}

// contrast measures every text that can be seen against what is behind it: AA asks for 4.5:1, and for 3:1 of large text.
func (p *page) contrast(where string) {
	p.t.Helper()
	bad := js[[]string](p, `(() => {
		const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
		const known = new Map();
		const rgba = color => {
			if (!known.has(color)) {
				canvas.clearRect(0, 0, 1, 1);
				canvas.fillStyle = color;
				canvas.fillRect(0, 0, 1, 1);
				known.set(color, [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => i === 3 ? v / 255 : v));
			}
			return known.get(color);
		};
		const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
		const behind = e => {
			if (!e) return [255, 255, 255, 1];
			const own = rgba(getComputedStyle(e).backgroundColor);
			return own[3] === 1 ? own : over(own, behind(e.parentElement));
		};
		const light = c => {
			const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const bad = new Set();
		for (const e of document.querySelectorAll("body *")) {
			if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.matches("textarea, script, noscript, :disabled") || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
			const style = getComputedStyle(e);
			if (parseFloat(style.fontSize) === 0) continue;
			const back = behind(e), front = over(rgba(style.color), back);
			const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
			const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
			if (ratio < (size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5)) bad.add(ratio.toFixed(2) + " " + e.tagName + "." + e.className + " in " + e.parentElement.className + ": " + e.textContent.slice(0, 30));
		}
		return [...bad];
	})()`)
	for _, b := range bad {
		p.t.Errorf("%s: contrast %s", where, b)
	}
}
