package api

import "time"

// Input is one way in, as /api/v1/inputs lists it. What is counted is counted since the start.
type Input struct {
	// Name is that of the protocol: ndjson, gelf, docker, probes.
	Name string `json:"name"`
	// Address is where it listens or what it reads; empty when it is off.
	Address string `json:"address,omitempty"`
	// State is listening, connected, waiting (for what it reads) or off.
	State string `json:"state"`
	// Note says more about the state, in words.
	Note string `json:"note,omitempty"`
	// Events were appended; Bytes came in for them, as the input counts them.
	Events int64 `json:"events"`
	Bytes  int64 `json:"bytes"`
	// Drops are the messages, lines or requests that became no event, by cause, without causes that never were.
	Drops map[string]int64 `json:"drops"`
	// Last is when an event was appended last; zero if none was.
	Last time.Time `json:"last,omitzero"`
}
