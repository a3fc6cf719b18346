package main

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// The goals, each the most that lookout's figure may be of VictoriaLogs' in the same run: the last table of the design,
// ENGINE.md, "The figures to reach". It says nothing of counts by service, not info, averages and the export: those have to
// be as fast, as all of that list.
const (
	goalCPUPerEvent = 1.0 / 3
	goalDisk        = 0.70
	goalMemory      = 1.0
	goalMemoryMB    = 300 // at most, whatever VictoriaLogs takes

	goalNeedle = 1.0
	goalText   = 0.4
	goalCut    = 0.2
	goalScan   = 0.04
	goalOther  = 1.0
)

// row is one question, asked of both.
type row struct {
	name        string // the benchmark's name too
	goal        float64
	lookout, vl ask
	groups      bool   // the numbers of groups have to be equal, not of events
	why         string // what makes the numbers differ, where that is known
}

// ask is a question in a server's own words.
type ask struct {
	path string // with its parameters
	read func(*tally) (answer, error)
	text string // the query alone, for people
}

// rows are what is compared, in the order of the design's table. Text is asked for in two ways: VictoriaLogs finds whole words
// fast and with their case, lookout finds parts of words in any case; each kind is asked of both in the words that mean it,
// and one row compares what people would type.
func rows(f facts) []row {
	hour := f.since.Add(f.until.Sub(f.since) / 2).Truncate(time.Hour)
	all := span{f.since, f.until}
	one := span{hour, hour.Add(time.Hour)}
	inside := f.token[2:10] // neither end of it is an end of the token
	absent := "1" + f.token[1:len(f.token)-1] + "7777777"
	failure := `\bauthentication failure\b`
	const phrase = `"authentication failure"`
	re := func(s string) string { return "~" + strconv.Quote(s) } // both languages read \\ in "…" as one
	return []row{
		{name: "needle by field", goal: goalNeedle, lookout: all.search("request_id:"+f.requestID, ""), vl: all.vlRows(`request_id:="` + f.requestID + `"`)},
		{name: "needle by token in a message", goal: goalNeedle, lookout: all.search(re(`\b`+f.token+`\b`), ""), vl: all.vlRows(f.token)},
		{name: "absent field value", goal: goalNeedle, lookout: all.search("request_id:0123456789abcdef", ""), vl: all.vlRows(`request_id:="0123456789abcdef"`)},
		{name: "absent token", goal: goalNeedle, lookout: all.count(re(`\b` + absent + `\b`)), vl: all.vlCount(absent)},
		{name: "absent word", goal: goalNeedle, lookout: all.count("nosuchword"), vl: all.vlCount("nosuchword")},

		{name: "word error", goal: goalText, lookout: all.count(re(`\berror\b`)), vl: all.vlCount("error")},
		{name: "word error, any case", goal: goalText, lookout: all.count(re(`(?i)\berror\b`)), vl: all.vlCount(`i(error)`)},
		{name: "error as people type it", goal: goalText, lookout: all.count("error"), vl: all.vlCount(`i(error)`),
			why: "lookout's is a part of a word, VictoriaLogs' a whole one"},
		{name: "part error, any case", goal: goalText, lookout: all.count("error"), vl: all.vlCount(re("(?i)error"))},
		{name: "part error", goal: goalText, lookout: all.count(re("error")), vl: all.vlCount(re("error"))},
		{name: "part onnecti", goal: goalText, lookout: all.count(re("onnecti")), vl: all.vlCount(re("onnecti"))},
		{name: "token as a part of any text", goal: goalText, lookout: all.count(f.token), vl: all.vlCount(re(f.token))},
		{name: "rare part of a token", goal: goalText, lookout: all.count(re(inside)), vl: all.vlCount(re(inside))},
		{name: "regex with a literal", goal: goalText, lookout: all.count(re(`rhost=82\.\d+.*user=\w+`)), vl: all.vlCount(re(`rhost=82\.\d+.*user=\w+`))},
		{name: "regex without, IPv4 and port", goal: goalScan, lookout: all.count(re(ipPort)), vl: all.vlCount(re(ipPort))},
		// The design's 5306 ms. message~: hex ids are in lookout's request_id too, where VictoriaLogs does not look.
		{name: "regex without, ms or hex", goal: goalScan, lookout: all.count("message" + re(msOrHex)), vl: all.vlCount(re(msOrHex))},
		{name: "phrase of words", goal: goalText, lookout: all.count(re(failure)), vl: all.vlCount(phrase)},
		{name: "phrase anywhere, any case", goal: goalText, lookout: all.count(phrase), vl: all.vlCount(re("(?i)authentication failure"))},
		{name: "phrase in a service, 1 h", goal: goalText, lookout: one.count("service:linux " + re(failure)), vl: one.vlCount(`{service="linux"} ` + phrase)},

		{name: "newest 100 of word failed", goal: goalCut, lookout: all.newest(re(`\bfailed\b`)), vl: all.vlRows("failed | sort by (_time desc) limit 100")},
		{name: "newest 100 of word failed, VL limit=", goal: goalCut, lookout: all.newest(re(`\bfailed\b`)), vl: all.vlLimit("failed")},
		{name: "newest 100 of part failed, any case", goal: goalCut, lookout: all.newest("failed"), vl: all.vlRows(re("(?i)failed") + " | sort by (_time desc) limit 100")},
		{name: "newest 100 of an hour", goal: goalCut, lookout: one.newest("*"), vl: one.vlRows("* | sort by (_time desc) limit 100")},
		{name: "newest 100 of an hour, VL limit=", goal: goalCut, lookout: one.newest("*"), vl: one.vlLimit("*")},

		{name: "count all", goal: goalNeedle, lookout: all.count("*"), vl: all.vlCount("*")},
		{name: "not info, count", goal: goalOther, lookout: all.count("-level:info"), vl: all.vlCount("!severity:=info")},
		{name: "by service", goal: goalOther, lookout: all.stats("*", "by=service&agg=count"), vl: all.vlStats("* | stats by (service) count() c")},
		{name: "by service and hour", goal: goalCut, lookout: all.stats("*", "by=service&every=1h&agg=count"), vl: all.vlStats("* | stats by (service, _time:1h) count() c")},
		{name: "errors per 5 min", goal: goalCut, lookout: all.stats("level:error", "every=5m&agg=count"), vl: all.vlStats("severity:=error | stats by (_time:5m) count() c")},
		{name: "top 10 users", goal: goalCut, lookout: all.stats("user:*", "by=user&agg=count&top=10"), vl: all.vlStats("user:* | stats by (user) count() c | sort by (c desc) limit 10")},
		{name: "p99 of duration_ms by service", goal: goalCut, lookout: all.stats("*", "by=service&agg=p99(duration_ms)"), vl: all.vlStats("* | stats by (service) quantile(0.99, duration_ms) p99"), groups: true},
		{name: "status>=500 by service, average", goal: goalOther, lookout: all.stats("status>=500", "by=service&agg=count,avg(duration_ms)"),
			vl: all.vlStats("status:>=500 | stats by (service) count() c, avg(duration_ms) d")},
		{name: "export of all", goal: goalOther, lookout: all.search("*", ""), vl: all.vlRows("*")},
	}
}

