package parse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

// noon is when the tests' inputs received their events.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 500e6, time.UTC)

// show writes an event on one line: its parts, then its fields, a string in quotes as %q, other kinds bare.
func show(e *event.Event) string {
	var s []string
	add := func(name string, v []byte) {
		if len(v) > 0 {
			s = append(s, name+"="+string(v))
		}
	}
	if e.Time != noon.UnixNano() {
		s = append(s, "@"+time.Unix(0, e.Time).UTC().Format("2006-01-02T15:04:05.999999999"))
	}
	if e.Level != event.None {
		s = append(s, e.Level.String())
	}
	add("service", e.Service)
	add("env", e.Env)
	add("host", e.Host)
	add("container", e.Container)
	add("stream", e.Stream)
	s = append(s, fmt.Sprintf("%q", e.Message))
	for _, f := range e.Fields {
		v := string(f.Value)
		if f.Kind == event.String {
			v = fmt.Sprintf("%q", v)
		}
		s = append(s, string(f.Name)+":"+v)
	}
	return strings.Join(s, " ")
}

func process(e event.Event) string {
	var b event.Batch
	*b.Add() = e
	New(Options{}).Process(&b)
	return show(&b.Events[0])
}

func TestMessages(t *testing.T) {
	for _, c := range []struct{ message, want string }{
		// Loggers.
		{`{"time":"2026-11-21T11:59:59.123456789Z","level":"INFO","msg":"order shipped","order":17,"user":{"id":"u1","tags":["a","b"]}}`,
			`@2026-11-21T11:59:59.123456789 info "order shipped" order:17 user.id:"u1" user.tags:"a" user.tags:"b"`},
		{`{"time":"2026-11-21T11:59:59.1Z","level":"WARN+2","msg":"slog"}`, `@2026-11-21T11:59:59.1 warning "slog" level_text:"WARN+2"`},
		{`{"level":30,"time":1795262399123,"pid":7,"hostname":"h1","name":"shop","msg":"pino"}`,
			`@2026-11-21T11:59:59.123 info host=h1 "pino" pid:7 name:"shop"`},
		{`{"level":10,"time":1795262399123,"pid":7,"msg":"pino"}`, `@2026-11-21T11:59:59.123 debug "pino" pid:7 level_text:"trace"`},
		{`{"level":60,"msg":"pino"}`, `critical "pino" level_text:"fatal"`},
		{`{"level":35,"pid":1,"msg":"pino"}`, `info "pino" pid:1 level_text:"35"`},
		{`{"level":35,"msg":"whose?"}`, `"whose?" level_:35`},
		{`{"name":"bunyan","hostname":"h","pid":1,"level":50,"msg":"x","time":"2026-11-21T11:59:59.5Z","v":0}`,
			`@2026-11-21T11:59:59.5 error host=h "x" name:"bunyan" pid:1 v:0`},
		{`{"level":"error","ts":1795262399.1234567,"caller":"main.go:1","msg":"zap","stacktrace":"main.main\n\t/app/main.go:1"}`,
			`@2026-11-21T11:59:59.1234567 error "zap" caller:"main.go:1" stacktrace:"main.main\n\t/app/main.go:1"`},
		{`{"level":"dpanic","msg":"zap"}`, `critical "zap" level_text:"dpanic"`},
		{`{"level":"fatal","error":"EOF","time":"2026-11-21T11:59:58+00:00","message":"zerolog"}`,
			`@2026-11-21T11:59:58.999999999 critical "zerolog" error:"EOF" level_text:"fatal"`},
		{`{"@timestamp":"2026-11-21T11:59:59.500Z","log.level":"WARN","message":"ECS","ecs.version":"1.2.0","service.name":"shop","service.environment":"prod","host":{"name":"h1"}}`,
			`@2026-11-21T11:59:59.5 warning service=shop env=prod host=h1 "ECS" ecs.version:"1.2.0"`},
		{`{"@timestamp":"2026-11-21T11:59:59.500Z","log":{"level":"error","logger":"x"},"message":"ECS"}`,
			`@2026-11-21T11:59:59.5 error "ECS" log.logger:"x"`},
		{`{"asctime":"2026-11-21 11:59:59,123","levelname":"ERROR","levelno":40,"name":"root","message":"python"}`,
			`error "python" asctime:"2026-11-21 11:59:59,123" levelno:40 name:"root"`},
		{`{"levelno":50,"message":"python"}`, `critical "python"`},
		{`{"event":"user_login","level":"info","timestamp":"2026-11-21T11:59:59.5Z","user":1}`,
			`@2026-11-21T11:59:59.5 info "user_login" event:"user_login" user:1`},
		{`{"severity":"NOTICE","message":"GCP","logging.googleapis.com/trace":"t"}`, `notice "GCP" logging.googleapis.com/trace:"t"`},
		{`{"severity":"DEFAULT","message":"GCP"}`, `"GCP" severity:"DEFAULT"`},
		{`{"timeUnixNano":"1795262399123456789","severityNumber":17,"severityText":"ERROR","body":{"stringValue":"OTLP"}}`,
			`@2026-11-21T11:59:59.123456789 error "OTLP" severityNumber:17`},
		{`{"severity_number":22,"body":"OTLP"}`, `critical "OTLP" level_text:"22"`},
		{`{"severity_number":1,"body":"OTLP"}`, `debug "OTLP" level_text:"trace"`},
		{`{"@t":"2026-11-21T11:59:59.5Z","@mt":"Hello {Name}","@l":"Warning","Name":"x"}`,
			`@2026-11-21T11:59:59.5 warning "Hello {Name}" @mt:"Hello {Name}" Name:"x"`},
		{`{"EventId":9,"LogLevel":"Critical","Category":"Host","Message":"NET","State":{"{OriginalFormat}":"NET"}}`,
			`critical "NET" EventId:9 Category:"Host" State.{OriginalFormat}:"NET"`},
		{`{"message":"Monolog","context":{"user":1},"level":400,"level_name":"ERROR","channel":"app","datetime":"2026-11-21T11:59:59.500000+00:00","extra":[]}`,
			`@2026-11-21T11:59:59.5 error "Monolog" context.user:1 level_:400 channel:"app" extra:[]`},
		{`{"t":{"$date":"2026-11-21T11:59:59.500+00:00"},"s":"W","c":"NETWORK","id":22943,"ctx":"listener","msg":"MongoDB","attr":{"n":1}}`,
			`@2026-11-21T11:59:59.5 warning "MongoDB" c:"NETWORK" id_:22943 ctx:"listener" attr.n:1`},
		{`{"s":"W","msg":"not MongoDB"}`, `"not MongoDB" s:"W"`},
		{`{"log":"ERROR: in the text\n","stream":"stderr","time":"2026-11-21T11:59:59.5Z"}`,
			`@2026-11-21T11:59:59.5 error stream=stderr "ERROR: in the text\n"`},
		{`{"PRIORITY":"3","MESSAGE":"journald","__REALTIME_TIMESTAMP":"1795262399123456"}`, `@2026-11-21T11:59:59.123456 error "journald"`},
		{`{"error_severity":"LOG","message":"PostgreSQL","timestamp":"2026-11-21 11:59:59.500 UTC"}`,
			`@2026-11-21T11:59:59.5 info "PostgreSQL" level_text:"LOG"`},
		{`{"level":3,"msg":"syslog's number"}`, `error "syslog's number"`},
		{`{"level":"3","msg":"as text"}`, `error "as text"`},

		// Odd objects.
		{` {"msg":"spaces around"} ` + "\r\n", `"spaces around"`},
		{`{"a":1}`, `"{\"a\":1}" a:1`},
		{`{"msg":"","a":1}`, `"{\"msg\":\"\",\"a\":1}" msg:"" a:1`},
		{`{"message":"  ","msg":"the other"}`, `"the other" message_:"  "`},
		{`{"message":null,"a":true}`, `"{\"message\":null,\"a\":true}" message_:null a:true`},
		{`{"message":{"text":"deep"},"a":1}`, `"{\"message\":{\"text\":\"deep\"},\"a\":1}" message.text:"deep" a:1`},
		{`{"msg":5}`, `"5"`},
		{`{"msg":"second","message":"first"}`, `"first" msg:"second"`},
		{`{"message":["a","b"]}`, `"a" message_:"b"`},
		{`{"id":7,"time":"then","level":"loud","host":["a"],"stream":"x","env":5,"message":"m"}`,
			`host=a "m" id_:7 time_:"then" level_:"loud" stream_:"x" env_:5`},
		{`{"msg":"escaped \"x\"\u00e4","a\nb":"c\td"}`, `"escaped \"x\"ä" a` + "\nb" + `:"c\td"`},
		{`{"msg":"x","a":1,"a":1}`, `"x" a:1 a:1`},
		{`{"":"","msg":"x"}`, `"x" :""`},
		{`{"msg":"x","app":"shop"}`, `service=shop "x" app:"shop"`},
		{`{"nested":{"level":"error","msg":"deep"}}`, `"{\"nested\":{\"level\":\"error\",\"msg\":\"deep\"}}" nested.level:"error" nested.msg:"deep"`},
		{`{}`, `"{}"`},
		{`{"msg":"x"} {"msg":"y"}`, `"{\"msg\":\"x\"} {\"msg\":\"y\"}"`},
		{`{"msg":"x",}`, `"{\"msg\":\"x\",}"`},
		{`{"level":"error","msg":"cut he`, `error "{\"level\":\"error\",\"msg\":\"cut he"`},
		{`{not JSON}`, `"{not JSON}"`},
		{`["msg"]`, `"[\"msg\"]"`},
		{``, `""`},
		{`   `, `"   "`},
		{"\x1b[31mERROR\x1b[0m x", `error "\x1b[31mERROR\x1b[0m x"`},

		// Times.
		{`{"time":"2026-11-21T11:59:59Z","msg":"the second's end"}`, `@2026-11-21T11:59:59.999999999 "the second's end"`},
		{`{"time":"2026-11-21T12:00:00Z","msg":"the input's fraction"}`, `"the input's fraction"`},
		{`{"time":1795262400,"msg":"in s"}`, `"in s"`},
		{`{"time":"2026-11-21T12:00:01Z","msg":"a little ahead"}`, `@2026-11-21T12:00:01 "a little ahead"`},
		{`{"time":"2026-11-21T11:59:50Z","msg":"late, as written"}`, `@2026-11-21T11:59:50 "late, as written"`},
		{`{"time":"2026-11-20T12:00:01Z","msg":"a day ago"}`, `@2026-11-20T12:00:01 "a day ago"`},
		{`{"time":"2026-11-20T12:00:00Z","msg":"too old"}`, `"too old" time_:"2026-11-20T12:00:00Z"`},
		{`{"time":"2026-11-21T12:05:00.5Z","msg":"ahead"}`, `@2026-11-21T12:05:00.5 "ahead"`},
		{`{"time":"2026-11-21T12:05:00.6Z","msg":"too far ahead"}`, `"too far ahead" time_:"2026-11-21T12:05:00.6Z"`},
		{`{"ts":0,"msg":"x"}`, `"x" ts:0`},
		{`{"time":9999,"timestamp":"2026-11-21T11:59:59.5Z","msg":"the one that is a time"}`, `@2026-11-21T11:59:59.5 "the one that is a time" time_:9999`},
		{`{"time":true,"msg":"x"}`, `"x" time_:true`},

		// logfmt.
		{`time="2026-11-21T11:59:59Z" level=warning msg="cannot pay" order=17 user=u1 retry=true took=1.5s empty=`,
			`@2026-11-21T11:59:59.999999999 warning "cannot pay" order:17 user:"u1" retry:true took:"1.5s" empty:""`},
		{`ts=2026-11-21T11:59:59.5Z caller=main.go:12 level=info msg=started`, `@2026-11-21T11:59:59.5 info "started" caller:"main.go:12"`},
		{`time=2026-11-21T11:59:59.500Z level=DEBUG-4 msg=slog`, `@2026-11-21T11:59:59.5 debug "slog" level_text:"DEBUG-4"`},
		{`level=error msg="a \"quoted\" \\ \n\t\x41\u00e4\q" err="EOF"`, `error "a \"quoted\" \\ \n\tAä\\q" err:"EOF"`},
		{`level=info url=http://x/?a=b&c=d message=x id=7 time=then`, `info "x" url:"http://x/?a=b&c=d" id_:7 time_:"then"`},
		{`level=info a=1`, `info "level=info a=1" a:1`},
		{`  level=info   msg=x  ` + "\n", `info "x"`},
		{`n=-1.5e3 m=012 o=0x1 msg=x`, `"x" n:-1.5e3 m:"012" o:"0x1"`},
		// Not logfmt.
		{`msg=alone`, `"msg=alone"`},
		{`a=1 b=2`, `"a=1 b=2"`},
		{`level=error this is prose`, `error "level=error this is prose"`},
		{`level=info msg=x tail`, `info "level=info msg=x tail"`},
		{`level=info msg="open`, `info "level=info msg=\"open"`},
		{`level=info msg="x"y=1`, `info "level=info msg=\"x\"y=1"`},
		{`level=info msg=a"b"`, `info "level=info msg=a\"b\""`},
		{`level=info =x`, `info "level=info =x"`},
		{`level=info 1=x`, `info "level=info 1=x"`},
		{"level=info msg=a\nb=c", `info "level=info msg=a\nb=c"`},
		{`the level=info msg=x`, `"the level=info msg=x"`},
	} {
		if got := process(event.Event{Time: noon.UnixNano(), Message: []byte(c.message)}); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.message, got, c.want)
		}
	}
}

