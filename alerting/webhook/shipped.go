package webhook

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

// action is one request of a template. Path and query come behind the way's url.
type action struct {
	method, path, query, body string
}

// shipped is a template that comes with lookout.
type shipped struct {
	url     string // what the setting url is when it is not set; empty: it must be
	headers map[string]string
	// needs are params that must be set; token that there must be one.
	needs []string
	token bool
	send  *action
	// edit is what changes of an incident do, by its state. A state that is not there does nothing.
	edit map[alerting.State]*action
	// late is what a new message of an incident that does not fire any more does, instead of send.
	late map[alerting.State]*action
	// id is the name of the answer's field that names the message, for edits.
	id string
	// once is true for what acts instead of telling: it runs at most once an incident, and only while that fires.
	once bool
	// keep is how often what is open is told again, 0 for not.
	keep time.Duration
}

// Names are those of the shipped templates, sorted.
func Names() []string { return slices.Sorted(maps.Keys(templates)) }

const bearer = "{{if .Token}}Bearer {{.Token}}{{end}}"

// generic writes all there is.
const genericBody = `{
	"version": 1, "state": "{{.State}}", "severity": "{{.Severity}}", "incident": "{{.Incident}}", "title": "{{.Title}}", "text": "{{.Text}}",
	"lines": {{json .Lines}}, "facts": {{json .Facts}}, "notes": {{json .Notes}}, "labels": {{json .Labels}},
	"since": {{if .Since}}"{{.Since}}"{{else}}null{{end}}, "ended": {{if .Ended}}"{{.Ended}}"{{else}}null{{end}}, "link": "{{.Link}}"
}`

var generic = &action{method: http.MethodPost, body: genericBody}

// Microsoft Teams, a workflow "Post to a channel when a webhook request is received": a message with one Adaptive Card, of 28 KB
// at most (learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using). A TextRun, unlike a
// TextBlock, knows no markup (adaptivecards.io/explorer/TextRun.html). Messages cannot be edited: what is resolved is a new one.
const teamsBody = `{"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": {
	"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "msteams": {"width": "Full"},
	"body": [
		{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "weight": "Bolder", "size": "Medium", "text": "{{.Heading}}",
			"color": "{{if eq .State "resolved"}}Good{{else if eq .State "acknowledged"}}Default{{else if ge .Rank 4}}Attention{{else if eq .Rank 3}}Warning{{else}}Accent{{end}}"}]}
		{{- if .Plain}}, {"type": "RichTextBlock", "inlines": ["{{cut 2000 .Text}}"]}
		{{- else}}
		{{- range rows 60 .Lines}}, {"type": "RichTextBlock", "spacing": "None", "inlines": [{"type": "TextRun", "fontType": "Monospace", "text": "{{.}} "}]}{{end}}
		{{- if .Facts}}, {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "isSubtle": true, "size": "Small", "text": "{{cut 900 (join " · " .Facts)}}"}]}{{end}}
		{{- if .Notes}}, {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "color": "Warning", "size": "Small", "text": "{{cut 500 (join " · " .Notes)}}"}]}{{end}}
		{{- end}}
	]
	{{- if .Link}}, "actions": [{"type": "Action.OpenUrl", "title": "Open in lookout", "url": "{{.Link}}"}]{{end}}
}}]}`

var teams = &action{method: http.MethodPost, body: teamsBody}

// Discord, a channel's webhook (docs.discord.com/developers/resources/webhook, and …/resources/message for the limits: 2,000
// characters of content, of an embed 256 of title, 4,096 of description, 2,048 of footer, 6,000 in all). wait=true answers with
// the message, which is edited by its id. An empty allowed_mentions.parse lets no text of a log mention anybody.
const discordBody = `{"username": "lookout", "allowed_mentions": {"parse": []},
	{{- if .Plain}}"content": "{{cut 1500 .Text}}", "embeds": []
	{{- else}}"content": "", "embeds": [{"title": "{{cut 200 .Heading}}", "color": {{.Colour}}
		{{- if .Link}}{{if lt (len .Link) 2000}}, "url": "{{.Link}}"{{end}}{{end}}
		{{- if .Lines}}, "description": "` + "```\\n{{cut 3000 (fence (join \"\\n\" .Lines))}}\\n```" + `"{{end}}
		{{- if or .Facts .Notes}}, "footer": {"text": "{{cut 1500 (join " · " .Facts)}}{{if .Notes}}\n{{cut 400 (join " · " .Notes)}}{{end}}"}{{end}}
	}]{{end}}}`

var (
	discord     = &action{method: http.MethodPost, query: "wait=true", body: discordBody}
	discordEdit = &action{method: http.MethodPatch, path: "messages/{{.Receipt}}", body: discordBody}
)

