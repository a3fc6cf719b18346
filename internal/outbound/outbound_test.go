package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestCheck(t *testing.T) {
	none, loop := Policy{}, Policy{Loopback: true}
	imds := Policy{Allow: prefixes("169.254.169.254/32")}
	for _, c := range []struct {
		policy  Policy
		address string
		refused string // a part of the reason, empty when permitted
	}{
		// Where services live.
		{none, "10.1.2.3", ""}, {none, "172.17.0.2", ""}, {none, "192.168.1.1", ""}, {none, "100.64.0.1", ""}, {none, "93.184.216.34", ""},
		{none, "fd12:3456::1", ""}, {none, "2606:2800:220:1::1", ""}, {none, "240.0.0.1", ""}, {none, "::ffff:10.0.0.1", ""},
		{none, "169.253.255.255", ""}, {none, "169.255.0.0", ""}, {none, "fe7f::1", ""}, {none, "fec0::1", ""},
		{none, "100.100.100.199", ""}, {none, "168.63.129.17", ""}, {none, "192.0.0.193", ""}, {none, "fd00:ec3::254", ""}, {none, "fd20:ce::255", ""},

		// Link-local and metadata.
		{none, "169.254.169.254", "link-local"}, {none, "169.254.0.0", "link-local"}, {none, "169.254.255.255", "link-local"},
		{none, "fe80::1", "link-local"}, {none, "fe80::1%eth0", "link-local"}, {none, "febf:ffff::1", "link-local"},
		{none, "fd00:ec2::254", "metadata"}, {none, "fd00:ec2::23", "metadata"}, {none, "fd20:ce::254", "metadata"},
		{none, "fd00:c1::a9fe:a9fe", "metadata"}, {none, "fd00:42::42", "metadata"}, {none, "fd00:a9fe:a9fe::1", "metadata"},
		{none, "fd00:100::100:200", "metadata"}, {none, "100.100.100.200", "metadata"}, {none, "168.63.129.16", "metadata"}, {none, "192.0.0.192", "metadata"},

		// Nobody.
		{none, "0.0.0.0", "this machine"}, {none, "0.1.2.3", "this machine"}, {none, "::", "this machine"}, {loop, "0.0.0.0", "this machine"}, {loop, "::", "this machine"},
		{none, "224.0.0.1", "multicast"}, {none, "239.255.255.255", "multicast"}, {none, "ff02::1", "multicast"}, {none, "255.255.255.255", "broadcast"},

		// Loopback.
		{none, "127.0.0.1", "loopback"}, {none, "127.255.255.254", "loopback"}, {none, "::1", "loopback"}, {none, "::ffff:127.0.0.1", "loopback"},
		{loop, "127.0.0.1", ""}, {loop, "127.8.9.10", ""}, {loop, "::1", ""}, {loop, "::ffff:127.0.0.1", ""}, {loop, "169.254.169.254", "link-local"},

		// IPv4 in IPv6.
		{none, "::ffff:169.254.169.254", "link-local"}, {none, "::ffff:100.100.100.200", "metadata"}, {none, "::ffff:0.0.0.0", "this machine"},
		{none, "::169.254.169.254", "stands for 169.254.169.254"}, {none, "::127.0.0.1", "stands for 127.0.0.1"}, {loop, "::127.0.0.1", ""},
		{none, "::ffff:0:169.254.169.254", "stands for 169.254.169.254"},
		{none, "64:ff9b::a9fe:a9fe", "stands for 169.254.169.254"}, {none, "64:ff9b::10.0.0.1", ""}, {none, "64:ff9b::127.0.0.1", "stands for 127.0.0.1"},
		{none, "64:ff9b:1::a9fe:a9fe", "stands for 169.254.169.254"}, {none, "64:ff9b:1::10.0.0.1", ""},
		{none, "64:ff9b:1:a9fe:a9:fe00::", "stands for 169.254.169.254"}, {none, "64:ff9b:1:12a9:fe:a9fe::", "stands for 169.254.169.254"},
		{none, "64:ff9b:1:1234:a9:fea9:fe00:0", "stands for 169.254.169.254"},
		{none, "2002:a9fe:a9fe::1", "stands for 169.254.169.254"}, {none, "2002:a00:1::1", ""}, {none, "2002:7f00:1::", "stands for 127.0.0.1"},
		{none, "2001:0:a9fe:a9fe::1", "stands for 169.254.169.254"}, {none, "2001:0:a00:1::5601:5601", "stands for 169.254.169.254"}, {none, "2001:0:a00:1:0:0:f5ff:fffe", ""},
		{none, "2001:db8::5efe:a9fe:a9fe", "stands for 169.254.169.254"}, {none, "2001:db8::200:5efe:a9fe:a9fe", "stands for 169.254.169.254"},
		{none, "2001:db8::a9fe:a9fe", ""},

		// The list of what is allowed.
		{imds, "169.254.169.254", ""}, {imds, "::ffff:169.254.169.254", ""}, {imds, "64:ff9b::a9fe:a9fe", ""}, {imds, "169.254.169.253", "link-local"},
		{Policy{Allow: prefixes("::ffff:169.254.0.0/112")}, "169.254.1.1", ""}, {Policy{Allow: prefixes("::ffff:169.254.0.0/112")}, "::ffff:169.254.1.1", ""},
		{Policy{Allow: prefixes("fe80::/10")}, "fe80::1%eth0", ""}, {Policy{Allow: prefixes("127.0.0.1/32")}, "127.0.0.1", ""},
		{Policy{Allow: prefixes("127.0.0.1/32")}, "127.0.0.2", "loopback"}, {Policy{Allow: prefixes("0.0.0.0/0")}, "fe80::1", "link-local"},
	} {
		a := netip.MustParseAddr(c.address)
		err := c.policy.Check(a)
		var r *Refused
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s: %v", c.address, err)
		case c.refused != "" && (!errors.As(err, &r) || r.Address != a || !strings.Contains(r.Reason, c.refused)):
			t.Errorf("%s: %v, want a reason with %q", c.address, err, c.refused)
		}
	}
}

