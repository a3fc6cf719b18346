package query

import "time"

// RetentionInfo says what the store holds, for how long, and what that leads to.
type RetentionInfo struct {
	// Classes are those that are configured and those that have events, by name, the default one first.
	Classes []ClassInfo
	// Bytes are those of all segments, MaxBytes is their limit, 0 for none.
	Bytes, MaxBytes int64
	// BytesPerDay is what came in lately, on disk; 0 when that is not known yet.
	BytesPerDay int64
	// FullIn is how long it takes until MaxBytes is reached at this rate, what is removed by age taken into account; 0 when it is not
	// reached, or the rate is not known.
	FullIn time.Duration
	// DiskFree and DiskTotal are the file system's, in bytes; 0 when that cannot be asked. Below DiskReserve nothing is accepted;
	// DiskFullIn is how long it takes until then, as FullIn.
	DiskFree, DiskTotal, DiskReserve uint64
	DiskFullIn                       time.Duration
	// Paused says why nothing is removed by age at the moment; empty when that goes on. PausedFor is how long it takes until it does, if
	// the clock does not jump again.
	Paused    string
	PausedFor time.Duration
	// Waiting is the number of segments that are due but hold events that not all who must see every event have seen.
	Waiting int
}

// ClassInfo says what the store holds of one class.
type ClassInfo struct {
	Name string
	// Age is how long events are kept, 0 for ever; MaxBytes is the limit of the class's own segments, 0 for none.
	Age      time.Duration
	MaxBytes int64
	// Segments, Events and Bytes are what is on disk; what is not in a segment yet belongs to no class.
	Segments int
	Events   int64
	Bytes    int64
	// Oldest is when the oldest event was received; the zero time when there is none, or it cannot be read.
	Oldest time.Time
	// BytesPerDay is what came in lately, on disk; 0 when that is not known yet.
	BytesPerDay int64
}
