package api

import (
	"net/http"
	"time"

	"github.com/lookoutlog/lookout/index/query"
)

// Retainer is what the API asks about how long events are kept; a store is one.
type Retainer interface {
	Retention() query.RetentionInfo
}

// retentionJSON is what is kept and for how long, as the API writes it. Lengths of time are seconds; what is not known, not limited or
// not to be expected is missing.
type retentionJSON struct {
	Classes     []classJSON `json:"classes"`
	Bytes       int64       `json:"bytes"`
	MaxBytes    int64       `json:"max_bytes,omitempty"`
	BytesPerDay int64       `json:"bytes_per_day,omitempty"`
	FullIn      int64       `json:"full_in_seconds,omitempty"`
	Disk        *diskJSON   `json:"disk,omitempty"`
	Paused      *pauseJSON  `json:"paused,omitempty"`
	Waiting     int         `json:"waiting_segments,omitempty"`
}

type classJSON struct {
	Name        string `json:"name"`
	KeptFor     int64  `json:"kept_for_seconds,omitempty"`
	MaxBytes    int64  `json:"max_bytes,omitempty"`
	Segments    int    `json:"segments"`
	Events      int64  `json:"events"`
	Bytes       int64  `json:"bytes"`
	Oldest      string `json:"oldest,omitempty"`
	BytesPerDay int64  `json:"bytes_per_day,omitempty"`
}

type diskJSON struct {
	Free    uint64 `json:"free"`
	Size    uint64 `json:"size"`
	Reserve uint64 `json:"reserve"`
	Full    bool   `json:"full"`
	FullIn  int64  `json:"full_in_seconds,omitempty"`
}

type pauseJSON struct {
	Reason  string `json:"reason"`
	Seconds int64  `json:"seconds"`
}

// retention says what is kept, for how long, and what that leads to: GET /api/v1/retention.
func (a *API) retention(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	info := a.o.Retainer.Retention()
	seconds := func(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
	j := retentionJSON{
		Classes: []classJSON{}, Bytes: info.Bytes, MaxBytes: info.MaxBytes, BytesPerDay: info.BytesPerDay, FullIn: seconds(info.FullIn), Waiting: info.Waiting,
	}
	for _, c := range info.Classes {
		cj := classJSON{
			Name: c.Name, KeptFor: seconds(c.Age), MaxBytes: c.MaxBytes, Segments: c.Segments, Events: c.Events, Bytes: c.Bytes, BytesPerDay: c.BytesPerDay,
		}
		if !c.Oldest.IsZero() {
			cj.Oldest = timeText(c.Oldest.UnixNano())
		}
		j.Classes = append(j.Classes, cj)
	}
	if info.DiskTotal > 0 {
		j.Disk = &diskJSON{Free: info.DiskFree, Size: info.DiskTotal, Reserve: info.DiskReserve, Full: info.DiskFree < info.DiskReserve, FullIn: seconds(info.DiskFullIn)}
	}
	if info.Paused != "" {
		j.Paused = &pauseJSON{Reason: info.Paused, Seconds: seconds(info.PausedFor)}
	}
	writeJSON(w, http.StatusOK, j)
}
