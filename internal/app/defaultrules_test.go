package app

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/collector/probe"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/event"
)

var updateDay = flag.Bool("update", false, "write docs/default-rules.md anew")

const dayPage = "../../docs/default-rules.md"

// The page's text up to the list, and where the list begins.
const dayMark = "<!-- from here on written by go test ./internal/app -run TestDefaultRules -update -->\n"

// threads is a way out with all that Slack has; a replay asks it only that.
type threads struct{}

func (threads) Send(context.Context, string, alerting.Message) (r alerting.Receipt, err error) {
	return r, nil
}
func (threads) Edit(_ context.Context, r alerting.Receipt, _ alerting.Message) (alerting.Receipt, error) {
	return r, nil
}
func (threads) Reply(context.Context, alerting.Receipt, alerting.Message) error { return nil }
func (threads) Note(context.Context, alerting.Receipt, alerting.Message) error  { return nil }

// simulated makes the events of two days, in order of arrival.
type simulated struct {
	t     *testing.T
	batch event.Batch
}

func (s *simulated) line(service, text string, at time.Time) {
	e := s.batch.Add()
	e.Service, e.Host, e.Container, e.Stream = []byte(service), []byte("web-1"), []byte(service+"-1"), []byte("stdout")
	e.Message, e.Time, e.Received = []byte(text), at.UnixNano(), at.UnixNano()
}

// spread sends lines of a service all over a time, again and again, one each so long.
func (s *simulated) spread(service string, lines []string, from, to time.Time, each time.Duration) {
	for i := 0; ; i++ {
		// A service does not write by the clock.
		at := from.Add(time.Duration(i)*each + time.Duration(i*7919%1000)*each/1000)
		if !at.Before(to) {
			return
		}
		s.line(service, lines[i%len(lines)], at)
	}
}

// report is an event as the inputs for containers and probes make them.
func (s *simulated) report(service, stream string, level event.Level, at time.Time, text string, fields ...string) {
	s.line(service, text, at)
	e := &s.batch.Events[len(s.batch.Events)-1]
	e.Stream, e.Level = []byte(stream), level
	if stream == "probe" {
		e.Container = nil
	}
	for i := 0; i < len(fields); i += 2 {
		f := event.Field{Name: []byte(fields[i]), Value: []byte(fields[i+1])}
		if strings.HasSuffix(fields[i], "_days") {
			f.Kind = event.Number
		}
		s.batch.AddField(e, f)
	}
}

// day reads a sample of the corpus.
func (s *simulated) day(name string) []string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "day", name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// events are two days of eleven services. Nothing special happens on the first one; on the second
//
//	02:10 a container runs out of memory and is started again
//	06:00 a certificate is 13 days from its end
//	10:00 hadoop cannot reach its resource manager, for twenty minutes
//	11:00 to 12:00 a container is unhealthy
//	14:05 a target does not answer, for seven minutes
//	16:00 a warning comes that was never there
//	18:00 hdfs falls silent for three hours
func (s *simulated) events(begin time.Time) []event.Event {
	second, end := begin.Add(24*time.Hour), begin.Add(48*time.Hour)
	clock := func(hour, minute int) time.Time {
		return second.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	quiet := func(lines []string, words ...string) []string { // what does not happen every day
		return slices.DeleteFunc(lines, func(l string) bool {
			return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(l, w) })
		})
	}
	for service, f := range map[string]struct {
		file string
		each time.Duration
	}{
		"web": {"AccessLog", time.Minute}, "apache": {"Apache", 6 * time.Minute}, "zookeeper": {"Zookeeper", 5 * time.Minute}, "nova": {"OpenStack", 3 * time.Minute},
		"sshd": {"OpenSSH", 5 * time.Minute}, "linux": {"Linux", 7 * time.Minute}, "spark": {"Spark", 4 * time.Minute}, "health": {"HealthApp", 3 * time.Minute},
		"windows": {"Windows", 8 * time.Minute},
	} {
		s.spread(service, s.day(f.file), begin, end, f.each)
	}
	hdfs := s.day("HDFS")
	s.spread("hdfs", hdfs, begin, clock(18, 0), 4*time.Minute)
	s.spread("hdfs", hdfs, clock(21, 0), end, 4*time.Minute)
	hadoop := s.day("Hadoop")
	s.spread("hadoop", quiet(slices.Clone(hadoop), "ERROR", "FATAL", "WARN"), begin, end, 2*time.Minute)
	failing := slices.DeleteFunc(hadoop, func(l string) bool { return !strings.Contains(l, "ERROR") && !strings.Contains(l, "WARN") })
	s.spread("hadoop", failing, clock(10, 0), clock(10, 20), 2*time.Second)

	die := func(at time.Time, level event.Level, action, text, print string) {
		s.report("shop", "docker", level, at, "container shop-1 "+text, "action", action, "fingerprint", print+":shop-1")
	}
	die(begin.Add(time.Second), event.Info, "start", "was found running, since 08:00", "container")
	die(clock(2, 10), event.Critical, "die", "was killed: out of memory", "container")
	die(clock(2, 10).Add(3*time.Second), event.Info, "start", "was started", "container")
	die(clock(11, 0), event.Error, "unhealthy", "is unhealthy", "health")
	die(clock(12, 0), event.Info, "healthy", "is healthy", "health")

	for at := begin; at.Before(end); at = at.Add(10 * time.Minute) {
		left := int(clock(6, 0).Add(14*24*time.Hour).Sub(at) / (24 * time.Hour))
		level, text := event.Debug, "shop ok: 200 in 12.1ms"
		if left < 14 {
			level, text = event.Warning, fmt.Sprintf("shop has a certificate that ends in %d days, at 2026-12-08 06:00:00 UTC; ok: 200 in 12.1ms", left)
		}
		s.report("probe", "probe", level, at, text, "probe", "shop", "ok", "true", "cert_days", fmt.Sprint(left), "fingerprint", "probe:shop")
	}
	s.report("shop", "probe", event.Error, clock(14, 5), "shop is down: status 502, expected status:200..299 (GET https://shop.example/status), failing since 14:04:30 UTC",
		"change", "down", "probe", "shop", "fingerprint", "probe:shop")
	s.report("shop", "probe", event.Info, clock(14, 12), "shop is up again after 7m0s", "change", "up", "probe", "shop", "fingerprint", "probe:shop")
	s.line("nova", "2017-05-16 16:00:00.000 2931 WARNING nova.compute.manager [-] While synchronizing instance power states, found 3 instances in the database and 5 instances on the hypervisor.", clock(16, 0))

	parse.New(parse.Options{Past: 1}).Process(&s.batch) // of the times in the lines, which are of other years, none counts
	slices.SortStableFunc(s.batch.Events, func(a, b event.Event) int {
		return cmp.Or(cmp.Compare(a.Received, b.Received), bytes.Compare(a.Service, b.Service))
	})
	for i := range s.batch.Events {
		s.batch.Events[i].Seq = uint64(i + 1)
	}
	return s.batch.Events
}

