package gelf

import (
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setReadBuffer asks for a receive buffer of n bytes and returns what the kernel gave. Beyond net.core.rmem_max only a
// process with CAP_NET_ADMIN gets it.
func setReadBuffer(conn *net.UDPConn, n int) (got int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	err2 := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, n); err != nil {
				return
			}
		}
		got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		got /= 2 // the kernel doubles it, for its own bookkeeping
	})
	if err2 != nil {
		return 0, err2
	}
	return got, err
}

func readBufferMend(n int) string { return fmt.Sprintf("sysctl -w net.core.rmem_max=%d", n) }

// socketDrops returns how many datagrams the kernel has dropped at this socket since it was opened, modulo 2³². It asks
// for SO_MEMINFO (Linux 4.12): SO_RXQ_OVFL tells only with the next datagram that is not dropped.
func socketDrops(conn syscall.Conn) (n uint32, ok bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	const drops = 8 // SK_MEMINFO_DROPS
	var info [drops + 1]uint32
	err = raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size >= uint32(unsafe.Sizeof(info))
	})
	return info[drops], ok && err == nil
}

// readable reports whether a datagram waits in the kernel's buffer.
func readable(conn syscall.Conn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return n > 0 && err == nil
}
