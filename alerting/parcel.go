package alerting

import "go.etcd.io/bbolt"

// parcel is what is on its way: an entry of the outbox, or the overview. Its methods change records inside a transaction
// that may be tried again, state being the channel's, which the caller writes back.
type parcel interface {
	// mark notes that it is being sent and returns how; nothing when there is nothing to send any more.
	mark(tx *bbolt.Tx, state *channelState, now int64) (call, error)
	delivered(tx *bbolt.Tx, state *channelState, now int64, how how, r Receipt) error
	// refused notes that the destination certainly has not taken it: the next try is as next says.
	refused(tx *bbolt.Tx, state *channelState, next nextTry) error
	// dead gives it up and returns its key.
	dead(tx *bbolt.Tx, state *channelState, now int64, how how) (string, error)
}

// nextTry is how a refused parcel is tried again.
type nextTry int

const (
	asItWas nextTry = iota
	asPlain         // as short plain text
	asNew           // as a new message, since it cannot be edited
)

// entryParcel is an entry of the outbox that is one message and no more.
type entryParcel struct {
	s *sender
	q queued
}

// load reads the entry; it is false when it is gone.
func (p *entryParcel) load(tx *bbolt.Tx) (bool, error) {
	p.q.entry = entry{}
	return get(tx.Bucket(bucketOutbox), []byte(p.q.key), &p.q.entry)
}

// try notes that the entry is being sent. The first answer that does not come makes it a repeat for good.
func (p *entryParcel) try(tx *bbolt.Tx) error {
	p.q.MayRepeat = p.q.MayRepeat || p.q.Sending
	p.q.Sending = true
	return p.put(tx)
}

func (p *entryParcel) put(tx *bbolt.Tx) error {
	return put(tx.Bucket(bucketOutbox), []byte(p.q.key), &p.q.entry)
}

func (p *entryParcel) mark(tx *bbolt.Tx, _ *channelState, now int64) (call, error) {
	if ok, err := p.load(tx); !ok || err != nil {
		return call{}, err
	}
	if err := p.try(tx); err != nil {
		return call{}, err
	}
	if p.q.Kind == kindQuiet {
		m := p.s.e.renderQuiet(&p.q, func(key string) *incident { return p.s.e.incident(tx, []byte(key)) })
		m.Plain, m.Notes = p.q.Plain, notes(&p.q.entry, now)
		return call{how: send, message: m}, nil
	}
	return call{how: send, message: p.s.e.render(&p.q, now)}, nil
}

func (p *entryParcel) delivered(tx *bbolt.Tx, state *channelState, now int64, _ how, _ Receipt) error {
	b := state.of(p.q.Severity)
	b.Posts = append(b.Posts, now)
	if p.q.Kind == kindEach {
		state.LastEach = now
	}
	return dequeue(tx, p.q.key, &p.q.entry)
}

func (p *entryParcel) refused(tx *bbolt.Tx, _ *channelState, next nextTry) error {
	// Some of its lines may have been deleted meanwhile.
	if ok, err := p.load(tx); !ok || err != nil {
		return err
	}
	p.q.Sending = false
	p.q.Plain = p.q.Plain || next == asPlain
	return p.put(tx)
}

func (p *entryParcel) dead(tx *bbolt.Tx, _ *channelState, _ int64, _ how) (string, error) {
	return p.q.key, dequeue(tx, p.q.key, &p.q.entry)
}

// incidentParcel is an entry that brings one channel's message of an incident up to date, step by step: what it takes is
// decided when it is sent. The incident may go on meanwhile; then the entry stays.
type incidentParcel struct {
	entryParcel
	// What the message on its way shows, and whether it says that it may be a repeat.
	view
	state  State
	repeat bool
}

func (p *incidentParcel) mark(tx *bbolt.Tx, _ *channelState, now int64) (call, error) {
	if ok, err := p.load(tx); !ok || err != nil {
		return call{}, err
	}
	c := call{how: send}
	inc, d := p.s.find(tx, &p.q)
	switch {
	case d != nil:
		c.how, c.to = d.next(inc), d.Receipt
		p.view, p.state = inc.view(), inc.State
	case p.q.Update:
		c.how = nothing
	default: // the record is lost, that it happened is not
	}
	switch c.how {
	case nothing:
		return c, dequeue(tx, p.q.key, &p.q.entry)
	case edit: // one that arrives twice is no repeat
	default:
		if err := p.try(tx); err != nil {
			return call{}, err
		}
	}
	p.repeat = p.q.MayRepeat
	c.message = p.s.e.renderIncident(inc, &p.q)
	c.message.Reminds = d != nil && d.Reminded > 0 && inc.State == Firing
	switch {
	case c.how == note: // its lines have times of their own, so none is late
		c.message = renderHistory(c.message, inc.since(d.Noted))
		if p.repeat {
			c.message.Notes = []string{noteAgain}
		}
	case c.how != edit:
		c.message.Notes, c.message.MayRepeat = notes(&p.q.entry, now), p.repeat
	case d.Repeat:
		c.message.Notes = []string{noteAgain}
	}
	return c, nil
}

// step notes how far the channel has come, and leaves what is still to be done. Both records may have changed since mark.
func (p *incidentParcel) step(tx *bbolt.Tx, change func(inc *incident, d *destination)) error {
	if ok, err := p.load(tx); !ok || err != nil {
		return err
	}
	inc, d := p.s.find(tx, &p.q)
	if d == nil {
		return dequeue(tx, p.q.key, &p.q.entry)
	}
	p.q.Sending, p.q.MayRepeat, p.q.Plain = false, false, false
	change(inc, d)
	if err := p.s.settle(tx, &p.q, inc, d); err != nil {
		return err
	}
	return p.s.e.putIncident(tx, incidentKey(p.q.Rule, p.q.Fingerprint), inc)
}