// ntfy, published as JSON to the server's root (docs.ntfy.sh/publish/#publish-as-json): priority 1 to 5, 3 is its default; a
// message of more than 4,096 bytes becomes an attachment. Tags that name an emoji are shown as such.
const ntfyBody = `{"topic": "{{.Params.topic}}", "title": "{{cut 240 .Heading}}", "priority": {{.Rank}},
	"tags": ["{{if eq .State "resolved"}}white_check_mark{{else if eq .State "acknowledged"}}eyes{{else if ge .Rank 4}}rotating_light{{else if eq .Rank 3}}warning{{else}}information_source{{end}}"],
	"message": "{{if .Lines}}{{cut 900 (join "\n" .Lines)}}\n{{end}}{{cut 400 (join " · " .Facts)}}{{if .Notes}}\n{{cut 200 (join " · " .Notes)}}{{end}} "
	{{- if .Link}}, "click": "{{.Link}}"{{end}}}`

var ntfy = &action{method: http.MethodPost, body: ntfyBody}

// Gotify (gotify.net/docs/pushmsg and /docs/msgextras): POST /message with an application's token; priority 0 to 10, 8 and more
// rings, 4 and more makes a sound.
const gotifyBody = `{"title": "{{.Heading}}", "priority": {{if eq .Rank 5}}10{{else if eq .Rank 4}}8{{else if eq .Rank 3}}5{{else}}2{{end}},
	"message": "{{if .Lines}}{{cut 3000 (join "\n" .Lines)}}\n{{end}}{{join " · " .Facts}}{{if .Notes}}\n{{join " · " .Notes}}{{end}} ",
	"extras": {"client::display": {"contentType": "text/plain"}
	{{- if .Link}}, "client::notification": {"click": {"url": "{{.Link}}"}}{{end}}}}`

var gotify = &action{method: http.MethodPost, path: "message", body: gotifyBody}

// PagerDuty, Events API v2 (developer.pagerduty.com/docs/events-api-v2-overview, …/send-alert-event): trigger, acknowledge and
// resolve by dedup_key (255 characters), here the incident's; summary 1,024 characters; answers 202, and 429 when there are too
// many. Events that are no incident have no key: each opens an alert of its own.
const pagerdutyTrigger = `{"routing_key": "{{.Token}}", "event_action": "trigger"{{if .Incident}}, "dedup_key": "lookout-{{.Incident}}"{{end}}, "client": "lookout"
	{{- if .Link}}, "client_url": "{{.Link}}", "links": [{"href": "{{.Link}}", "text": "Open in lookout"}]{{end}},
	"payload": {"summary": "{{.Heading}}", "severity": "{{.Severity}}", "source": "{{with .Labels.host}}{{cut 200 .}}{{else}}lookout{{end}}"
	{{- with .Labels.service}}, "component": "{{cut 200 .}}"{{end}}{{with .Labels.rule}}, "class": "{{cut 200 .}}"{{end}}{{if .Since}}, "timestamp": "{{.Since}}"{{end}},
	"custom_details": {"lines": {{if .Plain}}[]{{else}}{{json .Lines}}{{end}}, "facts": {{json .Facts}}, "notes": {{json .Notes}}}}}`

const pagerdutyChange = `{"routing_key": "{{.Token}}", "event_action": "{{if eq .State "resolved"}}resolve{{else}}acknowledge{{end}}", "dedup_key": "lookout-{{.Incident}}"}`

var (
	pagerduty       = &action{method: http.MethodPost, body: pagerdutyTrigger}
	pagerdutyEdit   = &action{method: http.MethodPost, body: pagerdutyChange}
	pagerdutyStates = map[alerting.State]*action{alerting.Acknowledged: pagerdutyEdit, alerting.Resolved: pagerdutyEdit}
)

// Opsgenie, Alert API (docs.opsgenie.com/docs/alert-api): message 130 characters, alias 512, description 15,000, source 100; the
// alias makes the same alert of what has it, and closes it. Answers 202. The EU's instance is https://api.eu.opsgenie.com; Jira
// Service Management takes the same requests at https://api.atlassian.com/jsm/ops/integration.
const opsgenieCreate = `{"message": "{{cut 130 .Heading}}"{{if .Incident}}, "alias": "lookout-{{.Incident}}"{{end}}, "source": "lookout",
	"priority": "{{if eq .Severity "critical"}}P1{{else if eq .Severity "error"}}P2{{else if eq .Severity "warning"}}P3{{else}}P5{{end}}",
	"description": "{{if .Plain}}{{cut 1000 .Text}}{{else}}{{cut 7000 .Text}}{{end}}"{{with .Labels.service}}, "entity": "{{cut 200 .}}"{{end}}}`

