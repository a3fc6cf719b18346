//go:build !linux

package gelf

import (
	"net"
	"syscall"
)

// setReadBuffer asks for a receive buffer of n bytes. These systems refuse what is too much instead of giving less.
func setReadBuffer(conn *net.UDPConn, n int) (got int, err error) {
	return n, conn.SetReadBuffer(n)
}

func readBufferMend(int) string { return "" }

// socketDrops has nothing to tell: these systems count what they drop for all sockets together.
func socketDrops(syscall.Conn) (n uint32, ok bool) { return 0, false }

// readable does not know; a read that times out is taken for an empty buffer.
func readable(syscall.Conn) bool { return false }
