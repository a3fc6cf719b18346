package gelf

import (
	"cmp"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveBatch is how many datagrams one system call reads at most. Their buffers take 2 MiB, of which only what datagrams
// have filled is memory in use.
const receiveBatch = 32

// receiver reads datagrams, several with one system call (recvmmsg). It is one goroutine's.
//
// The socket is not in the runtime's epoll, which wakes a thread for each datagram even when no one waits for it. It is in
// an epoll of its own that tells of one event and is silent until asked again; that epoll is in the runtime's.
type receiver struct {
	socket *os.File
	epoll  *os.File
	raw    syscall.RawConn // the epoll's
	try    func(fd uintptr) bool
	fd     int  // the socket's
	armed  bool // the epoll will tell of a datagram, or has told
	n      int
	errno  syscall.Errno

	messages [receiveBatch]message
	names    [receiveBatch]unix.RawSockaddrInet6 // also fits IPv4's
	vectors  [receiveBatch]unix.Iovec
	buffers  []byte
}

// message is the kernel's struct mmsghdr; Go pads it as C does.
type message struct {
	header unix.Msghdr
	n      uint32
}

// newReceiver takes the socket over from conn, which is closed, also with an error.
func newReceiver(conn *net.UDPConn) (*receiver, error) {
	defer conn.Close() // takes it out of the runtime's epoll
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &receiver{buffers: make([]byte, receiveBatch*maxDatagram)}
	err2 := raw.Control(func(fd uintptr) {
		if r.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(r.fd, false) // so that os.NewFile leaves it out of the runtime's epoll
		}
	})
	if err := cmp.Or(err2, err); err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	r.socket = os.NewFile(uintptr(r.fd), "udp")
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		r.socket.Close()
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, r.fd, &unix.EpollEvent{}); err == nil {
		err = unix.SetNonblock(epoll, true)
	}
	r.epoll = os.NewFile(uintptr(epoll), "epoll")
	if err == nil {
		r.raw, err = r.epoll.SyscallConn()
	}
	if err != nil {
		r.close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	r.try = r.receiveNow
	for i := range r.messages {
		r.vectors[i].Base = &r.buffers[i*maxDatagram]
		r.vectors[i].SetLen(maxDatagram)
		h := &r.messages[i].header
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
	}
	return r, nil
}

// conn is the socket, for its options.
func (r *receiver) conn() syscall.Conn { return r.socket }

func (r *receiver) setDeadline(t time.Time) { r.epoll.SetReadDeadline(t) }

func (r *receiver) close() {
	r.epoll.Close()
	r.socket.Close()
}

// receive waits for datagrams and returns how many it has read; they are valid until the next call. Fewer than
// receiveBatch: no more were there.
func (r *receiver) receive() (int, error) {
	if err := r.raw.Read(r.try); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	return r.n, nil
}

// receiveNow reports whether there is something to return: datagrams or an error. Else the epoll will tell.
func (r *receiver) receiveNow(epoll uintptr) bool {
	if r.armed {
		var event [1]unix.EpollEvent
		n, _ := unix.EpollWait(int(epoll), event[:], 0) // taking the event is what silences it
		r.armed = n <= 0
	}
	for i := range r.messages {
		r.messages[i].header.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.messages)), receiveBatch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			// A datagram that has come since then is told of as well.
			err := unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, r.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT})
			if err == nil {
				r.armed = true
				return false
			}
			errno = err.(syscall.Errno)
		}
		r.n, r.errno = int(n), errno
		return true
	}
}

// datagram returns the i-th of the datagrams read last, and its sender.
func (r *receiver) datagram(i int) ([]byte, netip.AddrPort) {
	p := r.buffers[i*maxDatagram:][:r.messages[i].n]
	name := &r.names[i]
	if name.Family == unix.AF_INET {
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return p, netip.AddrPortFrom(netip.AddrFrom4(name.Addr), hostOrder(name.Port))
	}
	addr := netip.AddrFrom16(name.Addr)
	if name.Scope_id != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
	}
	return p, netip.AddrPortFrom(addr, hostOrder(name.Port))
}

// hostOrder returns a port that the kernel has stored in the network's order.
func hostOrder(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}
