package main

import (
	"testing"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/sdk"
)

// Who silences something sees whether the matchers are written as they were meant.
func TestSilenced(t *testing.T) {
	alert := func(state, service string) sdk.Alert {
		return sdk.Alert{State: state, Labels: map[string]string{"service": service}}
	}
	all := []sdk.Alert{alert("firing", "shop"), alert("acknowledged", "shop"), alert("firing", "pay"), alert("resolved", "shop")}
	for _, c := range []struct {
		matchers string
		all      []sdk.Alert
		want     string
	}{
		{"service=shop", all, "2 of 3 alerts open now"},
		{"servise=shop", all, "0 of 3 alerts open now; `lookout alerts --json` shows their labels"},
		{"service=pay", all[2:3], "1 of 1 alert open now"},
		{"service=shop", all[3:], "nothing is open now"},
	} {
		ms, err := alerting.ParseMatchers(c.matchers)
		if err != nil {
			t.Fatal(err)
		}
		if got := silenced(ms, c.all); got != c.want {
			t.Errorf("%s: %q, want %q", c.matchers, got, c.want)
		}
	}
}