const (
	ipPort  = `\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}:\d{4,5}`
	msOrHex = `\d{3}\.\d{3}ms|[a-f0-9]{12}`
)

// span is a range of time, since inclusive and until exclusive.
type span struct{ since, until time.Time }

func (s span) lookout(endpoint, q, params string) string {
	if params != "" {
		params = "&" + params
	}
	return fmt.Sprintf("/api/v1/%s?q=%s&since=%s&until=%s%s", endpoint, url.QueryEscape(q), s.since.Format(time.RFC3339), s.until.Format(time.RFC3339), params)
}

func (s span) search(q, params string) ask { return ask{s.lookout("query", q, params), readRows, q} }
func (s span) newest(q string) ask         { return s.search(q, "order=newest&limit=100") }
func (s span) count(q string) ask {
	return ask{s.lookout("query", q, "count=true"), readSummary, q}
}
func (s span) stats(q, params string) ask {
	return ask{s.lookout("stats", q, params), readStats, q + "  " + params}
}

func (s span) victorialogs(q, params string) string {
	// VictoriaLogs' end is inclusive.
	return fmt.Sprintf("/select/logsql/query?query=%s&start=%s&end=%s%s", url.QueryEscape(q), s.since.Format(time.RFC3339), s.until.Add(-1).Format(time.RFC3339Nano), params)
}

func (s span) vlRows(q string) ask { return ask{s.victorialogs(q, ""), readVLRows, q} }
func (s span) vlLimit(q string) ask {
	return ask{s.victorialogs(q, "&limit=100"), readVLRows, q + "  limit=100"}
}
func (s span) vlStats(q string) ask { return ask{s.victorialogs(q, ""), readVLStats, q} }
func (s span) vlCount(q string) ask { return s.vlStats(q + " | stats count() c") }
