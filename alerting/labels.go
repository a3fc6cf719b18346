package alerting

// labels are what matchers and other services see of the incident; what it does not have is left out.
func (inc *incident) labels() Labels {
	s := inc.Sample
	l := Labels{"rule": inc.Rule, "severity": string(inc.Severity), "fingerprint": inc.Fingerprint}
	for name, value := range map[string]string{"service": s.Service, "env": s.Env, "host": s.Host, "container": s.Container, "level": s.Level} {
		if value != "" {
			l[name] = value
		}
	}
	return l
}
