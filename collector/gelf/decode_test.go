package gelf

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// describe puts an event on one line: parts that are known, the message, the fields.
func describe(e *event.Event) string {
	var s strings.Builder
	if e.Time != receipt.UnixNano() {
		s.WriteString("time=" + time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano) + " ")
	}
	for _, p := range []struct{ name, value string }{
		{"level", e.Level.String()}, {"service", string(e.Service)}, {"env", string(e.Env)}, {"host", string(e.Host)},
		{"container", string(e.Container)}, {"stream", string(e.Stream)},
	} {
		if p.value != "" {
			s.WriteString(p.name + "=" + p.value + " ")
		}
	}
	s.WriteString(strconv.QuoteToGraphic(string(e.Message)))
	for _, f := range e.Fields {
		s.WriteString(" " + string(f.Name) + ":" + [...]string{"", "#", "?", "-", "{"}[f.Kind] + string(f.Value))
	}
	return s.String()
}

func decodeOne(t testing.TB, message []byte) (*event.Event, error) {
	t.Helper()
	d := Decoder{Now: testNow}
	var b event.Batch
	p := slices.Clone(message)
	_, _, err := d.Decode(&b, 0, p)
	for i := range p { // the caller's memory is the caller's again
		p[i] = 'X'
	}
	if err != nil {
		if len(b.Events) != 0 {
			t.Errorf("%d events beside the error %v", len(b.Events), err)
		}
		return nil, err
	}
	if len(b.Events) != 1 {
		t.Fatalf("%d events", len(b.Events))
	}
	return &b.Events[0], nil
}

const (
	idLong  = "00ff9c79ea8d55069ca3ea3001f37c5073631049622cf6d26e44ac48a1cbed8d"
	idShort = "00ff9c79ea8d"
)