func (p *incidentParcel) delivered(tx *bbolt.Tx, state *channelState, now int64, how how, r Receipt) error {
	if !how.quiet() {
		b := state.of(p.q.Severity)
		b.Posts = append(b.Posts, now)
	}
	return p.step(tx, func(inc *incident, d *destination) {
		d.came(inc, how, p.view, now, r)
		if how == send {
			d.Repeat = p.repeat
		}
	})
}

func (p *incidentParcel) refused(tx *bbolt.Tx, state *channelState, next nextTry) error {
	if next == asNew {
		return p.step(tx, func(inc *incident, d *destination) {
			if p.state == Firing { // who had to notice has: only its text is old
				d.came(inc, edit, p.view, p.s.e.clock.Now().UnixNano(), d.Receipt)
				d.Fixed = true
			} else {
				d.lost(inc)
			}
		})
	}
	if ok, err := p.load(tx); !ok || err != nil {
		return err
	}
	return p.entryParcel.refused(tx, state, next)
}

// dead counts the step as done, so that the incident can speak again.
func (p *incidentParcel) dead(tx *bbolt.Tx, _ *channelState, now int64, how how) (string, error) {
	return p.q.key, p.step(tx, func(inc *incident, d *destination) { d.came(inc, how, p.view, now, d.Receipt) })
}

// overviewParcel is the overview of a channel.
type overviewParcel struct {
	s        *sender
	critical bool
	total    int64 // what the message on its way says
}

func (p *overviewParcel) mark(_ *bbolt.Tx, state *channelState, _ int64) (call, error) {
	o := state.overviewOf(p.critical)
	if o == nil {
		return call{}, nil
	}
	how := edit
	if o.Receipt == (Receipt{}) {
		how = send
		o.MayRepeat = o.MayRepeat || o.Sending
		o.Sending = true
	}
	p.total = o.total()
	return call{how: how, message: renderOverview(o, &p.s.e.limits, p.critical), to: o.Receipt}, nil
}

func (p *overviewParcel) delivered(_ *bbolt.Tx, state *channelState, now int64, _ how, r Receipt) error {
	if o := state.overviewOf(p.critical); o != nil {
		o.Receipt, o.Shown, o.ShownAt = r, p.total, now
		o.Sending = false
	}
	return nil
}

func (p *overviewParcel) refused(_ *bbolt.Tx, state *channelState, next nextTry) error {
	o := state.overviewOf(p.critical)
	if o == nil {
		return nil
	}
	o.Sending = false
	o.Plain = o.Plain || next == asPlain
	if next == asNew {
		o.Receipt = Receipt{}
	}
	return nil
}

func (p *overviewParcel) dead(_ *bbolt.Tx, state *channelState, now int64, _ how) (string, error) {
	if o := state.overviewOf(p.critical); o != nil {
		o.Shown, o.ShownAt, o.Sending = p.total, now, false
	}
	return "overview|" + p.s.channel, nil
}

// refreshParcel edits the count of what goes on. It has no entry: what is not done is found again.
type refreshParcel struct {
	s   *sender
	key []byte
	view
}

func (p *refreshParcel) find(tx *bbolt.Tx) (*incident, *destination) {
	inc := p.s.e.incident(tx, p.key)
	if inc == nil {
		return nil, nil
	}
	return inc, inc.to(p.s.channel)
}

func (p *refreshParcel) mark(tx *bbolt.Tx, _ *channelState, _ int64) (call, error) {
	inc, d := p.find(tx)
	if d == nil || !d.stale(inc) {
		p.s.e.desk.forget(string(p.key), &incident{To: []destination{{Channel: p.s.channel}}})
		return call{}, nil
	}
	p.view = inc.view()
	c := call{how: edit, message: p.s.e.messageOf(inc), to: d.Receipt}
	p.s.e.dress(&c.message, inc, p.s.channel)
	if d.Repeat {
		c.message.Notes, c.message.MayRepeat = []string{noteAgain}, true
	}
	return c, nil
}

func (p *refreshParcel) delivered(tx *bbolt.Tx, _ *channelState, now int64, _ how, r Receipt) error {
	return p.came(tx, now, func(d *destination) { d.Receipt = r })
}

// came notes that the count was shown, or was refused.
func (p *refreshParcel) came(tx *bbolt.Tx, now int64, change func(d *destination)) error {
	inc, d := p.find(tx)
	if d == nil {
		return nil
	}
	d.came(inc, edit, p.view, now, d.Receipt)
	change(d)
	return p.s.e.putIncident(tx, p.key, inc)
}

// refused leaves the message as it is: it says less than there is to say, but nothing wrong.
func (p *refreshParcel) refused(tx *bbolt.Tx, _ *channelState, next nextTry) error {
	if next == asItWas {
		return nil
	}
	return p.came(tx, p.s.e.clock.Now().UnixNano(), func(d *destination) { d.Fixed = true })
}

func (p *refreshParcel) dead(tx *bbolt.Tx, _ *channelState, now int64, _ how) (string, error) {
	return string(p.key), p.came(tx, now, func(d *destination) { d.Fixed = true })
}
