package metrics_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/collector/docker"
	"github.com/lookoutlog/lookout/collector/forward"
	"github.com/lookoutlog/lookout/collector/gelf"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/collector/probe"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/fleet"
	"github.com/lookoutlog/lookout/internal/metrics"
)

var update = flag.Bool("update", false, "write the golden files and docs/metrics.md anew")

// filled is a value of type S in which every number is another one: 1, 2, 3 … in order of the fields.
func filled[S any]() (s S) {
	n := 0
	var fill func(reflect.Value)
	fill = func(v reflect.Value) {
		n++
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(time.Unix(int64(n), 0)))
		case v.Type() == reflect.TypeFor[time.Duration]():
			v.SetInt(int64(n) * int64(time.Second))
		case v.Kind() == reflect.Struct:
			n--
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		case v.Kind() == reflect.Map:
			m := reflect.MakeMap(v.Type())
			value := reflect.New(v.Type().Elem()).Elem()
			n--
			fill(value)
			m.SetMapIndex(reflect.ValueOf("a").Convert(v.Type().Key()), value)
			v.Set(m)
		case v.Kind() == reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		case v.CanUint():
			v.SetUint(uint64(n))
		default:
			v.SetInt(int64(n))
		}
	}
	fill(reflect.ValueOf(&s).Elem())
	return s
}

// parts are the collectors of all parts, with a figure in every field.
func parts() map[string]prometheus.Collector {
	return map[string]prometheus.Collector{
		"build":    metrics.Build("v9"),
		"config":   metrics.Config(filled[metrics.ConfigStats]),
		"store":    metrics.Store(filled[index.Stats]),
		"gelf":     metrics.GELF(filled[gelf.Stats]),
		"ndjson":   metrics.NDJSON(filled[native.Stats]),
		"docker":   metrics.Docker(filled[docker.Stats]),
		"redact":   metrics.Redaction(func() map[string]int64 { return map[string]int64{"a": 1} }),
		"probes":   metrics.Probes(filled[probe.Stats]),
		"forward":  metrics.Forward(filled[forward.Stats]),
		"alerting": metrics.Alerting(func() (alerting.Stats, error) { return filled[alerting.Stats](), nil }, slog.New(slog.DiscardHandler)),
		"slack":    metrics.Slack(filled[slack.Stats]),
		"pushover": metrics.Pushover(filled[pushover.Stats]),
	}
}

func gather(t *testing.T, collectors ...prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewPedanticRegistry() // it refuses what is not described
	r.MustRegister(collectors...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// text writes metrics as name{label="value"} type value.
func text(families []*dto.MetricFamily) string {
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			b.WriteString(f.GetName())
			for _, l := range m.Label {
				fmt.Fprintf(&b, "{%s=%q}", l.GetName(), l.GetValue())
			}
			fmt.Fprintf(&b, " %s %v\n", strings.ToLower(f.GetType().String()), m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return b.String()
}

// The files show which field became which metric: the numbers are the fields' places.
func TestParts(t *testing.T) {
	for name, c := range parts() {
		t.Run(name, func(t *testing.T) {
			got := text(gather(t, c))
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	var all []prometheus.Collector
	for _, c := range parts() {
		all = append(all, c)
	}
	problems, err := promlint.NewWithMetricFamilies(gather(t, all...)).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %+v", err, problems)
	}
}

func TestAlertingThatCannotBeRead(t *testing.T) {
	var log bytes.Buffer
	c := metrics.Alerting(func() (alerting.Stats, error) { return alerting.Stats{}, errors.New("state.db is closed") }, slog.New(slog.NewTextHandler(&log, nil)))
	if got := gather(t, c, metrics.Build("v9")); len(got) != 1 || !strings.Contains(log.String(), "state.db is closed") {
		t.Errorf("%s, log %s", text(got), log.String())
	}
}

func TestPushoverBeforeItsFirstAnswer(t *testing.T) {
	got := text(gather(t, metrics.Pushover(func() pushover.Stats { return pushover.Stats{} })))
	if got != "lookout_pushover_withheld_total counter 0\n" {
		t.Error(got)
	}
}

// docs/metrics.md is made from the descriptions: go test ./internal/metrics -update
func TestDocs(t *testing.T) {
	r := prometheus.NewRegistry()
	for _, c := range parts() {
		r.MustRegister(c)
	}
	r.MustRegister(fleet.New(fleet.Options{}))
	a := api.New(api.Options{Registry: r, Auth: auth.New()})
	defer a.Close()
	a.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/healthz", nil)) // gives the histograms a type

	path := filepath.Join("..", "..", "docs", "metrics.md")
	page := page(t, r)
	if *update {
		if err := os.WriteFile(path, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, page) {
		t.Error("docs/metrics.md is not what the code says: go test ./internal/metrics -update")
	}
}

// description is how a Desc writes itself: it has no other way to be read.
var description = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*")(?:, unit: "")?, constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

func page(t *testing.T, r *prometheus.Registry) []byte {
	t.Helper()
	types := map[string]dto.MetricType{}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		types[f.GetName()] = f.GetType()
	}
	descs := make(chan *prometheus.Desc, 1000)
	r.Describe(descs)
	close(descs)
	var rows []string
	for d := range descs {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("%s is not understood", d)
		}
		name, err1 := strconv.Unquote(m[1])
		help, err2 := strconv.Unquote(m[2])
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		kind := "gauge"
		switch {
		case types[name] == dto.MetricType_HISTOGRAM:
			kind = "histogram"
		case strings.HasSuffix(name, "_total"):
			kind = "counter"
		}
		if have, ok := types[name]; ok && kind != strings.ToLower(have.String()) {
			t.Errorf("%s is a %s by its name, and a %s in fact", name, kind, have)
		}
		labels := ""
		if m[3] != "" {
			labels = "`" + strings.ReplaceAll(m[3], ",", "`, `") + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, kind, labels, help))
	}
	slices.SortFunc(rows, func(a, b string) int { return strings.Compare(strings.Split(a, "`")[1], strings.Split(b, "`")[1]) })
	var b bytes.Buffer
	b.WriteString(`# Metrics

<!-- generated from the descriptions: go test ./internal/metrics -update -->

` + "`GET /metrics`" + ` shows them in Prometheus' text format to whoever may read (a token or a session). Parts that are off have none. What probes and containers say of
themselves stands under the names of blackbox_exporter and cAdvisor, so that dashboards and rules for these work; containers without a measurement for five minutes and
probes without a result for as long have no values. Besides there are ` + "`go_…` and `process_…`" + ` of lookout's own process.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
`)
	for _, row := range rows {
		b.WriteString(row)
	}
	return b.Bytes()
}
