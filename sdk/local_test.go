package sdk

import (
	"io"
	"net/http"
	"testing"
)

// On one machine an answer is not compressed; over a network net/http asks for gzip by itself.
func TestNoCompressionOnOneMachine(t *testing.T) {
	for url, want := range map[string]string{
		"http://localhost:7171": "identity", "http://127.0.0.1:7171": "identity", "http://127.1.2.3": "identity", "http://[::1]:7171": "identity",
		"http://logs:7171": "", "http://10.0.0.1:7171": "", "https://localhost.example.com": "",
	} {
		var got string
		c, err := New(Options{URL: url, Patience: -1, HTTP: &http.Client{Transport: serve(func(r *http.Request) (int, http.Header, io.ReadCloser, error) {
			got = r.Header.Get("Accept-Encoding")
			return 200, nil, text(`{"services":[]}`), nil
		})}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Services(t.Context()); err != nil || got != want {
			t.Errorf("%s: Accept-Encoding %q, want %q; %v", url, got, want, err)
		}
	}
}
