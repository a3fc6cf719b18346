package slack

import (
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"github.com/lookoutlog/lookout/alerting"
)

// Slack's limits are 3,000 characters a block and, found by trial, about 13,200 for all blocks of a message. The budgets
// leave room below them; all count as alerting.Weight, escaped.
const (
	maxTitle   = 300
	maxSection = 2900
	maxLines   = 8000 // all log text of a message
	maxFacts   = 900
	maxNotes   = 300
	maxLink    = 1500
	// A plain message shows gathered lines whole: Slack cuts a text at 40,000 characters.
	maxPlain     = 9000
	maxPlainLine = 1200
)

var colours = map[alerting.Severity]string{
	alerting.Critical: "#8b0000",
	alerting.Error:    "#d9372c",
	alerting.Warning:  "#e8a317",
	alerting.Info:     "#3b7dd8",
}

// The states that are not as bad as their severity have colours of their own.
var stateColours = map[alerting.State]string{
	alerting.Acknowledged: "#6b7a90",
	alerting.Silenced:     "#6b7a90",
	alerting.Resolved:     "#2eb67d",
}

func colour(m alerting.Message) string {
	if c, ok := stateColours[m.State]; ok {
		return c
	}
	return colours[m.Severity]
}

// escaper makes text mean nothing to Slack's markup, mentions and links included.
var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// code is text inside a code block, which three backticks would end: none stays beside another.
func code(s string) string {
	s = escaper.Replace(s)
	for strings.Contains(s, "``") {
		s = strings.ReplaceAll(s, "``", "`\u200b`")
	}
	return s
}

// codeWeight is what code(s) takes of a block.
func codeWeight(s string) int {
	n := alerting.Weight(s)
	for i := 1; i < len(s); i++ {
		if s[i] == '`' && s[i-1] == '`' {
			n++
		}
	}
	return n
}

// bare are the options of every message: log text is full of addresses, and none of them is to be fetched and shown.
func bare() []slack.MsgOption {
	return []slack.MsgOption{slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(), slack.MsgOptionDisableMarkdown()}
}

// history is the text of a reply that adds lines to a thread.
func history(m alerting.Message) []slack.MsgOption {
	lines := append(slices.Clone(m.Lines), m.Notes...)
	return append(bare(), slack.MsgOptionText(escaper.Replace(alerting.Cut(strings.Join(lines, "\n"), maxPlain)), false))
}

func (n *Notifier) options(m alerting.Message) []slack.MsgOption {
	opts := bare()
	if m.Plain {
		short := m
		short.Lines = make([]string, len(m.Lines))
		for i, l := range m.Lines {
			short.Lines[i] = alerting.Cut(l, maxPlainLine)
		}
		return append(opts, slack.MsgOptionText(escaper.Replace(alerting.Cut(short.Text(), maxPlain)), false))
	}
	// The title is outside the blocks: it is what notifications and old clients show.
	title := escaper.Replace(alerting.Cut(m.Heading(), maxTitle))
	if title == "" {
		title = "alert"
	}
	return append(opts,
		slack.MsgOptionText(title, false),
		slack.MsgOptionAttachments(slack.Attachment{Color: colour(m), Fallback: title, Blocks: slack.Blocks{BlockSet: blocks(m, n.Buttons())}}))
}

func blocks(m alerting.Message, press bool) []slack.Block {
	var set []slack.Block
	section := func(text string) {
		set = append(set, slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, text, false, true), nil, nil))
	}
	context := func(text string) {
		set = append(set, slack.NewContextBlock("", slack.NewTextBlockObject(slack.MarkdownType, text, false, true)))
	}
	for _, s := range sections(m.Lines) {
		section("```\n" + code(s) + "\n```")
	}
	if len(m.Facts) > 0 {
		context(escaper.Replace(alerting.Cut(strings.Join(m.Facts, " · "), maxFacts)))
	}
	if len(m.Notes) > 0 {
		context(":warning: " + escaper.Replace(alerting.Cut(strings.Join(m.Notes, " · "), maxNotes)))
	}
	switch {
	case press: // even the press of a link is told to the app
		if b := buttons(m); b != nil {
			set = append(set, b)
		}
	case linkable(m.Link):
		context("<" + escaper.Replace(m.Link) + "|Open in lookout>")
	}
	return set
}

func linkable(link string) bool {
	return link != "" && alerting.Weight(link) <= maxLink && !strings.ContainsAny(link, "|<> ")
}

// sections packs lines into as few texts as fit a block each, and all of them the message. A line too long for a block,
// and what is too much for the message, loses its middle.
func sections(lines []string) []string {
	var texts []string
	text, room := "", maxLines
	flush := func() {
		if text != "" {
			texts = append(texts, text)
		}
		text = ""
	}
	for _, l := range lines {
		max := min(maxSection, room)
		if max <= 0 {
			break
		}
		for cut := max; codeWeight(l) > max; cut -= 100 {
			l = alerting.Cut(l, cut)
		}
		if text != "" && codeWeight(text)+1+codeWeight(l) > maxSection {
			flush()
		}
		if text != "" {
			text += "\n"
		}
		text += l
		room -= codeWeight(l) + 1
	}
	flush()
	return texts
}
