package gelf

import "testing"

func TestSetReadBuffer(t *testing.T) {
	s := listen(t, Options{})
	const asked = 100_000 // any kernel gives this much
	if got, err := setReadBuffer(s.conn, asked); got != asked || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	if readable(s.conn) {
		t.Error("an empty buffer is readable")
	}
	s.send(t, nil, []byte("x")) // an empty datagram counts
	if !readable(s.conn) {
		t.Error("two datagrams wait and it is not readable")
	}
	s.end()
	s.start()
	if st := s.finish(t); st.Received != 2 || st.NotAnObject != 2 {
		t.Errorf("%+v", st)
	}
	if readable(s.conn) {
		t.Error("a closed socket is readable")
	}
}
