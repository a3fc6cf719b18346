package alerting

import (
	"context"
	"fmt"
)

// Mux is a [Notifier] that picks the way by the channel's name: the one in Ways under that name, that of More, Default for all others.
// Without a Default a channel that has no way is [Broken]. It is an [Acknowledger], a [Replier] and a [Historian] as far as its ways are.
//
// A receipt finds its way back by its Channel, so Mux writes the way's name there for what is in Ways.
type Mux struct {
	Default Notifier // nil for none
	Ways    map[string]Notifier
	More    func(channel string) Notifier // has ways that may change while it is used, nil for none of that name; may be nil
}

// Way names the way of a channel: the channel itself when it has one of its own, empty for the default. Channels with one
// way fail together.
func (m Mux) Way(channel string) string {
	if m.own(channel) != nil {
		return channel
	}
	return ""
}

// Of returns the way of a channel, nil when it has none.
func (m Mux) Of(channel string) Notifier {
	if n := m.own(channel); n != nil {
		return n
	}
	return m.Default
}

// own is the way under a channel's name, nil for none.
func (m Mux) own(channel string) Notifier {
	if n := m.Ways[channel]; n != nil || m.More == nil {
		return n
	}
	return m.More(channel)
}

// Send posts a new message by the channel's way.
func (m Mux) Send(ctx context.Context, channel string, msg Message) (Receipt, error) {
	n, err := m.way(channel)
	if err != nil {
		return Receipt{}, err
	}
	r, err := n.Send(ctx, channel, msg)
	return m.named(channel, r), err
}

// Edit replaces a message by the way it went.
func (m Mux) Edit(ctx context.Context, r Receipt, msg Message) (Receipt, error) {
	n, err := m.way(r.Channel)
	if err != nil {
		return Receipt{}, err
	}
	edited, err := n.Edit(ctx, r, msg)
	return m.named(r.Channel, edited), err
}

// Reply says below a message that it fires again; a way that cannot refuses it with [EditRefused].
func (m Mux) Reply(ctx context.Context, r Receipt, msg Message) error {
	n, err := m.way(r.Channel)
	if err != nil {
		return err
	}
	if replier, ok := n.(Replier); ok {
		return replier.Reply(ctx, r, msg)
	}
	return &DeliveryError{Class: EditRefused, Err: fmt.Errorf("channel %q has no threads", r.Channel)}
}

// Note adds history to the thread of a message; a way without threads has none, and refuses with [EditRefused].
func (m Mux) Note(ctx context.Context, r Receipt, msg Message) error {
	n, err := m.way(r.Channel)
	if err != nil {
		return err
	}
	if historian, ok := n.(Historian); ok {
		return historian.Note(ctx, r, msg)
	}
	return &DeliveryError{Class: EditRefused, Err: fmt.Errorf("channel %q has no threads", r.Channel)}
}

// Acknowledgement asks the way a message went; one that knows nothing of it has no news, ever.
func (m Mux) Acknowledgement(ctx context.Context, r Receipt) (Ack, error) {
	n, err := m.way(r.Channel)
	if err != nil {
		return Ack{}, err
	}
	if acknowledger, ok := n.(Acknowledger); ok {
		return acknowledger.Acknowledgement(ctx, r)
	}
	return Ack{}, nil
}

func (m Mux) way(channel string) (Notifier, error) {
	n := m.Of(channel)
	if n == nil {
		return nil, &DeliveryError{Class: Broken, Err: fmt.Errorf(
			"channel %q has no way out: set up the service it belongs to (LOOKOUT_SLACK_TOKEN for Slack), or name another channel", channel)}
	}
	return n, nil
}

func (m Mux) named(channel string, r Receipt) Receipt {
	if way := m.Way(channel); way != "" && r != (Receipt{}) {
		r.Channel = way
	}
	return r
}
