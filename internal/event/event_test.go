package event

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func anyBytes() *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), 0, 300) }

func anyEvent(t *rapid.T) Event {
	e := Event{
		Time:    rapid.Int64().Draw(t, "time"),
		Level:   Level(rapid.IntRange(0, int(Debug)).Draw(t, "level")),
		Service: anyBytes().Draw(t, "service"), Env: anyBytes().Draw(t, "env"), Host: anyBytes().Draw(t, "host"),
		Container: anyBytes().Draw(t, "container"), Stream: anyBytes().Draw(t, "stream"),
		Message: anyBytes().Draw(t, "message"),
	}
	for range rapid.IntRange(0, 20).Draw(t, "fields") {
		e.Fields = append(e.Fields, Field{
			Name: anyBytes().Draw(t, "name"), Value: anyBytes().Draw(t, "value"),
			Kind: Kind(rapid.IntRange(0, int(JSON)).Draw(t, "kind")),
		})
	}
	return e
}

// equal compares events, an empty slice being the same as none.
func equal(a, b *Event) bool {
	if a.Time != b.Time || a.Level != b.Level || !a.SameSource(b) || !bytes.Equal(a.Stream, b.Stream) ||
		!bytes.Equal(a.Message, b.Message) || len(a.Fields) != len(b.Fields) {
		return false
	}
	for i := range a.Fields {
		x, y := a.Fields[i], b.Fields[i]
		if x.Kind != y.Kind || !bytes.Equal(x.Name, y.Name) || !bytes.Equal(x.Value, y.Value) {
			return false
		}
	}
	return true
}

func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var data []byte
		events := make([]Event, rapid.IntRange(1, 5).Draw(t, "events"))
		for i := range events {
			events[i] = anyEvent(t)
			before := len(data)
			data = AppendEvent(data, &events[i])
			if got := len(data) - before; got != EncodedSize(&events[i]) {
				t.Fatalf("EncodedSize %d, encoded %d bytes", EncodedSize(&events[i]), got)
			}
		}
		var got Event
		for i := range events {
			size, at, service, err := Peek(data)
			if err != nil || at != events[i].Time || !bytes.Equal(service, events[i].Service) {
				t.Fatalf("Peek of event %d: %d %q %v", i, at, service, err)
			}
			rest, err := Decode(data, &got)
			if err != nil {
				t.Fatal(err)
			}
			if len(data)-len(rest) != size {
				t.Fatalf("Peek says %d bytes, Decode took %d", size, len(data)-len(rest))
			}
			if !equal(&events[i], &got) {
				t.Fatalf("event %d came back as %+v", i, got)
			}
			data = rest
		}
		if len(data) != 0 {
			t.Fatalf("%d bytes left", len(data))
		}
	})
}

func TestDecodeRefusesEveryTruncation(t *testing.T) {
	e := Event{Time: 1, Level: Error, Service: []byte("pay"), Message: bytes.Repeat([]byte("x"), 200),
		Fields: []Field{{Name: []byte("a"), Value: []byte("1"), Kind: Number}}}
	data := AppendEvent(nil, &e)
	for n := range data {
		var got Event
		if _, err := Decode(data[:n:n], &got); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: error %v", n, len(data), err)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyEvent(t)
		data := AppendEvent(nil, &want)
		var e Event
		if _, err := Decode(data, &e); err != nil {
			t.Fatal(err)
		}
		c := e.Clone()
		for i := range data {
			data[i] ^= 0xff
		}
		if !equal(&want, &c) {
			t.Fatalf("the clone changed with the original: %+v", c)
		}
	})
}

func TestBatchFieldsStayWithTheirEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Batch
		for range 2 { // the second round uses the memory of the first
			b.Reset()
			n := rapid.IntRange(1, 6).Draw(t, "n")
			want := make([][]string, n)
			for range n {
				b.Add()
			}
			for range rapid.IntRange(0, 40).Draw(t, "adds") {
				i := rapid.IntRange(0, n-1).Draw(t, "i")
				name := rapid.StringN(0, 8, -1).Draw(t, "name")
				want[i] = append(want[i], name)
				b.AddField(&b.Events[i], Field{Name: b.CopyString(name), Value: b.Copy([]byte(name))})
			}
			for i := range want {
				var got []string
				for _, f := range b.Events[i].Fields {
					got = append(got, string(f.Name))
				}
				if !reflect.DeepEqual(got, want[i]) {
					t.Fatalf("event %d has fields %q, want %q", i, got, want[i])
				}
			}
		}
	})
}

func TestBatchReuseAllocatesNothing(t *testing.T) {
	var b Batch
	name, value, line := []byte("status"), []byte("200"), []byte("GET / 200")
	var buf []byte
	fill := func() {
		b.Reset()
		buf = buf[:0]
		for range 100 {
			e := b.Add()
			e.Service, e.Message = b.CopyString("web"), line
			b.AddField(e, Field{Name: name, Value: b.Copy(value), Kind: Number})
			b.AddField(e, Field{Name: name, Value: value})
			buf = AppendEvent(buf, e)
		}
	}
	fill()
	if n := testing.AllocsPerRun(20, fill); n != 0 {
		t.Fatalf("%v allocations for 100 events", n)
	}
}