// What the sender said wins over what the message says.
func TestSenderWins(t *testing.T) {
	sender := event.Event{
		Time: noon.UnixNano(), Service: []byte("shop"), Env: []byte("prod"), Host: []byte("h1"), Container: []byte("c1"), Stream: []byte("stdout"), Level: event.Info,
		Fields: []event.Field{{Name: []byte("tag"), Value: []byte("t")}},
	}
	for _, c := range []struct{ stream, message, want string }{
		{"stdout", `{"service":"other","env":"test","host":"h2","container":"c2","stream":"stderr","level":"error","msg":"x"}`,
			`error service=shop env=prod host=h1 container=c1 stream=stdout "x" tag:"t" service_:"other" env_:"test" host_:"h2" container_:"c2" stream_:"stderr"`},
		{"stdout", `{"service":"shop","env":"prod","host":"h1","container":"c1","stream":"stdout","tag":"u","msg":"equal"}`,
			`info service=shop env=prod host=h1 container=c1 stream=stdout "equal" tag:"t" tag:"u"`},
		{"stdout", `{"service.name":"other","app":"x","msg":"m"}`,
			`info service=shop env=prod host=h1 container=c1 stream=stdout "m" tag:"t" service.name:"other" app:"x"`},
		{"stdout", `WARN x`, `warning service=shop env=prod host=h1 container=c1 stream=stdout "WARN x" tag:"t"`},
		{"stderr", `INFO x`, `info service=shop env=prod host=h1 container=c1 stream=stderr "INFO x" tag:"t"`},
		{"stderr", `no level`, `info service=shop env=prod host=h1 container=c1 stream=stderr "no level" tag:"t"`},
		{"syslog", `ERROR x`, `info service=shop env=prod host=h1 container=c1 stream=syslog "ERROR x" tag:"t"`},
		{"syslog", `{"level":"error","msg":"ERROR x"}`, `info service=shop env=prod host=h1 container=c1 stream=syslog "ERROR x" tag:"t" level_:"error"`},
		{"syslog", `{"level":"info","msg":"x"}`, `info service=shop env=prod host=h1 container=c1 stream=syslog "x" tag:"t"`},
		{"", `ERROR x`, `info service=shop env=prod host=h1 container=c1 "ERROR x" tag:"t"`},
	} {
		e := sender.Clone()
		e.Stream = []byte(c.stream)
		e.Message = []byte(c.message)
		if got := process(e); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.message, got, c.want)
		}
	}
}

