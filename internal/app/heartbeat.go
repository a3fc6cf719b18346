package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// heartbeat tells an outside watcher, by a GET each period, that alerting goes on: it is told nothing when events wait that the rules
// were not held against for a whole period.
type heartbeat struct {
	url   string
	every time.Duration
	// position is how far the rules are, last the newest event.
	position, last func() uint64
	after          func(time.Duration) <-chan time.Time
	log            func(problem string)
	client         *http.Client

	wasPosition, wasLast uint64
	failing              bool
}

// beat begins to, when a watcher is configured.
func (a *App) beat() {
	c := a.o.Config.Heartbeat
	if c.URL == "" {
		return
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	h := &heartbeat{
		url: string(c.URL), every: time.Duration(c.Every), position: a.engine.Position, last: a.store.LastSeq, after: time.After,
		log: func(problem string) { a.log.Warn(problem) }, client: &http.Client{Transport: transport},
	}
	a.onStop("heartbeat's connections", func(context.Context) error { transport.CloseIdleConnections(); return nil })
	a.run("heartbeat", h.run)
}

// run beats until ctx ends.
func (h *heartbeat) run(ctx context.Context) error {
	h.wasPosition, h.wasLast = h.position(), h.last()
	for {
		if h.goesOn() {
			h.beat(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.after(h.every):
		}
	}
}

// goesOn tells whether the rules have seen all that was there a period ago, or at least more than then.
func (h *heartbeat) goesOn() bool {
	position, last := h.position(), h.last()
	on := position >= h.wasLast || position > h.wasPosition
	h.wasPosition, h.wasLast = position, last
	if !on {
		h.log(fmt.Sprintf("alerting stands still at event %d: the heartbeat is not sent", position))
	}
	return on
}

func (h *heartbeat) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, min(10*time.Second, h.every))
	defer cancel()
	err := h.get(ctx)
	switch {
	case err == nil:
		h.failing = false
	case !h.failing && ctx.Err() != context.Canceled: // said once
		h.failing = true
		h.log("the heartbeat does not arrive; it is sent on: " + err.Error())
	}
}

// get asks for the address, which is a secret: no error has it.
func (h *heartbeat) get(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return errors.New("heartbeat.url is no address")
	}
	r.Header.Set("User-Agent", "lookout")
	resp, err := h.client.Do(r)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return h.public(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection is used again
	if resp.StatusCode >= 300 {
		return fmt.Errorf("the watcher answered %d", resp.StatusCode)
	}
	return nil
}

// public is an error without the address: what answers nonsense may repeat what it was asked for, or lead to it.
func (h *heartbeat) public(err error) error {
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &network), errors.As(err, &certificate), errors.As(err, &noTLS), errors.Is(err, io.EOF), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	}
	return errors.New("what answers there speaks no HTTP, or leads nowhere")
}
