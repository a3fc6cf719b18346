package alerting

import (
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// headTokens is how many words of a line may be its time and level.
const headTokens = 8

// said returns what a line says behind its own time and level, with which many begin: the message has the event's anyway, and what is
// read on a phone's screen is the beginning. A line that says nothing else stays.
//
//	2015-07-29 19:14:07,653 - WARN  [SendWorker] - leaving   → [SendWorker] - leaving
//	[Sun Dec 04 04:51:55 2005] [error] child in error state  → child in error state
//	081109 214529 2747 WARN dfs.DataNode: exception          → dfs.DataNode: exception
func said(line string) string {
	cut, at, before := 0, 0, 0
	for range headTokens {
		token := line[at:]
		token = token[:len(token)-len(strings.TrimLeft(token, " \t"))]
		at += len(token)
		end := strings.IndexAny(line[at:], " \t")
		if end < 0 {
			break // the last word says something
		}
		end += at
		token = line[at:end]
		word := strings.Trim(token, "[](){}<>,:;-|=")
		at = end
		switch {
		case isLevel(word):
			// "Error reading x" says what happened, and so does "panic: x"; "ERROR no stock" does not.
			if before > 1 || word == strings.ToUpper(word) && !strings.EqualFold(word, "panic") || token[0] == '[' || token[0] == '<' || strings.HasSuffix(token, ":") && !strings.EqualFold(word, "panic") {
				cut = end
			}
			return rest(line, cut)
		case isClock(word):
			cut = end
			before += 2
		case word == "" || strings.Trim(word, "0123456789.") == "" || isCalendar(word): // perhaps a part of the time
			if word != "" {
				before++
			}
		default:
			return rest(line, cut)
		}
	}
	return rest(line, cut)
}

// rest is what stands in a line from a place on, without what parts it from the time and level before.
func rest(line string, from int) string {
	if text := strings.TrimLeft(line[from:], " \t-|:;,]"); from > 0 && text != "" {
		return text
	}
	return line
}

func isLevel(word string) bool {
	l, ok := event.ParseLevel([]byte(word))
	return ok && l != event.None && strings.Trim(word, "0123456789") != ""
}

// isClock tells a time of day, or a date in one word: 04:51:55, 2015-07-29T19:14:07.653Z, 17/06/09, 22-Nov-2026.
func isClock(word string) bool {
	digits, parts := 0, 0
	if len(word) > 6 && (word[2] == '-' || word[2] == '/') && word[6] == word[2] && isCalendar(word[3:6]) {
		word = word[:3] + word[6:]
	}
	for i := range len(word) {
		switch c := word[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == ':' || c == '-' || c == '/':
			parts++
		case c == '.' || c == ',' || c == '+' || c == 'T' || c == 'Z' || c == '_':
		default:
			return false
		}
	}
	return digits >= 4 && parts >= 2
}

// isCalendar tells the name of a month or a day of the week as times have it.
func isCalendar(word string) bool {
	return len(word) == 3 && strings.Contains("jan feb mar apr may jun jul aug sep oct nov dec mon tue wed thu fri sat sun utc", strings.ToLower(word))
}
