// Package loadgen makes realistic log events, deterministic for a seed: real lines of 17 systems with their numbers and
// ids redrawn, as a container platform would deliver them. A third of the events has a request's fields. Benchmarks and
// end-to-end tests use it; the binary does not contain it.
package loadgen

import (
	"bytes"
	"embed"
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

//go:embed samples/*.log
var samples embed.FS

// Options describe a load. The zero value is 17 services on 8 hosts each, a millisecond apart, from a fixed time on.
type Options struct {
	Seed uint64
	// Services is the number of services: the samples are shared out among them. Default 17.
	Services int
	// Start is the time of the first event, ns since the Unix epoch, and Step the time between two, in ns.
	Start, Step int64
}

type service struct {
	name  string
	lines []line
}

type line struct {
	text  []byte
	level event.Level
}

// Generator makes events one by one. It is not safe for concurrent use.
type Generator struct {
	o        Options
	rng      *rand.Rand
	services []service
	n        int64
	text     []byte
}

// New returns a generator; equal options give equal events.
func New(o Options) *Generator {
	if o.Services == 0 {
		o.Services = 17
	}
	if o.Start == 0 {
		o.Start = time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC).UnixNano()
	}
	if o.Step == 0 {
		o.Step = int64(time.Millisecond)
	}
	g := &Generator{o: o, rng: rand.New(rand.NewPCG(o.Seed, 1))}
	systems := load()
	for i := range o.Services {
		s := systems[i%len(systems)]
		if i >= len(systems) {
			s.name += "-" + strconv.Itoa(i/len(systems))
		}
		g.services = append(g.services, s)
	}
	return g
}

func load() []service {
	entries, err := samples.ReadDir("samples")
	if err != nil {
		panic(err) // embedded
	}
	var all []service
	for _, e := range entries {
		data, err := samples.ReadFile(path.Join("samples", e.Name()))
		if err != nil {
			panic(err)
		}
		s := service{name: strings.TrimSuffix(e.Name(), ".log")}
		for text := range bytes.Lines(data) {
			text = bytes.TrimSpace(text)
			s.lines = append(s.lines, line{text, level(text)})
		}
		all = append(all, s)
	}
	return all
}

func level(text []byte) event.Level {
	low := bytes.ToLower(text)
	for _, c := range []struct {
		word  string
		level event.Level
	}{{"fatal", event.Critical}, {"error", event.Error}, {"failed", event.Error}, {"warn", event.Warning}, {"debug", event.Debug}} {
		if bytes.Contains(low, []byte(c.word)) {
			return c.level
		}
	}
	return event.Info
}

// next draws the parts all formats share.
func (g *Generator) next() (s *service, l *line, host string, at time.Time) {
	// A skewed choice: a few services talk much, most talk little.
	s = &g.services[int(float64(len(g.services))*g.rng.Float64()*g.rng.Float64())]
	l = &s.lines[g.rng.IntN(len(s.lines))]
	at = time.Unix(0, g.o.Start+g.n*g.o.Step).UTC()
	g.n++
	g.text = g.redraw(g.text[:0], l.text)
	return s, l, fmt.Sprintf("node-%02d", g.rng.IntN(8)), at
}

// NDJSON appends one event as lookout's own input takes it, a line.
func (g *Generator) NDJSON(dst []byte) []byte {
	s, l, host, at := g.next()
	dst = append(dst, `{"time":"`...)
	dst = at.AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	dst = append(dst, `","service":"`+s.name+`","host":"`+host+`","level":"`+l.level.String()+`","message":`...)
	dst = flatjson.AppendString(dst, g.text)
	dst = g.fields(dst, `,"`)
	return append(dst, '}', '\n')
}

// GELF appends one event as an uncompressed GELF 1.1 message.
func (g *Generator) GELF(dst []byte) []byte {
	s, l, host, at := g.next()
	dst = append(dst, `{"version":"1.1","host":"`+host+`","short_message":`...)
	dst = flatjson.AppendString(dst, g.text)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendFloat(dst, float64(at.UnixMilli())/1000, 'f', 3, 64)
	dst = append(dst, `,"level":`...)
	dst = strconv.AppendInt(dst, int64(l.level.Syslog()), 10)
	dst = append(dst, `,"_service":"`+s.name+`"`...)
	dst = g.fields(dst, `,"_`)
	return append(dst, '}')
}

func (g *Generator) fields(dst []byte, key string) []byte {
	if g.rng.IntN(3) != 0 {
		return dst
	}
	dst = append(append(dst, key...), `request_id":"`...)
	dst = strconv.AppendUint(dst, g.rng.Uint64()|1<<63, 16)
	dst = append(append(append(dst, '"'), key...), `status":`...)
	dst = strconv.AppendInt(dst, []int64{200, 200, 200, 200, 201, 204, 301, 400, 401, 404, 500, 503}[g.rng.IntN(12)], 10)
	dst = append(append(dst, key...), `duration_ms":`...)
	dst = strconv.AppendFloat(dst, g.rng.ExpFloat64()*40, 'f', 2, 64)
	dst = append(append(dst, key...), `user":"u`...)
	dst = strconv.AppendInt(dst, int64(g.rng.IntN(50000)), 10)
	return append(dst, '"')
}

// redraw replaces the digits of words with three or more of them, and of hex ids of eight or more characters, keeping
// lengths; a word that begins with 20 stays, because it may be a year.
func (g *Generator) redraw(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		j, digits, hex := i, 0, true
		for ; j < len(text) && isWord(text[j]); j++ {
			c := text[j]
			if c >= '0' && c <= '9' {
				digits++
			} else if c < 'a' || c > 'f' {
				hex = false
			}
		}
		if j == i {
			dst = append(dst, text[i])
			i++
			continue
		}
		word := text[i:j]
		i = j
		switch {
		case digits == 0 || g.rng.IntN(10) < 3:
			dst = append(dst, word...)
		case hex && len(word) >= 8 && digits < len(word):
			for range word {
				dst = append(dst, "0123456789abcdef"[g.rng.IntN(16)])
			}
		case digits >= 3 && !bytes.HasPrefix(word, []byte("20")):
			for k, c := range word {
				if c >= '0' && c <= '9' && k > 0 {
					c = '0' + byte(g.rng.IntN(10))
				}
				dst = append(dst, c)
			}
		default:
			dst = append(dst, word...)
		}
	}
	return dst
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}
