package alerting

import (
	"maps"
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// labels are what matchers and other services see of the incident; what it does not have is left out. What is known of
// every incident wins over a label of its rule of the same name.
func (inc *incident) labels() Labels {
	s := &inc.Sample
	l := Labels{}
	maps.Copy(l, inc.Labels)
	for name, value := range map[string]string{
		"rule": inc.Rule, "severity": string(inc.Severity), "fingerprint": inc.Fingerprint,
		"service": s.Service, "env": s.Env, "host": s.Host, "container": s.Container, "level": s.Level,
	} {
		if value != "" {
			l[name] = value
		}
	}
	if l["alertname"] == "" { // as other tools call it
		l["alertname"] = inc.Rule
	}
	return l
}

// sentLabels are the incident's as another system sent them: its severity may be "page", which is none of lookout's. A silence that is
// made there, for those, is to match.
func (inc *incident) sentLabels() Labels {
	l := inc.labels()
	maps.Copy(l, inc.Labels)
	return l
}

// What was sent as to an Alertmanager keeps its labels, so that silences and routes made for those match it; package
// collector/alertmanager names the stream and the fields.
const (
	alertmanagerStream    = "alertmanager"
	alertmanagerLabel     = "labels."
	maxAlertmanagerLabels = 64
)

// labelsOf are the labels that an incident has from its rule: the rule's own, its mode, and the values it counts by.
func (r *rule) labelsOf(e *event.Event) Labels {
	l := Labels{}
	if string(e.Stream) == alertmanagerStream {
		for _, f := range e.Fields {
			if name, ok := strings.CutPrefix(string(f.Name), alertmanagerLabel); ok && len(l) < maxAlertmanagerLabels {
				l[name] = short(f.Value)
			}
		}
	}
	l["mode"] = string(ModeMatch)
	maps.Copy(l, r.Labels)
	if r.Mode != "" {
		l["mode"] = string(r.Mode)
	}
	for _, name := range r.By {
		for _, f := range e.Fields {
			if string(f.Name) == name {
				l[name] = short(f.Value)
			}
		}
	}
	return l
}
