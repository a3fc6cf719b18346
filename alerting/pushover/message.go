package pushover

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/alerting"
)

// Pushover's limits, in characters: pushover.net/api#limits. alerting.Cut counts no character as less than one.
const (
	maxMessage = 1024
	maxTitle   = 250
	maxURL     = 512
	// What follows the log text has room kept for it.
	maxFacts = 300
	maxNotes = 200
	maxPlain = 500
)

// An emergency rings so often and so long. Pushover rings at most 50 times (pushover.net/api#priority): it expires then,
// and one that nobody has acknowledged is sent again, instead of being silent for what is left of the 10,800 s it may last.
const (
	retry  = 60 * time.Second
	expire = 50 * retry
)

// The priorities in use: pushover.net/api#priority.
const (
	normal    = 0
	high      = 1 // sounds in quiet hours too
	emergency = 2 // rings until it is acknowledged
)

// priority is how loud a message is. What comes late, when it is over, or when somebody sees to it, does not ring.
func priority(m alerting.Message) int {
	switch m.State {
	case alerting.Firing:
		return emergency
	case alerting.Acknowledged, alerting.Resolved:
		return normal
	}
	if m.Severity == alerting.Critical || m.Severity == alerting.Error {
		return high
	}
	return normal
}

// parameters are those of messages.json, but for token and user.
func parameters(m alerting.Message) url.Values {
	v := url.Values{}
	heading := m.Heading()
	if strings.TrimSpace(heading) == "" {
		heading = "alert"
	}
	p := priority(m)
	v.Set("priority", strconv.Itoa(p))
	if p == emergency {
		v.Set("retry", strconv.Itoa(int(retry/time.Second)))
		v.Set("expire", strconv.Itoa(int(expire/time.Second)))
		if t := tag(m); t != "" {
			v.Set("tags", t)
		}
	}
	if m.Plain {
		v.Set("message", alerting.Cut(heading, maxPlain))
		return v
	}
	v.Set("title", alerting.Cut(heading, maxTitle))
	text := body(m)
	if strings.TrimSpace(text) == "" {
		text = alerting.Cut(heading, maxMessage) // a message must not be blank
	}
	v.Set("message", text)
	if link := shortLink(m.Link); link != "" {
		v.Set("url", link)
		v.Set("url_title", "Open in lookout")
	}
	return v
}

// body is the log text with facts and notes below, which stay when the text has to be cut.
func body(m alerting.Message) string {
	var below []string
	if len(m.Notes) > 0 {
		below = append(below, alerting.Cut(strings.Join(m.Notes, " · "), maxNotes))
	}
	if len(m.Facts) > 0 {
		below = append(below, alerting.Cut(strings.Join(m.Facts, " · "), maxFacts))
	}
	tail := strings.Join(below, "\n")
	room := maxMessage - alerting.Weight(tail) - 1
	return strings.Trim(alerting.Cut(strings.Join(m.Lines, "\n"), room)+"\n"+tail, "\n")
}

// shortLink is a link that Pushover takes. One that is too long leads to lookout's front page at least.
func shortLink(link string) string {
	if utf8.RuneCountInString(link) <= maxURL {
		return link
	}
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	if front := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(); utf8.RuneCountInString(front) <= maxURL {
		return front
	}
	return ""
}

// tag marks all emergencies of an incident: those whose receipt was lost with the answer are cancelled by it.
func tag(m alerting.Message) string {
	if m.Incident == "" {
		return ""
	}
	return "lookout-" + m.Incident
}