func TestErrorNamesTheMend(t *testing.T) {
	const want = "refusing to connect to 169.254.169.254: link-local addresses serve cloud metadata"
	a := netip.MustParseAddr("169.254.169.254")
	if err := (Policy{}).Check(a); err.Error() != want {
		t.Error(err)
	}
	if err := (Policy{Setting: "probe_allow"}).Check(a); err.Error() != want+"; allow it with probe_allow" {
		t.Error(err)
	}
}

// Dialling refuses before anything is sent, whatever the address is written like.
func TestDialer(t *testing.T) {
	for _, address := range []string{
		"169.254.169.254:80", "[::ffff:a9fe:a9fe]:80", "[64:ff9b::169.254.169.254]:80", "[fe80::1%lo]:80", "[fd00:ec2::254]:80", "0.0.0.0:80", ":80", "[::]:80", "127.0.0.1:80",
	} {
		conn, err := Policy{}.Dialer().DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "refusing to connect to") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := (Policy{}).Control("unix", "/run/docker.sock", nil); err == nil {
		t.Error("a socket in the file system is not refused")
	}
}

func TestRedirect(t *testing.T) {
	srv := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/meta-data/", http.StatusFound))
	defer srv.Close()
	transport := &http.Transport{DialContext: Policy{Loopback: true}.Dialer().DialContext}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(srv.URL)
	if err == nil {
		resp.Body.Close()
	}
	var r *Refused
	if !errors.As(err, &r) || r.Address.String() != "169.254.169.254" {
		t.Errorf("%v", err)
	}
}

// A name that is harmless the first time and link-local the second.
func TestRebinding(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var second atomic.Bool
	d := Policy{Loopback: true}.Dialer()
	d.Resolver = resolver(t, func() [4]byte {
		if second.Load() {
			return [4]byte{169, 254, 169, 254}
		}
		return [4]byte{127, 0, 0, 1}
	})
	conn, err := d.DialContext(t.Context(), "tcp", "rebind.test:"+port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	second.Store(true)
	conn, err = d.DialContext(t.Context(), "tcp", "rebind.test:"+port)
	if err == nil {
		conn.Close()
	}
	var r *Refused
	if !errors.As(err, &r) || r.Address.String() != "169.254.169.254" {
		t.Errorf("%v", err)
	}
}

// resolver returns one that asks a name server of ours, which answers every question for an IPv4 address with a's.
func resolver(t *testing.T, a func() [4]byte) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { pc.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := pc.WriteTo(answer(buf[:n], a()), from); err != nil {
				return
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// answer makes the reply to a DNS question (RFC 1035, 4.1): an A record, or none for another type.
func answer(q []byte, ip [4]byte) []byte {
	end := 12
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	question := q[12 : end+5]
	isA := binary.BigEndian.Uint16(q[end+1:]) == 1
	reply := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	if isA {
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		reply = append(reply, ip[:]...)
	}
	return reply
}
