package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/lookoutlog/lookout/alerting"
)

// Check connects to the service, with TLS where its address says so, and sends nothing, but that an Alertmanager is asked whether it is
// ready. It says what was found; no error has a secret.
func (n *Notifier) Check(ctx context.Context) (string, error) {
	// What a request is sent to and with, for a message without labels.
	r, err := n.build(n.requests[n.shipped.send], dataOf(alerting.Message{Severity: alerting.Info, Title: "check"}, &n.o, "1"))
	if err != nil {
		return "", errors.New(n.public(err))
	}
	if n.shipped.keep != 0 {
		return n.ready(ctx, r)
	}
	what, err := n.connect(ctx, r.URL)
	if err != nil {
		return "", errors.New(n.public(err))
	}
	return what, nil
}

func (n *Notifier) connect(ctx context.Context, u *url.URL) (string, error) {
	port := u.Port()
	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		}
	}
	conn, err := n.dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if u.Scheme != "https" {
		return "connected; nothing was sent", nil
	}
	if err := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}).HandshakeContext(ctx); err != nil {
		return "", fmt.Errorf("TLS: %w", err)
	}
	return "connected with TLS; nothing was sent", nil
}

// ready asks an Alertmanager whether it serves.
func (n *Notifier) ready(ctx context.Context, r *http.Request) (string, error) {
	u := *r.URL
	u.Path, u.RawPath, u.RawQuery = strings.TrimSuffix(u.Path, alertmanager.path)+"-/ready", "", ""
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", errors.New("the request cannot be made of url")
	}
	ask.Header = r.Header.Clone()
	ask.Header.Del("Content-Type")
	resp, err := n.client.Do(ask)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return "", errors.New(n.public(err))
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("/-/ready answers %s", resp.Status)
	}
	return "the Alertmanager is ready", nil
}
