package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack/socketmode"

	"github.com/lookoutlog/lookout/alerting"
)

const (
	// persistWithin is how long a press may take to be durable: Slack waits 3 s for its acknowledgement.
	persistWithin = 2500 * time.Millisecond
	answerWithin  = 30 * time.Second
	openWithin    = 30 * time.Second
	writeWithin   = 10 * time.Second
	// silentFor is how long a connection may be silent: Slack pings it each few seconds.
	silentFor = time.Minute
	// drainFor is how long a connection is read that Slack has asked to be made anew.
	drainFor = 30 * time.Second
	// steadyAfter is when a connection counts as good, so that the next one is made without a pause.
	steadyAfter = 10 * time.Second

	firstPause  = time.Second
	longPause   = 5 * time.Minute // also where only a person can mend it
	maxEnvelope = 4 << 20         // bytes; one holds the message whose button was pressed
)

// listener receives presses of buttons by Socket Mode.
type listener struct {
	n       *Notifier
	actions Actions
	log     *slog.Logger
	ctx     context.Context
	aside   sync.WaitGroup // connections that end, and answers on their way

	mu      sync.Mutex // held while a press becomes durable, so that its redelivery waits for that
	pressed map[string]bool
	order   []string // oldest first
}

// Buttons tells whether messages have buttons: with an app-level token.
func (n *Notifier) Buttons() bool { return n.app != "" }

// Listen connects to Slack by Socket Mode and carries out what people press, until ctx ends. It connects anew for ever: at
// once when Slack asks for it, else after pauses from 1 s to 5 min. It needs an app-level token and is called once.
func (n *Notifier) Listen(ctx context.Context, actions Actions, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &listener{n: n, actions: actions, log: log, ctx: ctx, pressed: map[string]bool{}}
	defer l.aside.Wait()
	pause, told := time.Duration(0), false
	for ctx.Err() == nil {
		began := time.Now()
		asked, ended := make(chan struct{}), make(chan error, 1)
		l.aside.Go(func() { ended <- l.connection(ctx, sync.OnceFunc(func() { close(asked) })) })
		var err error
		select {
		case <-asked: // the old connection is read on beside the new one: nothing that is pressed meanwhile is lost
		case err = <-ended:
		}
		if ctx.Err() != nil {
			break
		}
		var wait time.Duration
		switch lasted := time.Since(began); {
		case err != nil || lasted < steadyAfter:
			if lasted >= steadyAfter {
				pause = 0
			}
			pause = min(max(2*pause, firstPause), longPause)
			wait = pause
		default:
			pause = 0
		}
		if err != nil {
			wait = max(wait, l.failed(err, wait, &told))
		} else {
			told = false
		}
		if wait += rand.N(wait/10 + 1); wait > 1 {
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	}
	return nil
}

// failed logs why there is no connection, and returns the least pause that this asks for. A row of failures is a warning
// once: alerts go out all the same.
func (l *listener) failed(err error, wait time.Duration, told *bool) time.Duration {
	var failure *alerting.DeliveryError
	if errors.As(err, &failure) {
		switch failure.Class {
		case alerting.Wait:
			wait = max(wait, failure.RetryAfter, firstPause)
		case alerting.Broken:
			wait = longPause
		}
		err = failure.Err
	}
	level := slog.LevelWarn
	if *told {
		level = slog.LevelDebug
	}
	*told = true
	l.log.Log(l.ctx, level, "Slack's buttons do nothing now: Socket Mode is not connected; it tries again", "error", err, "in", wait.Round(time.Second))
	return wait
}

// connection is one connection from its beginning to its end. It calls asked when Slack wants another one made.
func (l *listener) connection(ctx context.Context, asked func()) error {
	open, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	_, address, err := l.n.client.StartSocketModeContext(open)
	if err != nil {
		return l.n.failure(err, true)
	}
	conn, resp, err := l.n.dialer.DialContext(open, address, nil)
	if err != nil {
		// The address has a ticket in it, which an error may repeat.
		if resp != nil {
			return fmt.Errorf("the address for Socket Mode answers %s", resp.Status)
		}
		return l.n.failure(errors.New(hide(err.Error(), address)), true)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	conn.SetReadLimit(maxEnvelope)
	alive := func() { _ = conn.SetReadDeadline(time.Now().Add(silentFor)) } // the read tells when the connection is broken
	alive()
	conn.SetPingHandler(func(data string) error {
		alive()
		return conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeWithin))
	})
	greeted := false
	defer func() {
		if greeted {
			l.n.connected.Add(-1)
		}
	}()
	for {
		_, data, err := conn.ReadMessage()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the connection has ended: %s", hide(err.Error(), address))
		}
		alive()
		var r socketmode.Request
		if err := json.Unmarshal(data, &r); err != nil {
			l.log.Warn("Slack sent something over Socket Mode that cannot be read", "error", err)
			continue
		}
		switch r.Type {
		case socketmode.RequestTypeHello:
			if !greeted {
				greeted = true
				l.n.connected.Add(1)
				l.n.connections.Add(1)
			}
			l.log.Info("Slack's buttons are connected by Socket Mode")
		case socketmode.RequestTypeDisconnect:
			asked()
			alive = func() {} // it ends in any case
			_ = conn.SetReadDeadline(time.Now().Add(drainFor))
		case socketmode.RequestTypeInteractive:
			if err := l.persist(ctx, r.Payload); err != nil {
				l.log.Error("the press of a button could not be noted; its user sees a warning", "error", err)
				continue
			}
		}
		if r.EnvelopeID == "" {
			continue
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeWithin))
		if err := conn.WriteJSON(socketmode.Response{EnvelopeID: r.EnvelopeID}); err != nil {
			return fmt.Errorf("acknowledging: %s", hide(err.Error(), address))
		}
	}
}

func (l *listener) persist(ctx context.Context, payload json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, persistWithin)
	defer cancel()
	return l.interactive(ctx, payload)
}
