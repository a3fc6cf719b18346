package rarebytes

// wide is Index for the first n places, where SSE2 is of use; done is false where it is not.
func (m *Marks) wide(data []byte, n int) (at int, done bool) {
	if n < 16 {
		return 0, false
	}
	return sse2(&data[0], n, &m.marks), true
}

// sse2 is Index for the first n places, of which there are 16 at least.
//
//go:noescape
func sse2(data *byte, n int, marks *[3]mark) int
