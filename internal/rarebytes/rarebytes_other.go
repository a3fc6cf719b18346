//go:build !amd64

package rarebytes

func (m *Marks) wide(data []byte, n int) (at int, done bool) { return 0, false }
