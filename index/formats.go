package index

// The versions of the store's own files that this lookout writes; it reads these alone. Of segments, blocks and the log their packages tell.
const (
	StateVersion = stateVersion
	JobVersion   = jobVersion
)