func TestMapping(t *testing.T) {
	long := strings.Repeat("n", event.MaxName+1)
	cut := long[:event.MaxName]
	for _, c := range []struct{ in, want string }{
		// the message
		{`{"short_message":"a"}`, `"a"`},
		{`{"full_message":"a"}`, `"a"`},
		{`{"short_message":"a","full_message":""}`, `"a"`},
		{`{"short_message":"","full_message":"a"}`, `"a"`},
		{`{"short_message":"a","full_message":"a"}`, `"a"`},
		{`{"short_message":"a","full_message":"a\nb"}`, `"a\nb"`},
		{`{"short_message":"boom","full_message":"Error: boom\n  at x"}`, `"Error: boom\n  at x"`},
		{`{"short_message":"a\n","full_message":"a"}`, `"a\n"`},
		{`{"short_message":" a ","full_message":"xa"}`, `"xa"`},
		{`{"short_message":"cut \ud83d","full_message":"cut 😀 here"}`, `"cut 😀 here"`},
		{`{"short_message":"the whole story","full_message":"whole"}`, `"the whole story"`},
		{`{"short_message":"failed","full_message":"java.io.X\n\tat Y"}`, `"failed\njava.io.X\n\tat Y"`},
		{`{"short_message":"a","full_message":null}`, `"a"`},
		{`{"short_message":null,"full_message":"a"}`, `"a"`},
		{`{"short_message":5}`, `"5"`},
		{`{"short_message":"a","short_message":"b"}`, `"a" short_message:b`},
		{`{"full_message":"a","full_message":"b"}`, `"a" full_message:b`},
		{`{"_short_message":"a","_full_message":"b"}`, `"" short_message:a full_message:b`},
		{`{"message":"a"}`, `"a"`},
		{`{"_message":"a"}`, `"a"`},
		{`{"_message":"a","short_message":"b"}`, `"b" message_:a`},
		{`{"_message":"a","_message":"b"}`, `"a" message_:b`},
		{`{}`, `""`},
		{`{"short_message":"  "}`, `"  "`},
		{`{"short_message":"a\r\n\u0000b\u001b[0m\u2028"}`, `"a\r\n\x00b\x1b[0m\u2028"`},
		{`{"short_message":"${jndi:ldap://x} {{.}} %s"}`, `"${jndi:ldap://x} {{.}} %s"`},

		// fields
		{`{"_a":"1","_b":2,"_c":true,"_d":null,"_e":{},"_f":[1,"x"],"_g":{"h":{"i":1.50}}}`, `"" a:1 b:#2 c:?true d:-null e:{{} f:#1 f:x g.h.i:#1.50`},
		{`{"_a":1,"_a":2}`, `"" a:#1 a:#2`},
		{`{"a":1,"__b":2,"_":3,"":4}`, `"" a:#1 _b:#2 _:#3 :#4`},
		{`{"_n":1e400,"_m":-0,"_o":1.50}`, `"" n:#1e400 m:#-0 o:#1.50`},
		{`{"facility":"f","file":"x.go","line":7,"_facility":"g"}`, `service=f "" facility:f file:x.go line:#7 facility:g`},
		{`{"_user":"{\"id\":1}"}`, `"" user:{"id":1}`},
		{"{\"_a\":\"\xff\xfe\",\"_b\\u0000\":\"\\ud800\"}", "\"\" a:\xff\xfe b\x00:\ufffd"},
		{"\xef\xbb\xbf {\"_a\":1} \r\n\x00", `"" a:#1`},
		{`{"version":"1.1","_version":"2"}`, `"" version:2`},
		{`{"version":"1.0"}`, `""`},
		{`{"version":1.1}`, `""`},
		{`{"version":"3.14"}`, `"" version:3.14`},
		{`{"_id":1,"_time":2,"_level":3,"_host":"h","id":4}`, `"" id_:#1 time_:#2 level_:#3 host_:h id_:#4`},

		// time
		{`{"timestamp":1795235739.411}`, `time=2026-11-21T04:35:39.411Z ""`},
		{`{"timestamp":1795235739.123456789}`, `time=2026-11-21T04:35:39.123456789Z ""`},
		{`{"timestamp":"1795235739.4"}`, `time=2026-11-21T04:35:39.4Z ""`},
		{`{"timestamp":"2026-11-21T05:35:39.000000001+01:00"}`, `time=2026-11-21T04:35:39.000000001Z ""`},
		{`{"timestamp":0}`, `"" timestamp:#0`},
		{`{"timestamp":9999}`, `"" timestamp:#9999`},
		{`{"timestamp":253402300799}`, `"" timestamp:#253402300799`},
		{`{"timestamp":-1795235739}`, `"" timestamp:#-1795235739`},
		{`{"timestamp":1e400}`, `"" timestamp:#1e400`},
		{`{"timestamp":"Infinity"}`, `"" timestamp:Infinity`},
		{`{"timestamp":"9999-12-31T23:59:59Z"}`, `"" timestamp:9999-12-31T23:59:59Z`},
		{`{"timestamp":null}`, `"" timestamp:-null`},
		{`{"timestamp":1795235739,"timestamp":1795235740}`, `time=2026-11-21T04:35:39Z "" timestamp:#1795235740`},
		{`{"timestamp":1795235739,"_timestamp":5}`, `time=2026-11-21T04:35:39Z "" timestamp:#5`},
		{`{"_timestamp":1795235739}`, `"" timestamp:#1795235739`},

		// level
		{`{"level":0}`, `level=emergency ""`},
		{`{"level":7}`, `level=debug ""`},
		{`{"level":8}`, `"" level_text:#8`},
		{`{"level":-1}`, `"" level_text:#-1`},
		{`{"level":30}`, `"" level_text:#30`},
		{`{"level":"3"}`, `level=error ""`},
		{`{"level":"error"}`, `level=error ""`},
		{`{"level":"FATAL"}`, `level=critical "" level_text:FATAL`},
		{`{"level":"loud"}`, `"" level_text:loud`},
		{`{"level":null}`, `"" level_text:-null`},
		{`{"level":6,"level":3,"_level":4}`, `level=info "" level_:#3 level_:#4`},

		// host and service
		{`{"host":"h"}`, `service=h host=h ""`},
		{`{"host":5}`, `service=5 host=5 ""`},
		{`{"host":null}`, `"" host_:-null`},
		{`{"host":"h","host":"i"}`, `service=h host=h "" host_:i`},
		{`{"host":["h","i"]}`, `service=h host=h "" host_:i`},
		{`{"host":{"name":"h"}}`, `"" host.name:h`},
		{`{"host":"` + long + `"}`, `service=` + cut + ` host=` + cut + ` "" host_:` + long},
		{`{"host":"h","facility":"f"}`, `service=f host=h "" facility:f`},
		{`{"_facility":"f","_container_name":"c"}`, `service=c container=c "" facility:f container_name:c`},
		{`{"_container_name":"c","_tag":"t"}`, `service=t container=c "" container_name:c tag:t`},
		{`{"_tag":"t","_com.docker.swarm.service.name":"s"}`, `service=s "" tag:t com.docker.swarm.service.name:s`},
		{`{"_com.docker.swarm.service.name":"s","_com.docker.compose.service":"d"}`, `service=d "" com.docker.swarm.service.name:s com.docker.compose.service:d`},
		{`{"_com.docker.compose.service":"d","_service":"x"}`, `service=x "" com.docker.compose.service:d`},
		{`{"_service":"x","_service":"y"}`, `service=x "" service_:y`},
		{`{"service":"x"}`, `service=x ""`},
		{`{"_service":"","host":"h"}`, `service=h host=h "" service_:`},
		{`{"_service":5,"host":"h"}`, `service=h host=h "" service_:#5`},
		{`{"_service":{"name":"x"}}`, `"" service.name:x`},
		{`{"_service":"` + long + `"}`, `service=` + cut + ` "" service_:` + long},
		{`{"_tag":"` + idShort + `","host":"h"}`, `service=h host=h "" tag:` + idShort},
		{`{"_tag":"` + idLong + `","host":"h"}`, `service=h host=h "" tag:` + idLong},
		{`{"_tag":"00FF9c79ea8d"}`, `service=00FF9c79ea8d "" tag:00FF9c79ea8d`},
		{`{"_tag":"00ff9c79ea8"}`, `service=00ff9c79ea8 "" tag:00ff9c79ea8`},
		{`{"_tag":"shop/` + idShort + `","_container_name":"c","_container_id":"` + idLong + `"}`, `service=c container=c "" tag:shop/` + idShort + ` container_name:c container_id:` + idLong},

		// env, container, stream
		{`{"_env":"prod"}`, `env=prod ""`},
		{`{"_environment":"prod"}`, `env=prod "" environment:prod`},
		{`{"_environment":"a","_env":"b"}`, `env=b "" environment:a`},
		{`{"_env":""}`, `"" env_:`},
		{`{"_com.docker.compose.project":"shop"}`, `env=shop "" com.docker.compose.project:shop`},
		{`{"_com.docker.stack.namespace":"st","_com.docker.compose.project":"shop"}`, `env=st "" com.docker.stack.namespace:st com.docker.compose.project:shop`},
		{`{"_lookout.env":"prod","_com.docker.compose.project":"shop","_lookout.service":"pay","_com.docker.compose.service":"web"}`,
			`service=pay env=prod "" lookout.env:prod com.docker.compose.project:shop lookout.service:pay com.docker.compose.service:web`},
		{`{"_ENV":"x"}`, `"" ENV:x`},
		{`{"_container":"c"}`, `container=c ""`},
		{`{"_container":"c","_container_name":"d"}`, `service=d container=d "" container_name:d container_:c`},
		{`{"_container_id":"i"}`, `container=i "" container_id:i`},
		{`{"_container_id":"i","_container":"c"}`, `container=c "" container_id:i`},
		{`{"level":6,"_container_id":"i"}`, `level=info container=i stream=stdout "" container_id:i`},
		{`{"level":3,"_container_id":"i"}`, `level=error container=i stream=stderr "" container_id:i`},
		{`{"level":4,"_container_id":"i"}`, `level=warning container=i "" container_id:i`},
		{`{"level":6}`, `level=info ""`},
		{`{"level":6,"_stream":"audit"}`, `level=info stream=audit ""`},
		{`{"level":6,"_stream":"audit","_container_id":"i"}`, `level=info container=i stream=stdout "" container_id:i stream_:audit`},
		{`{"_stream":1}`, `"" stream_:#1`},
	} {
		e, err := decodeOne(t, []byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		} else if got := describe(e); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

// What all inputs take is tested in internal/timestamp; here is where they differ.
func TestParseTime(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // empty: impossible
	}{
		{"1795235739", "2026-11-21T04:35:39Z"},
		{"1795235739.", "2026-11-21T04:35:39Z"},
		{"1795235739.43", "2026-11-21T04:35:39.43Z"},
		{"001795235739.5", "2026-11-21T04:35:39.5Z"},
		{"1.795235739411E9", "2026-11-21T04:35:39.411Z"},
		{"17952357394110e-4", "2026-11-21T04:35:39.411Z"},
		{"1795235739411222333", "2026-11-21T04:35:39.411222333Z"},
		{"315532799.999999999", ""},
		{"0", ""},
		{"2026-11-21T04:35:39Z", "2026-11-21T04:35:39Z"},
		{"2026-11-21T04:35:39.123456789-02:00", "2026-11-21T06:35:39.123456789Z"},
		{"2026-11-21T04:35:39,5Z", "2026-11-21T04:35:39.5Z"},
		{"2200-01-01T00:00:00Z", ""},
		{"2026-11-21T04:35:39", ""},
		{"2026-11-21T04:35Z", ""},
		{"2026-11-21T04:35:39UTC", ""},
		{"2026-11-21 04:35:39Z", ""},
		{"2026-11-21T04:35:39+0100", ""},
		{"2026-11-21T04:35:39 Z", ""},
		{"2026-11-21T04:35:60Z", ""},
		{"2026-11-21 at some other time", ""},
	} {
		ns, ok := parseTime([]byte(c.in))
		got := ""
		if ok {
			got = time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func compress(t testing.TB, kind string, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch kind {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "zlib-best":
		w, _ = zlib.NewWriterLevel(&b, zlib.BestCompression)
	case "zlib-none":
		w, _ = zlib.NewWriterLevel(&b, zlib.NoCompression)
	case "zstd":
		w, _ = zstd.NewWriter(&b)
	case "zstd-window": // a frame that asks for a window larger than any message
		w, _ = zstd.NewWriter(&b, zstd.WithWindowSize(64<<20))
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecompression(t *testing.T) {
	object := func(n int) []byte { // of exactly n bytes
		return fmt.Appendf(nil, `{"short_message":"m","_p":"%s"}`, strings.Repeat("x", n-len(`{"short_message":"m","_p":""}`)))
	}
	largest, tooLarge, bombs := map[string][]byte{}, map[string][]byte{}, map[string][]byte{}
	for _, kind := range []string{"gzip", "zlib", "zstd-window"} {
		largest[kind], tooLarge[kind] = compress(t, kind, object(MaxSize)), compress(t, kind, object(MaxSize+1))
		bombs[kind] = compress(t, kind, make([]byte, 2*MaxSize))
	}
	// One decoder for all: what came before must not matter.
	d := Decoder{Now: testNow}
	for _, kind := range []string{"gzip", "zlib", "zlib-best", "zlib-none", "zstd", "zstd-window"} {
		whole := compress(t, kind, object(100))
		flipped := slices.Clone(whole)
		flipped[len(flipped)/2] ^= 0x10
		for _, c := range []struct {
			name string
			in   []byte
			want error
		}{
			{"small", whole, nil},
			{"cut", whole[:len(whole)-9], ErrCompression},
			{"flipped", flipped, ErrCompression},
			{"header alone", whole[:4], ErrCompression},
			{"garbage behind", append(slices.Clone(whole), "garbage"...), ErrCompression},
			{"empty", compress(t, kind, nil), ErrNotObject},
			{"bomb", bombs[kind], ErrBomb},
			{"largest", largest[kind], nil},
			{"one byte more", tooLarge[kind], ErrBomb},
			{"small again", whole, nil},
			{"compressed twice", compress(t, kind, whole), ErrNotObject},
		} {
			if strings.HasPrefix(kind, "zlib") && c.name == "garbage behind" {
				c.want = nil // zlib has an end, what follows is not looked at
			}
			if c.in == nil {
				continue // large ones are slow to make
			}
			var b event.Batch
			_, _, err := d.Decode(&b, 0, c.in)
			if !errors.Is(err, c.want) || err != nil && len(b.Events) != 0 || err == nil && string(b.Events[0].Message) != "m" {
				t.Errorf("%s, %s: %d events, %v; want %v", kind, c.name, len(b.Events), err, c.want)
			}
		}
	}
	if c := cap(d.inflater.out); c > 2*MaxSize {
		t.Errorf("%d bytes for the output", c)
	}
}

// A zstd frame may declare any size: nothing is allocated for what is only declared.
func TestDecompressionFalseLength(t *testing.T) {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0} // 2⁶² bytes, then an empty last block
	if _, err := decodeOne(t, frame); !errors.Is(err, ErrBomb) && !errors.Is(err, ErrCompression) {
		t.Errorf("%v", err)
	}
	frame = []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x30, 0, 1, 0, 0} // 3 MiB, and there are none
	if _, err := decodeOne(t, frame); !errors.Is(err, ErrCompression) {
		t.Errorf("%v", err)
	}
}

func TestBadMessages(t *testing.T) {
	many := bytes.Repeat([]byte(`"a":1,`), 600_000)
	for _, c := range []struct {
		in   string
		want error
	}{
		{"", ErrNotObject},
		{"hello", ErrNotObject},
		{`"text"`, ErrNotObject},
		{`[{"short_message":"a"}]`, ErrNotObject},
		{"\x00", ErrNotObject},
		{"\x78\x9c", ErrCompression},
		{"\x48\x89", ErrCompression}, // a small window
		{"\x88\x1c", ErrNotObject},   // no window zlib has
		{"\x78\x9d", ErrNotObject},
		{"\xef\xbb\xbf", ErrNotObject},
		{`{`, ErrJSON},
		{`{"short_message":"a"`, ErrJSON},
		{`{"short_message":"a",}`, ErrJSON},
		{`{"_a":NaN}`, ErrJSON},
		{`{"_a":-Infinity}`, ErrJSON},
		{`{"_a":01}`, ErrJSON},
		{`{"short_message":"a"} {"short_message":"b"}`, ErrJSON},
		{`{"short_message":"a"}x`, ErrJSON},
		{"{" + string(many) + `"a":1}`, ErrJSON},
		{"{" + string(many[:6*(maxFields-1)]) + `"a":1}`, nil},
		{`{"_a":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_001), nil},
		{`{"_a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", nil},
		{strings.Repeat(`{"a":[`, 100_000), ErrJSON},
	} {
		if _, err := decodeOne(t, []byte(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%.40q…: %v, want %v", c.in, err, c.want)
		}
	}
}

func TestLimitsOfAnEvent(t *testing.T) {
	d := Decoder{Now: testNow}
	var b event.Batch
	long := strings.Repeat("m", event.MaxMessage+1)
	text, cut, err := d.Decode(&b, 0, []byte(`{"short_message":"`+long+`"}`))
	e := &b.Events[0]
	if err != nil || !cut || len(e.Message) != event.MaxMessage || !bytes.HasSuffix(e.Message, []byte(event.TruncationMark)) {
		t.Errorf("cut %v, %d bytes, %v", cut, len(e.Message), err)
	}
	if want := len(long) + len(e.Message); text < want {
		t.Errorf("%d bytes of text, at least %d are held", text, want)
	}
	if _, cut, err := d.Decode(&b, 0, []byte(`{"short_message":"`+long[1:]+`"}`)); cut || err != nil {
		t.Errorf("the longest message: cut %v, %v", cut, err)
	}
}

// The memory of a buffer's events stays as it is until Decode meets that buffer with an empty batch.
func TestDecoderBuffers(t *testing.T) {
	d := Decoder{Now: testNow}
	var batches [2]event.Batch
	var want [2][]string
	for i := range 1000 {
		buffer := i / 200 % 2
		b := &batches[buffer]
		if i%200 == 0 {
			b.Reset()
			want[buffer] = nil
		}
		p := fmt.Appendf(nil, `{"short_message":"a\t%d","_o":{"x":"\"%d\""}}`, i, i)
		if i%10 == 0 {
			p = compress(t, "gzip", p)
		}
		if _, _, err := d.Decode(b, buffer, p); err != nil {
			t.Fatal(err)
		}
		want[buffer] = append(want[buffer], fmt.Sprintf(`"a\t%d" o.x:"%d"`, i, i))
		if i%200 == 199 {
			for buffer := range batches {
				for k := range batches[buffer].Events {
					if got := describe(&batches[buffer].Events[k]); got != want[buffer][k] {
						t.Fatalf("buffer %d, event %d: %s, want %s", buffer, k, got, want[buffer][k])
					}
				}
			}
		}
	}
}

func TestDecodeAllocates(t *testing.T) {
	for _, kind := range []string{"plain", "gzip", "zlib"} {
		message := docker(1)
		if kind != "plain" {
			message = compress(t, kind, message)
		}
		var d Decoder
		var b event.Batch
		batch := func() {
			b.Reset()
			for range 100 {
				if _, _, err := d.Decode(&b, 0, message); err != nil {
					t.Fatal(err)
				}
			}
		}
		batch()
		if n := testing.AllocsPerRun(20, batch) / 100; n > 0.5 {
			t.Errorf("%s: %.2f allocations an event", kind, n)
		}
	}
}

// FuzzDecode: nothing panics, nothing of a message is lost, and what comes out fits the store.
func FuzzDecode(f *testing.F) {
	for name, datagrams := range captures(f) {
		var c chunks
		for _, p := range datagrams {
			if isChunk(p) {
				p, _, _ = c.add(p, sender(1), 0)
			}
			if p != nil && len(p) < 4096 && (name != "gelf-tcp" || len(p) < 440) {
				f.Add(slices.Clone(p))
			}
		}
	}
	f.Add([]byte(`{"host":["a",1,null,{}],"_service":"","short_message":" b ","full_message":"b","level":"fatal","_message":"x","timestamp":"1e9"}`))
	f.Add([]byte(`{"host":null,"_env":"` + strings.Repeat("e", 513) + `","_environment":7,"_container":"c","_container_name":"d","_stream":"s","version":2}`))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Decoder{Now: testNow}
		var b event.Batch
		p := slices.Clone(data)
		_, cut, err := d.Decode(&b, 0, p)
		if err != nil {
			if len(b.Events) != 0 {
				t.Fatal("an event beside an error")
			}
			return
		}
		if len(b.Events) != 1 {
			t.Fatalf("%d events", len(b.Events))
		}
		e := &b.Events[0]
		before := describe(e)
		for i := range p {
			p[i] = 'X'
		}
		if describe(e) != before {
			t.Fatal("the event points into the caller's memory")
		}
		if e.Time < timestamp.Min || e.Time >= timestamp.Max {
			t.Errorf("time %d", e.Time)
		}
		encoded := event.AppendEvent(nil, e)
		var again event.Event
		if _, err := event.Decode(encoded, &again); err != nil || describe(&again) != before {
			t.Errorf("does not come back from the store: %v", err)
		}
		if cut {
			return
		}
		var in inflater
		var plain flatjson.Decoder
		message, err := in.inflate(data)
		if err != nil {
			t.Fatal(err)
		}
		fields, _, err := plain.Object(message)
		if err != nil {
			t.Fatal(err)
		}
		parts := [][]byte{e.Message, e.Service, e.Env, e.Host, e.Container, e.Stream}
		for _, field := range e.Fields {
			parts = append(parts, field.Value)
		}
		for _, field := range fields {
			switch string(field.Name) {
			case "version", "level", "timestamp":
				continue
			}
			if !slices.ContainsFunc(parts, func(p []byte) bool { return contains(p, field.Value) }) &&
				!(field.Kind == event.Null && strings.HasSuffix(string(field.Name), "_message")) {
				t.Errorf("%s: %q is not in %s", field.Name, field.Value, before)
			}
		}
	})
}