func TestClamp(t *testing.T) {
	var b Batch
	e := b.Add()
	e.Message = bytes.Repeat([]byte("m"), 3*MaxMessage)
	e.Service = bytes.Repeat([]byte("s"), MaxName+1)
	for range 10 {
		b.AddField(e, Field{Name: []byte("f"), Value: bytes.Repeat([]byte("v"), 1<<20)})
	}
	if !b.Clamp(e) {
		t.Fatal("nothing was cut")
	}
	if len(e.Message) != MaxMessage || !bytes.HasSuffix(e.Message, []byte(TruncationMark)) {
		t.Errorf("message of %d bytes ends in %q", len(e.Message), e.Message[len(e.Message)-20:])
	}
	if len(e.Service) != MaxName {
		t.Errorf("service of %d bytes", len(e.Service))
	}
	var got Event
	if _, err := Decode(AppendEvent(nil, e), &got); err != nil {
		t.Errorf("what was clamped does not decode: %v", err)
	}
	if len(got.Fields) == 0 {
		t.Error("all fields are gone")
	}
	if b.Clamp(e) {
		t.Error("clamped twice")
	}
}

// Of many small fields exactly those that do not fit are cut, and in linear time: half a million took minutes once.
func TestClampManyFields(t *testing.T) {
	var b Batch
	e := b.Add()
	name, value := []byte("name"), []byte("0123456789")
	for range 500_000 {
		b.AddField(e, Field{Name: name, Value: value})
	}
	all := e.Fields
	if !b.Clamp(e) || EncodedSize(e) > MaxEncoded {
		t.Fatalf("%d bytes with %d fields", EncodedSize(e), len(e.Fields))
	}
	e.Fields = all[:len(e.Fields)+1]
	if EncodedSize(e) <= MaxEncoded {
		t.Error("a field was cut that fits")
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		text string
		want Level
	}{
		{"emergency", Emergency}, {"PANIC", Emergency}, {"alert", Alert}, {"critical", Critical}, {"CRIT", Critical},
		{"fatal", Critical}, {"Error", Error}, {"err", Error}, {"SEVERE", Error}, {"warning", Warning}, {"WARN", Warning},
		{"notice", Notice}, {"info", Info}, {"Information", Info}, {"informational", Info}, {"debug", Debug},
		{"TRACE", Debug}, {"verbose", Debug}, {"finest", Debug}, {"0", Emergency}, {"7", Debug},
		{"", None}, {"8", None}, {"errors", None}, {"-1", None}, {"informationally", None},
	} {
		if got, ok := ParseLevel([]byte(c.text)); got != c.want || ok != (c.want != None) {
			t.Errorf("ParseLevel(%q) = %v, %v", c.text, got, ok)
		}
	}
	for name, c := range map[string]struct {
		f    func(int) Level
		want map[int]Level
	}{
		"syslog": {FromSyslog, map[int]Level{-1: None, 0: Emergency, 3: Error, 4: Warning, 6: Info, 7: Debug, 8: None}},
		"pino":   {FromPino, map[int]Level{9: None, 10: Debug, 20: Debug, 30: Info, 35: Info, 40: Warning, 50: Error, 60: Critical, 61: None}},
		"python": {FromPython, map[int]Level{0: None, 10: Debug, 20: Info, 25: Info, 30: Warning, 40: Error, 50: Critical, 51: None}},
		"slog":   {FromSlog, map[int]Level{-8: Debug, -4: Debug, 0: Info, 2: Info, 4: Warning, 8: Error, 12: Error}},
		"otlp":   {FromOTLP, map[int]Level{0: None, 1: Debug, 8: Debug, 9: Info, 13: Warning, 17: Error, 21: Critical, 24: Critical, 25: None}},
	} {
		for n, want := range c.want {
			if got := c.f(n); got != want {
				t.Errorf("%s %d = %v, want %v", name, n, got, want)
			}
		}
	}
	for l := Emergency; l <= Debug; l++ {
		if back, ok := ParseLevel([]byte(l.String())); back != l || !ok {
			t.Errorf("%v prints as %q, which reads as %v", l, l.String(), back)
		}
		if FromSyslog(l.Syslog()) != l {
			t.Errorf("%v: syslog %d", l, l.Syslog())
		}
	}
}

func FuzzDecode(f *testing.F) {
	e := Event{Time: 1, Level: Error, Service: []byte("pay"), Message: []byte("refused"),
		Fields: []Field{{Name: []byte("a"), Value: []byte("1"), Kind: Number}}}
	f.Add(AppendEvent(nil, &e))
	f.Add([]byte{})
	f.Add([]byte{9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var e Event
		rest, err := Decode(data, &e)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		var back Event
		if _, err := Decode(AppendEvent(nil, &e), &back); err != nil || !equal(&e, &back) {
			t.Fatalf("what was decoded does not round-trip: %v", err)
		}
		if len(rest) >= len(data) {
			t.Fatal("no progress")
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	e := Event{Time: 1, Level: Error, Service: []byte("payments"), Host: []byte("node-03"),
		Message: bytes.Repeat([]byte("connection refused "), 10)}
	for _, f := range []string{"request_id", "status", "duration_ms", "user"} {
		e.Fields = append(e.Fields, Field{Name: []byte(f), Value: []byte("0123456789")})
	}
	var buf []byte
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendEvent(buf[:0], &e)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var got Event
		for b.Loop() {
			if _, err := Decode(buf, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestEndText(t *testing.T) {
	for _, n := range []int{0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 21} {
		text := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		dst, start := BeginText([]byte("before"))
		if got, want := EndText(append(dst, text...), start), AppendText([]byte("before"), text); !bytes.Equal(got, want) {
			t.Errorf("a text of %d bytes", n)
		}
	}
}
