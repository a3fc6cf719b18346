package slack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slack-go/slack"
)

// maxPages is how many pages of channels are looked through, a thousand each.
const maxPages = 10

// ErrNotChecked is why something cannot be known without sending a message.
var ErrNotChecked = errors.New("not checked")

// Identity is who lookout is in Slack.
type Identity struct {
	Team, User string
	// Scopes are what the token may do; nil when Slack does not say.
	Scopes []string
}

// May tells whether the token has a scope. It may while its scopes are not known.
func (i *Identity) May(scope string) bool { return i.Scopes == nil || slices.Contains(i.Scopes, scope) }

// Check asks Slack whether the token is good, by auth.test, and says what it lacks. Posting, editing, threads and the answers to
// buttons all need chat:write.
func (n *Notifier) Check(ctx context.Context) (*Identity, error) {
	r, err := n.client.AuthTestContext(ctx)
	if err != nil {
		return nil, n.failure(err, false)
	}
	if r.UserID == "" {
		return nil, errNotUnderstood
	}
	i := &Identity{Team: r.Team, User: r.User}
	for _, header := range r.Header.Values("X-OAuth-Scopes") {
		for _, scope := range strings.Split(header, ",") {
			if scope = strings.TrimSpace(scope); scope != "" {
				i.Scopes = append(i.Scopes, scope)
			}
		}
	}
	if !i.May("chat:write") {
		return i, fmt.Errorf("the token lacks the scope chat:write, it has %s: add it under OAuth & Permissions, and install the app again", strings.Join(i.Scopes, ", "))
	}
	return i, nil
}

// CheckSocket asks Slack for an address of Socket Mode, and does not connect there.
func (n *Notifier) CheckSocket(ctx context.Context) error {
	_, address, err := n.client.StartSocketModeContext(ctx)
	switch {
	case err != nil:
		return n.failure(err, true)
	case address == "":
		return errNotUnderstood
	}
	return nil
}

// Channels are those that the token can see.
type Channels struct {
	identity *Identity
	all      []slack.Channel
	err      error // why they are not all
}

// Channels lists what of the workspace's channels the token can see. It needs channels:read; private channels need groups:read.
func (n *Notifier) Channels(ctx context.Context, i *Identity) *Channels {
	c := &Channels{identity: i}
	var types []string
	if i.Scopes != nil && i.May("channels:read") {
		types = append(types, "public_channel")
	}
	if i.Scopes != nil && i.May("groups:read") {
		types = append(types, "private_channel")
	}
	if types == nil {
		c.err = fmt.Errorf("%w: to see channels the token needs channels:read", ErrNotChecked)
		return c
	}
	cursor := ""
	for range maxPages {
		page, next, err := n.client.GetConversationsContext(ctx, &slack.GetConversationsParameters{Cursor: cursor, Limit: 1000, Types: types})
		if err != nil {
			c.err = fmt.Errorf("%w: %w", ErrNotChecked, n.failure(err, true).Err)
			return c
		}
		c.all = append(c.all, page...)
		if cursor = next; next == "" {
			return c
		}
	}
	c.err = fmt.Errorf("%w: it is not among the first %d channels", ErrNotChecked, len(c.all))
	return c
}

// Check says how messages come into a channel, by its #name or id, or why they would be refused. The error wraps [ErrNotChecked] where
// only a message would tell.
func (c *Channels) Check(channel string) (string, error) {
	name, isName := strings.CutPrefix(channel, "#")
	if !isName && !strings.HasPrefix(channel, "C") && !strings.HasPrefix(channel, "G") {
		return "", fmt.Errorf("%w: it is a person", ErrNotChecked)
	}
	at := slices.IndexFunc(c.all, func(one slack.Channel) bool { return one.ID == channel || isName && one.Name == name })
	if at < 0 {
		switch {
		case c.err != nil:
			return "", c.err
		case !c.identity.May("channels:read"):
			return "", fmt.Errorf("%w: to see public channels the token needs channels:read", ErrNotChecked)
		case !c.identity.May("groups:read"):
			return "", fmt.Errorf("%w: no public channel has this name, and to see private ones the token needs groups:read", ErrNotChecked)
		}
		return "", errors.New("there is no such channel, or it is private and lookout is not in it: make it, or /invite @lookout there")
	}
	switch one := &c.all[at]; {
	case one.IsArchived:
		return "", errors.New("it is archived: unarchive it, or name another")
	case one.IsMember:
		return "lookout is in it", nil
	case !one.IsPrivate && c.identity.May("chat:write.public"):
		return "public, by chat:write.public", nil
	}
	return "", errors.New("lookout is not in it: /invite @lookout there, or add the scope chat:write.public")
}
