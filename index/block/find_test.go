package block

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// TestFindWhole: a value that has to equal a text is found in the columns of holes as it is in the rows.
func TestFindWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 9))
	b, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	asked, found, unread := 0, 0, 0
	for range 400 {
		before, behind := "", ""
		if rng.IntN(2) == 0 {
			before = []string{"id-", "é ", "K:"}[rng.IntN(3)]
		}
		if rng.IntN(3) == 0 {
			behind = []string{" ms", "/kb", " ſ"}[rng.IntN(3)]
		}
		var events []event.Event
		var rows []Row
		for i, v := range drawValues(rng) {
			e := event.Event{Seq: uint64(i + 1), Time: int64(i), Service: []byte("s"), Message: []byte("m")}
			for range rng.IntN(3) { // none, one, two values
				e.Fields = append(e.Fields, event.Field{Name: []byte("f"), Value: []byte(before + string(v) + behind)})
			}
			events = append(events, e)
			rows = append(rows, Row{Seq: e.Seq, Data: encode(e)})
		}
		data, _ := build(t, b, rows, nil)
		for range 6 {
			tbl := table(t, data)
			e := &events[rng.IntN(len(events))]
			text := before + fmt.Sprint(rng.IntN(5000)) + behind
			if len(e.Fields) > 0 && rng.IntN(4) > 0 {
				text = string(e.Fields[0].Value)
			}
			switch rng.IntN(6) {
			case 0:
				text = strings.ToUpper(text)
			case 1:
				text = strings.ToLower(text)
			case 2:
				text = strings.ReplaceAll(text, "k", "\u212a")
			case 3:
				text = text[:len(text)-1]
			}
			q, err := query.Parse("f" + []string{":", "=", "!="}[rng.IntN(3)] + query.Quote(text))
			if err != nil {
				continue
			}
			want, got := bitset.New(len(rows)), bitset.Full(len(rows))
			for i := range events {
				if q.Match(&events[i]) {
					want.Add(i)
				}
			}
			if rng.IntN(3) == 0 { // only some rows are asked for
				for i := range rows {
					if rng.IntN(2) == 0 {
						got.Remove(i)
						want.Remove(i)
					}
				}
			}
			if err := tbl.Select(q, nil, got); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%s finds rows %v of %+v, want %v", q, got, events, want)
			}
			asked++
			if !want.Empty() {
				found++
			}
			if len(tbl.fields) == 1 && tbl.fields[0].text.values.ready() == nil {
				unread++
			}
		}
	}
	if found < asked/10 || unread < asked/4 {
		t.Errorf("of %d searches %d found something, %d needed no values", asked, found, unread)
	}
}