var (
	opsgenie      = &action{method: http.MethodPost, path: "v2/alerts", body: opsgenieCreate}
	opsgenieAck   = &action{method: http.MethodPost, path: "v2/alerts/lookout-{{.Incident}}/acknowledge", query: "identifierType=alias", body: `{"source": "lookout"}`}
	opsgenieClose = &action{method: http.MethodPost, path: "v2/alerts/lookout-{{.Incident}}/close", query: "identifierType=alias",
		body: `{"source": "lookout", "note": "{{cut 1000 (join " · " .Facts)}}"}`}
	opsgenieStates = map[alerting.State]*action{alerting.Acknowledged: opsgenieAck, alerting.Resolved: opsgenieClose}
)

// An outside Alertmanager, API v2 (github.com/prometheus/alertmanager, api/v2/openapi.yaml): an alert is its labels; it is open until
// endsAt, and has to be sent again before. Host, container and level are those of the latest event, so they are no labels here. Names of labels are those of Prometheus. Its answer is 200 and empty.
const alertmanagerBody = `[{{with $d := .}}{"labels": {{$l := names .Labels}}{"alertname": "{{or .Labels.alertname .Labels.rule "lookout"}}"
	{{- if .Incident}}, "incident": "{{.Incident}}"{{else}}, "summary": "{{.Title}}"{{end}}{{if not (index $l "severity")}}, "severity": "{{.Severity}}"{{end}}
	{{- range $name, $value := $l}}{{if not (or (eq $name "alertname") (eq $name "incident") (eq $name "summary") (eq $name "host") (eq $name "container") (eq $name "level"))}}, "{{$name}}": "{{$value}}"{{end}}{{end}}},
	"annotations": {"summary": "{{.Title}}", "description": "{{cut 4000 (join "\n" .Lines)}}", "facts": "{{join " · " .Facts}}"},
	{{- if .Since}}"startsAt": "{{.Since}}", {{end}}"endsAt": "{{.Until}}"{{if .Link}}, "generatorURL": "{{.Link}}"{{end}}}{{end}}]`

var alertmanager = &action{method: http.MethodPost, path: "api/v2/alerts", body: alertmanagerBody}

// custom is a template of the user's own: url, method, headers and body are settings.
const custom = "custom"

var templates = map[string]*shipped{
	"generic": {send: generic, headers: map[string]string{"Authorization": bearer},
		edit: map[alerting.State]*action{alerting.Firing: generic, alerting.Acknowledged: generic, alerting.Resolved: generic}},
	"teams":   {send: teams, edit: map[alerting.State]*action{alerting.Resolved: teams}},
	"discord": {send: discord, id: "id", edit: map[alerting.State]*action{alerting.Firing: discordEdit, alerting.Acknowledged: discordEdit, alerting.Resolved: discordEdit}},
	"ntfy": {url: "https://ntfy.sh", needs: []string{"topic"}, headers: map[string]string{"Authorization": bearer}, send: ntfy,
		edit: map[alerting.State]*action{alerting.Resolved: ntfy}},
	"gotify":    {token: true, headers: map[string]string{"X-Gotify-Key": "{{.Token}}"}, send: gotify, edit: map[alerting.State]*action{alerting.Resolved: gotify}},
	"pagerduty": {url: "https://events.pagerduty.com/v2/enqueue", token: true, send: pagerduty, edit: pagerdutyStates, late: pagerdutyStates},
	"opsgenie": {url: "https://api.opsgenie.com", token: true, headers: map[string]string{"Authorization": "GenieKey {{.Token}}"}, send: opsgenie, edit: opsgenieStates,
		late: opsgenieStates},
	"alertmanager": {headers: map[string]string{"Authorization": bearer}, send: alertmanager, keep: keepEvery,
		edit: map[alerting.State]*action{alerting.Firing: alertmanager, alerting.Acknowledged: alertmanager, alerting.Resolved: alertmanager}},
	// Hooks. A restart is a POST without a body, as Docker (docs.docker.com/reference/api/engine, ContainerRestart) and Nomad take it.
	"restart": {once: true, headers: map[string]string{"Authorization": bearer}, send: &action{method: http.MethodPost}},
	// Kubernetes' scale subresource takes a merge patch (kubernetes.io/docs/reference/using-api/api-concepts, PATCH).
	"scale": {once: true, needs: []string{"replicas"}, headers: map[string]string{"Authorization": bearer, "Content-Type": "application/merge-patch+json"},
		send: &action{method: http.MethodPatch, body: `{"spec": {"replicas": {{.Params.replicas}}}}`}},
	custom: {headers: map[string]string{"Authorization": bearer}, send: &action{method: http.MethodPost, body: genericBody}},
}

func init() {
	templates[custom].edit = map[alerting.State]*action{alerting.Resolved: templates[custom].send}
}
