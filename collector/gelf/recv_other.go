//go:build !linux

package gelf

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// receiveBatch is how many datagrams one receive reads at most. One: what is received never says that no more are there.
const receiveBatch = 1

// receiver reads datagrams. It is one goroutine's.
type receiver struct {
	socket *net.UDPConn
	buffer [maxDatagram]byte
	n      int
	from   netip.AddrPort
}

func newReceiver(conn *net.UDPConn) (*receiver, error) { return &receiver{socket: conn}, nil }

// conn is the socket, for its options.
func (r *receiver) conn() syscall.Conn { return r.socket }

func (r *receiver) setDeadline(t time.Time) { r.socket.SetReadDeadline(t) }

func (r *receiver) close() { r.socket.Close() }

// receive waits for a datagram, which is valid until the next call.
func (r *receiver) receive() (n int, err error) {
	if r.n, r.from, err = r.socket.ReadFromUDPAddrPort(r.buffer[:]); err != nil {
		return 0, err
	}
	return 1, nil
}

// datagram returns the datagram read last, and its sender.
func (r *receiver) datagram(int) ([]byte, netip.AddrPort) { return r.buffer[:r.n], r.from }
