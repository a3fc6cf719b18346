package alerting

import (
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

// SetHook lets a test stop the engine at its named points.
func (e *Engine) SetHook(hook func(point string) error) { e.hook = hook }

// Like is the query that the button "this is expected" makes of an event.
func Like(e *event.Event) (*query.Query, error) { return like(&incident{Sample: sampleOf(e)}) }

// Mask and Fingerprint are what groups events.
func Mask(line string) string { return string(mask.Append(nil, []byte(line))) }

func Headline(msg string) string { return string(mask.Headline([]byte(msg))) }

func Fingerprint(e *event.Event) string { return fingerprint(e, new([]byte)) }

func OldFingerprint(e *event.Event) string { return oldFingerprint(e, new([]byte)) }

func FieldsOf(e *event.Event) string {
	text, _ := fieldsOf(e)
	return text
}

func Clean(s string) string { return clean([]byte(s)) }

const (
	NoteAgain   = noteAgain
	MaxGathered = maxGathered
	MaxLine     = maxLine
)

// During tells whether a time lies in a schedule.
func (s *Schedule) During(t time.Time) (until time.Time, ok bool) { return s.during(t) }

// Explain is that of the replay's engine.
func (r *Replay) Explain(e *event.Event) (Explanation, error) { return r.e.Explain(e) }
