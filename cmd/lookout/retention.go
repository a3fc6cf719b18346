package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// keptJSON is the API's answer about retention, as far as the command shows it.
type keptJSON struct {
	Classes []struct {
		Name        string     `json:"name"`
		KeptFor     int64      `json:"kept_for_seconds"`
		MaxBytes    int64      `json:"max_bytes"`
		Events      int64      `json:"events"`
		Bytes       int64      `json:"bytes"`
		Oldest      *time.Time `json:"oldest"`
		BytesPerDay int64      `json:"bytes_per_day"`
	} `json:"classes"`
	Bytes       int64 `json:"bytes"`
	MaxBytes    int64 `json:"max_bytes"`
	BytesPerDay int64 `json:"bytes_per_day"`
	FullIn      int64 `json:"full_in_seconds"`
	Disk        *struct {
		Free    int64 `json:"free"`
		Size    int64 `json:"size"`
		Reserve int64 `json:"reserve"`
		Full    bool  `json:"full"`
		FullIn  int64 `json:"full_in_seconds"`
	} `json:"disk"`
	Paused *struct {
		Reason  string `json:"reason"`
		Seconds int64  `json:"seconds"`
	} `json:"paused"`
	Waiting int64 `json:"waiting_segments"`
}

func (p *program) retentionCommand() *cobra.Command {
	var f listFlags
	var tz string
	var utc bool
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Show how long events are kept, what they take, and when the disk is full",
		Long: `retention shows each class of events: how long it is kept, the most bytes it may take, what it has on disk and since
when. Below it says where that leads at the rate of the last days. What is kept is set in the server's configuration,
under retention.`,
		Example: `  lookout retention
  lookout retention -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			zone, err := parseZone(tz, utc)
			if err != nil {
				return err
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			var whole json.RawMessage
			if err := c.Call(cmd.Context(), http.MethodGet, "/api/v1/retention", nil, &whole); err != nil {
				return p.explain(err)
			}
			if f.form == formJSON {
				_, err := p.inert().Write(append(whole, '\n'))
				return err
			}
			var k keptJSON
			if err := json.Unmarshal(whole, &k); err != nil {
				return fmt.Errorf("reading the server's answer: %w", err)
			}
			_, err = p.stdout.Write(p.retentionText(&k, color, zone))
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&tz, "tz", "", "time `zone` for printing times, such as Europe/Berlin")
	cmd.Flags().BoolVar(&utc, "utc", false, "the same as --tz UTC")
	return cmd
}

func (p *program) retentionText(k *keptJSON, color bool, zone *time.Location) []byte {
	limit := func(bytes int64) string {
		if bytes == 0 {
			return ""
		}
		return bytesText(bytes)
	}
	t := p.newTable(color, "CLASS", "KEPT FOR", "LIMIT", "EVENTS", "BYTES", "A DAY", "OLDEST")
	var events int64
	for _, c := range k.Classes {
		kept, oldest := "ever", ""
		if c.KeptFor > 0 {
			kept = ageText(seconds(c.KeptFor))
		}
		if c.Oldest != nil {
			oldest = c.Oldest.In(zone).Format("2006-01-02 15:04:05")
		}
		events += c.Events
		t.add(cell{text: c.Name}, cell{text: kept}, cell{text: limit(c.MaxBytes)}, cell{text: grouped(c.Events)}, cell{text: bytesText(c.Bytes)}, cell{text: limit(c.BytesPerDay)}, cell{text: oldest})
	}
	t.add(cell{text: "all"}, cell{}, cell{text: limit(k.MaxBytes)}, cell{text: grouped(events)}, cell{text: bytesText(k.Bytes)}, cell{text: limit(k.BytesPerDay)}, cell{})
	out := t.bytes()
	say := func(code, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if color && code != "" {
			text = code + text + colorOff
		}
		out = append(append(out, text...), '\n')
	}
	switch {
	case k.BytesPerDay == 0:
		say("", "Forecast: not known yet; it needs an hour of events on disk")
	case k.FullIn > 0:
		say("", "Forecast: the limit is reached in %s at this rate; then the oldest events go", ageText(seconds(k.FullIn)))
	case k.MaxBytes > 0 && k.Bytes >= k.MaxBytes-k.MaxBytes/10:
		say("", "Forecast: the limit is reached; the oldest events go")
	default:
		say("", "Forecast: what is removed by age makes room for what comes")
	}
	if d := k.Disk; d != nil {
		switch {
		case d.Full:
			say(colorBad, "Disk: full: %s of %s free, %s are kept in reserve: events are refused until there is space", bytesText(d.Free), bytesText(d.Size), bytesText(d.Reserve))
		case d.FullIn > 0:
			say(colorDoubt, "Disk: full in %s at this rate: %s of %s free, %s are kept in reserve", ageText(seconds(d.FullIn)), bytesText(d.Free), bytesText(d.Size), bytesText(d.Reserve))
		default:
			say("", "Disk: %s of %s free, %s are kept in reserve", bytesText(d.Free), bytesText(d.Size), bytesText(d.Reserve))
		}
	}
	if k.Paused != nil {
		say(colorDoubt, "Paused: nothing is removed by age for %s: %s", ageText(seconds(k.Paused.Seconds)), appendEscaped(nil, k.Paused.Reason))
	}
	if k.Waiting > 0 {
		say(colorDoubt, "Waiting: %s due, but alerting has not read all of their events yet", counted(k.Waiting, "segment"))
	}
	return out
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