// Issue 7: what the default rules tell of the corpus, as two simulated days, with a token and one channel as all that is configured. The
// list is in docs/default-rules.md, so that everybody can judge whether it makes sense.
func TestDefaultRules(t *testing.T) {
	if config.CertDays != probe.CertDays {
		t.Error("certificates are told of at another time than results warn of them")
	}
	c := options(t, map[string]string{"LOOKOUT_SLACK_TOKEN": "xoxb-1", "LOOKOUT_SLACK_CHANNEL": "#ops"}).Config
	begin := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	s := &simulated{t: t}
	events := s.events(begin)

	db, err := bbolt.Open(filepath.Join(t.TempDir(), "state.db"), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var told []alerting.Notification
	r, err := alerting.NewReplay(alerting.Options{DB: db, Rules: rules(c), Notifier: threads{}, Fallbacks: fallbacks(c)}, func(n alerting.Notification) { told = append(told, n) })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Feed(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := r.Until(t.Context(), begin.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}

	var b strings.Builder
	fmt.Fprintf(&b, "%d lines of %d services in two days.\n", len(events), 12)
	for day, name := range []string{"The first day", "The second day"} {
		from := begin.Add(time.Duration(day) * 24 * time.Hour)
		counts := map[alerting.NotificationKind]int{}
		var shown []alerting.Notification
		for _, n := range told {
			if n.At.Before(from) || !n.At.Before(from.Add(24*time.Hour)) {
				continue
			}
			counts[n.Kind]++
			if n.Kind == alerting.Posted || n.Kind == alerting.Replied {
				shown = append(shown, n)
			}
		}
		slices.SortStableFunc(shown, func(a, b alerting.Notification) int { return worst(a) - worst(b) })
		var list strings.Builder
		for _, n := range shown {
			fmt.Fprintf(&list, "%s %s %s\n", n.At.Format("15:04:05"), n.Kind, indented(n.Message.Text()))
			for _, later := range told { // how it stood when the two days were over
				if later.At.After(n.At) && later.Kind == alerting.Edited && later.Message.Incident == n.Message.Incident && later.Message.Incident != "" {
					n.Message = later.Message
				}
			}
			if n.Message.State == alerting.Resolved {
				fmt.Fprintf(&list, "         edited: %s\n", n.Message.Facts[0])
			}
		}
		fmt.Fprintf(&b, "\n## %s\n\n%d messages, %d replies; %d edits and %d notes in threads, of which nobody is told.\n\n```\n%s```\n", name,
			counts[alerting.Posted], counts[alerting.Replied], counts[alerting.Edited], counts[alerting.Noted], list.String())
	}
	page, err := os.ReadFile(dayPage)
	if err != nil {
		t.Fatal(err)
	}
	head, list, ok := strings.Cut(string(page), dayMark)
	if !ok {
		t.Fatalf("%s: the line %q is missing", dayPage, dayMark)
	}
	if *updateDay {
		if err := os.WriteFile(dayPage, []byte(head+dayMark+b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := gocmp.Diff(list, b.String()); d != "" {
		t.Errorf("%s is not what is told: go test ./internal/app -run TestDefaultRules -update, and read what has changed\n%s", dayPage, d)
	}
}

// worst is the place of a notification among others: the worst first.
func worst(n alerting.Notification) int {
	return slices.Index([]alerting.Severity{alerting.Critical, alerting.Error, alerting.Warning, alerting.Info}, n.Message.Severity)
}

// indented puts the lines behind the first below it, each cut to what a page shows.
func indented(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = alerting.Cut(l, 200)
	}
	return strings.Join(lines, "\n         ")
}
