package wal

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ErrClosed is returned by calls on a closed log.
var ErrClosed = errors.New("the log is closed")

// CorruptError says that events of a range of sequences, both ends included, cannot be read.
type CorruptError struct {
	File     string
	Offset   int64 // where the damage starts
	From, To uint64
	Err      error // what was found there
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log segment %s is damaged at byte %d: events %d to %d are lost: %v", e.File, e.Offset, e.From, e.To, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// TrimmedError says that a reader's next event was trimmed away.
type TrimmedError struct {
	Oldest uint64 // the first sequence that can be read, or that the next event will get
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("the log was trimmed: it starts at event %d", e.Oldest)
}

// PressureError says that the log could not take a batch, and that nothing of it was kept: try again after RetryAfter.
type PressureError struct {
	Err   error
	retry time.Duration
}

func (e *PressureError) Error() string {
	if e.Full() {
		return fmt.Sprintf("the disk of the log is full: %v; free space or shorten the retention, the log goes on by itself", e.Err)
	}
	return fmt.Sprintf("the log cannot take the batch now: %v", e.Err)
}

func (e *PressureError) Unwrap() error { return e.Err }

// RetryAfter is how long to wait before trying again.
func (e *PressureError) RetryAfter() time.Duration { return e.retry }

// Full tells whether the cause is a full disk or quota.
func (e *PressureError) Full() bool { return diskFull(e.Err) }

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

var errBusy = errors.New("too much waits for the disk")