// An event without a time takes any that its message has.
// What lookout's own inputs say comes with its level and fields, and may hold anybody's text.
func TestOwnStreamsStay(t *testing.T) {
	for _, stream := range []string{"docker", "stats", "probe"} {
		for _, text := range []string{`level=debug msg="x" a=1`, `{"level":"debug"}`, "ERROR sales failed", "2026-11-21T11:00:00Z died"} {
			e := event.Event{Time: noon.UnixNano(), Level: event.Notice, Stream: []byte(stream), Message: []byte(text)}
			if got, want := process(e), show(&e); got != want {
				t.Errorf("%s became %s", want, got)
			}
		}
	}
}

func TestNoTime(t *testing.T) {
	if got, want := process(event.Event{Message: []byte(`{"time":"2001-02-03T04:05:06Z","msg":"x"}`)}), `@2001-02-03T04:05:06 "x"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTimeWindowOption(t *testing.T) {
	var b event.Batch
	for _, at := range []string{"11:59:58.9", "11:59:59.5", "12:00:01.5", "12:00:01.6"} {
		e := b.Add()
		e.Time = noon.UnixNano()
		e.Message = []byte(`{"time":"2026-11-21T` + at + `Z","msg":"x"}`)
	}
	s := New(Options{Past: time.Second, Future: time.Second})
	s.Process(&b)
	var used []bool
	for _, e := range b.Events {
		used = append(used, e.Time != noon.UnixNano())
	}
	if want := []bool{false, true, true, false}; !slices.Equal(used, want) {
		t.Errorf("used %v, want %v", used, want)
	}
	if got := s.Stats(); got != (Stats{Events: 4, JSON: 4, Times: 2, RefusedTimes: 2}) {
		t.Errorf("%+v", got)
	}
}

// Times that rise on both sides rise in the result, whatever their lag and their fraction: the order of a source holds.
func TestOrderWithinASource(t *testing.T) {
	for _, lag := range []time.Duration{0, time.Millisecond, 600 * time.Millisecond, 1300 * time.Millisecond, 7 * time.Second} {
		var b event.Batch
		for i := range 400 {
			at := noon.Add(time.Duration(i) * 17 * time.Millisecond)
			e := b.Add()
			e.Time = at.Add(lag).UnixNano()
			e.Message = []byte(`{"time":"` + at.Format("2006-01-02T15:04:05Z") + `","msg":"x"}`)
			if i%3 == 0 && lag < 10*time.Millisecond {
				e.Message = []byte("a plain line between")
			}
		}
		New(Options{}).Process(&b)
		for i := 1; i < len(b.Events); i++ {
			if b.Events[i].Time < b.Events[i-1].Time {
				t.Fatalf("lag %v: event %d is %v before the one before it", lag, i, time.Duration(b.Events[i-1].Time-b.Events[i].Time))
			}
		}
	}
}

func TestStats(t *testing.T) {
	var b event.Batch
	for _, m := range []string{`{"level":"error","msg":"x"}`, `level=warn msg=x`, `ERROR x`, `text`, `{no}`, `{}`} {
		b.Add().Message = []byte(m)
	}
	s := New(Options{})
	s.Process(&b)
	s.Process(&b) // what is text now stays text
	if got, want := s.Stats(), (Stats{Events: 12, JSON: 1, Logfmt: 1, Broken: 2, Levels: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// An object with very many members, or one that would outgrow an event, stays text: still complete, still searchable.
func TestLargeObjectsStayText(t *testing.T) {
	many := `{"level":"error"` + strings.Repeat(`,"a":1`, maxFields) + `}`
	just := `{"level":"error"` + strings.Repeat(`,"a":1`, maxFields-1) + `}`
	huge := event.Event{Message: []byte(`{"x":"` + strings.Repeat("x", event.MaxMessage) + `"}`),
		Fields: []event.Field{{Name: []byte("f"), Value: make([]byte, 3<<20)}}}
	var b event.Batch
	b.Add().Message = []byte(many)
	b.Add().Message = []byte(just)
	*b.Add() = huge
	b.Add().Message = []byte(strings.Repeat("a=1 ", maxFields) + "msg=x")
	s := New(Options{})
	s.Process(&b)
	for i, fields := range []int{0, maxFields - 1, 1, 0} {
		if len(b.Events[i].Fields) != fields {
			t.Errorf("event %d: %d fields, want %d", i, len(b.Events[i].Fields), fields)
		}
	}
	if got := s.Stats(); got.Broken != 2 || got.JSON != 1 || got.Logfmt != 0 {
		t.Errorf("%+v", got)
	}
	if b.Events[0].Level != event.Error {
		t.Error("the level of an object that stays text was not found")
	}
}

// Batches may be processed at the same time, and what Process makes must live as long as the batch.
func TestConcurrentBatches(t *testing.T) {
	s := New(Options{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var b event.Batch
			var want []string
			for i := range 300 {
				b.Add().Message = fmt.Appendf(nil, `{"msg":"g\u0020%d","a":{"b":"\t%d"},"id":%d}`, g, i, i)
				want = append(want, fmt.Sprintf(`"g %d" a.b:"\t%d" id_:%d`, g, i, i))
			}
			s.Process(&b)
			for range 3 { // others use the scratch meanwhile
				var other event.Batch
				other.Add().Message = []byte(`{"msg":"\u0041\u0041\u0041\u0041","x":{"y":"\u0042\u0042\u0042"},"id":9999999}`)
				s.Process(&other)
			}
			for i := range b.Events {
				b.Events[i].Time = noon.UnixNano()
				if got := show(&b.Events[i]); got != want[i] {
					t.Errorf("got %s, want %s", got, want[i])
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestProcessDoesNotAllocate(t *testing.T) {
	s := New(Options{})
	messages := benchMessages()
	var b event.Batch
	fill := func() {
		b.Reset()
		for range 400 {
			for _, m := range messages {
				e := b.Add()
				e.Time, e.Message, e.Stream = noon.UnixNano(), m, stdout
			}
		}
		s.Process(&b)
	}
	fill()
	if n := testing.AllocsPerRun(20, fill) / float64(len(b.Events)); n > 0.02 {
		t.Errorf("%v allocations an event", n)
	}
}

var stdout = []byte("stdout")

func benchMessages() [][]byte {
	var all [][]byte
	for _, m := range []string{
		"2026-11-21 11:22:33,123 ERROR [main] com.example.Main - could not connect",
		`10.0.0.1 - - [21/Nov/2026:11:22:33 +0000] "GET /error HTTP/1.1" 500 12 "-" "curl/8"`,
		`time="2026-11-21T11:59:59Z" level=warning msg="cannot pay" order=17 user=u1 retry=true took=1.5s`,
		json300,
		"plain text without anything",
	} {
		all = append(all, []byte(m))
	}
	return all
}

const json300 = `{"level":"info","time":"2026-11-21T11:59:59.123456Z","msg":"request done","request_id":"7f1b2c3d-4e5f-6789-abcd-ef0123456789","method":"GET","path":"/api/v1/orders/17","status":200,"duration_ms":12.75,"user":{"id":"u1234","name":"Jane \"J\" Doe"},"bytes":5120,"remote":"10.1.2.3:54321","trace_id":"0af7651916cd43dd"}`

// Every leaf of an object is in the event: as a field of its own or a trailing-_ name, or as one of the event's parts.
func FuzzProcess(f *testing.F) {
	for _, m := range benchMessages() {
		f.Add(m)
	}
	for _, m := range []string{`{"service":"a","service":"b","id":[1,2,{"x":null}],"msg":""}`, `{"message":"x","level":60,"pid":1,"t":{"$date":1}}`,
		`level=info msg="a\nb\x00" time=1795262399`, "\x1b[31mERROR", "a\nTraceback (most recent call last):", `{"":{"":[]}}`} {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		original := bytes.Clone(message)
		var b event.Batch
		for range 3 {
			e := b.Add()
			e.Message, e.Time = message, noon.UnixNano()
		}
		b.Events[1].Stream = stdout
		b.Events[1].Level = event.Info
		b.Events[2].Service = []byte("sender's")
		b.Events[2].Fields = []event.Field{{Name: []byte("f"), Value: []byte("v")}}
		s := New(Options{})
		s.Process(&b)
		if len(b.Events) != 3 || !bytes.Equal(message, original) {
			t.Fatal("the number of events or the message's bytes changed")
		}
		var d flatjson.Decoder
		leaves, rest, err := d.Object(message)
		if s.Stats().JSON == 0 && s.Stats().Logfmt == 0 {
			for i := range b.Events {
				if !bytes.Equal(b.Events[i].Message, original) || len(b.Events[i].Fields) > 1 {
					t.Fatalf("a text was changed: %s", show(&b.Events[i]))
				}
			}
			return
		}
		if s.Stats().Logfmt > 0 {
			return
		}
		if err != nil || len(bytes.TrimSpace(rest)) > 0 {
			t.Fatalf("taken for an object: %q", message)
		}
		for i := range b.Events {
			e := &b.Events[i]
			lost := 0
			for _, leaf := range leaves {
				if !has(e, leaf) {
					lost++
					m := meaningOf(leaf.Name)
					if m.role != timeRole && (m.role < levelRole || m.role > mongoRole) {
						t.Fatalf("lost %s: %q in %s", leaf.Name, leaf.Value, show(e))
					}
				}
			}
			if lost > 2 { // a time and a level that are the event's own now
				t.Fatalf("%d leaves lost in %s", lost, show(e))
			}
		}
	})
}

// has tells whether a leaf is in the event as it was, as a field or a part.
func has(e *event.Event, leaf event.Field) bool {
	for _, f := range e.Fields {
		if bytes.Equal(f.Value, leaf.Value) && f.Kind == leaf.Kind && string(bytes.TrimSuffix(f.Name, []byte("_"))) == string(bytes.TrimSuffix(leaf.Name, []byte("_"))) {
			return true
		}
	}
	for _, p := range [][]byte{e.Service, e.Env, e.Host, e.Container, e.Stream, e.Message} {
		if bytes.Equal(p, leaf.Value) {
			return true
		}
	}
	return false
}

// Whatever a JSON encoder writes comes back as fields.
func TestAgainstEncodingJSON(t *testing.T) {
	in := map[string]any{"msg": "x", "s": "a\"b\\c\n\u2028ä", "n": 1.5, "b": false, "z": nil, "o": map[string]any{"p": []any{1.0, "q"}}}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var b event.Batch
	b.Add().Message = text
	New(Options{}).Process(&b)
	got := map[string]string{}
	for _, f := range b.Events[0].Fields {
		got[string(f.Name)] += string(f.Value) + ";"
	}
	want := map[string]string{"s": "a\"b\\c\n\u2028ä;", "n": "1.5;", "b": "false;", "z": "null;", "o.p": "1;q;"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What all inputs take is tested in internal/timestamp; here is where they differ.
func TestParseTime(t *testing.T) {
	for _, c := range []struct {
		in      string
		want    string // empty: no time
		seconds bool
	}{
		{"2026-11-21T11:22:33Z", "2026-11-21T11:22:33Z", true},
		{"2026-11-21T11:22:33.000Z", "2026-11-21T11:22:33Z", false},
		{"2026-11-21 11:22:33,123 +0200", "2026-11-21T09:22:33.123Z", false},
		{"2026-11-21 11:22:33 GMT", "2026-11-21T11:22:33Z", true},
		{"2026-11-21T11:22Z", "2026-11-21T11:22:00Z", true},
		{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", true},
		{"2026-11-21T11:22:33." + strings.Repeat("1", 43) + "Z", "2026-11-21T11:22:33.111111111Z", false},
		{"2026-11-21T11:22:33." + strings.Repeat("1", 44) + "Z", "", false},
		{"2026-11-21T11:22:33", "", false}, // no zone
		{"2026-11-21 11:22:33,123", "", false},
		{"1979-12-31T23:59:59Z", "", false},
		{"1795260153", "2026-11-21T11:22:33Z", true},
		{"315532800", "1980-01-01T00:00:00Z", true},
		{"1795260153411", "2026-11-21T11:22:33.411Z", false},
		{"1795260153.411", "2026-11-21T11:22:33.411Z", false},
		{"1.7952601e9", "2026-11-21T11:21:40Z", false},
		{"1.79526e9", "2026-11-21T11:20:00Z", false},
		{"1.7952e9", "", false},
		{"1e9", "", false},
		{"315532799", "", false},
	} {
		ns, seconds, ok := parseTime([]byte(c.in))
		got := ""
		if ok {
			got = time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
		}
		if got != c.want || seconds != c.seconds {
			t.Errorf("parseTime(%q) = %q, whole seconds %v; want %q, %v", c.in, got, seconds, c.want, c.seconds)
		}
	}
}
