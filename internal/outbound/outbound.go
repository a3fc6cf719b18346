// Package outbound decides which addresses lookout may connect to on somebody's behalf: a probe's target or a webhook is
// named by a configuration, a container label or a redirect, and must not become a way to the credentials that clouds
// hand out to whoever connects from inside (server-side request forgery).
//
// # Use
//
//	d := outbound.Policy{Setting: "probe_allow"}.Dialer()
//	transport := &http.Transport{DialContext: d.DialContext} // and no Proxy: a proxy would resolve names itself
//
// # What it guarantees
//
// The address is judged when the socket is about to connect, after the name was resolved: neither a redirect nor a name
// that resolves differently the second time (DNS rebinding) comes past it, and each address of a name is judged by
// itself. An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo, …) is judged by both.
//
// Refused are link-local, unspecified, multicast and broadcast addresses, the metadata services of clouds that live
// elsewhere, and loopback unless the policy permits it. Private addresses (10.0.0.0/8, …) are not: services live there.
package outbound

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// Policy says where connections may go. The zero value refuses all that the package refuses.
type Policy struct {
	// Allow are prefixes that may be connected to in spite of all rules.
	Allow []netip.Prefix
	// Loopback permits 127.0.0.0/8 and ::1.
	Loopback bool
	// Setting is the name of the setting that Allow comes from; errors name it as the mend. Empty: they name none.
	Setting string
}

// Refused is why an address may not be connected to.
type Refused struct {
	Address netip.Addr // as it was to be connected to
	Reason  string     // as in "link-local addresses serve cloud metadata"
	Setting string     // Policy.Setting
}

func (r *Refused) Error() string {
	s := fmt.Sprintf("refusing to connect to %s: %s", r.Address, r.Reason)
	if r.Setting != "" {
		s += "; allow it with " + r.Setting
	}
	return s
}

// Dialer returns a dialer that connects only where the policy permits. Its other fields are the caller's to set.
func (p Policy) Dialer() *net.Dialer { return &net.Dialer{Control: p.Control} }

// Control is a [net.Dialer]'s Control: it gets the address that the socket is about to connect to.
func (p Policy) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil { // an address without a host (":80"), which means this machine, or not one of IP
		return fmt.Errorf("refusing to connect to %q: it is not an IP address with a port", address)
	}
	return p.Check(ap.Addr())
}

// Check returns nil when the policy permits a connection to the address, otherwise a [*Refused].
func (p Policy) Check(a netip.Addr) error {
	plain := a.WithZone("").Unmap()
	reason := p.refuse(plain)
	for _, inner := range embedded(plain) {
		if reason != "" {
			break
		}
		if why := p.refuse(inner); why != "" {
			reason = fmt.Sprintf("it stands for %s: %s", inner, why)
		}
	}
	if reason == "" {
		return nil
	}
	return &Refused{Address: a, Reason: reason, Setting: p.Setting}
}

// refuse returns why the policy does not permit the address, empty when it does.
func (p Policy) refuse(a netip.Addr) string {
	for _, allow := range p.Allow {
		if allow.Contains(a) || unmapped(allow).Contains(a) {
			return ""
		}
	}
	if a.IsLoopback() && p.Loopback {
		return ""
	}
	for _, r := range rules {
		if r.prefix.Contains(a) {
			return r.reason
		}
	}
	return ""
}

// unmapped returns ::ffff:10.0.0.0/104 as 10.0.0.0/8: netip never matches an IPv4 address with the former.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

type rule struct {
	prefix netip.Prefix
	reason string
}

const (
	metadata    = "it serves cloud metadata and credentials"
	linkLocal   = "link-local addresses serve cloud metadata"
	unspecified = "it means this machine, not another"
	multicast   = "multicast has no one to connect to"
)

// The first that matches gives the reason.
var rules = []rule{
	// RFC 3927. 169.254.169.254 is the metadata service of nearly every cloud; others in it: 169.254.170.2 and .23 (AWS
	// ECS, EKS), 169.254.42.42 (Scaleway), 169.254.0.23 (Tencent).
	{netip.MustParsePrefix("169.254.0.0/16"), linkLocal},
	// RFC 4291, 2.5.6. fe80::a9fe:a9fe is OpenStack's.
	{netip.MustParsePrefix("fe80::/10"), linkLocal},

	// AWS keeps its services for instances in this /32: ::254 metadata, ::23 the credentials of EKS's pods.
	{netip.MustParsePrefix("fd00:ec2::/32"), metadata},
	{netip.MustParsePrefix("fd20:ce::254/128"), metadata},       // Google Compute Engine
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), metadata}, // Oracle Cloud
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},         // Oracle Cloud Classic
	{netip.MustParsePrefix("fd00:42::42/128"), metadata},        // Scaleway
	{netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"), metadata},  // Linode
	{netip.MustParsePrefix("100.100.100.200/32"), metadata},     // Alibaba Cloud
	{netip.MustParsePrefix("fd00:100::100:200/128"), metadata},  // Alibaba Cloud
	// Azure's WireServer: a public address, reachable from every machine there, which gives out certificates and the
	// settings of extensions (learn.microsoft.com, "What is IP address 168.63.129.16").
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},

	{netip.MustParsePrefix("0.0.0.0/8"), unspecified}, // RFC 1122, 3.2.1.3; Linux takes 0.0.0.0 for loopback
	{netip.MustParsePrefix("::/128"), unspecified},
	{netip.MustParsePrefix("224.0.0.0/4"), multicast},
	{netip.MustParsePrefix("ff00::/8"), multicast},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast has no one to connect to"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback is lookout's own machine"},
	{netip.MustParsePrefix("::1/128"), "loopback is lookout's own machine"},
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, 2.5.5.1
)

// embedded returns the IPv4 addresses that an IPv6 address may stand for, as routers and tunnels on the way read it.
func embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() || a.IsUnspecified() || a.IsLoopback() {
		return nil
	}
	b := a.As16()
	v4 := func(b0, b1, b2, b3 byte) netip.Addr { return netip.AddrFrom4([4]byte{b0, b1, b2, b3}) }
	last := v4(b[12], b[13], b[14], b[15])
	switch {
	case nat64.Contains(a), translated.Contains(a), compatible.Contains(a):
		return []netip.Addr{last}
	case nat64Local.Contains(a):
		// The prefix in use may be a /48, /56, /64 or /96 of it; byte 8 is none of the address (RFC 6052, 2.2). What comes
		// out as 0.x.y.z was read by the wrong one.
		all := []netip.Addr{last, v4(b[6], b[7], b[9], b[10]), v4(b[7], b[9], b[10], b[11]), v4(b[9], b[10], b[11], b[12])}
		return slices.DeleteFunc(all, func(a netip.Addr) bool { return a.As4()[0] == 0 })
	case sixToFour.Contains(a):
		return []netip.Addr{v4(b[2], b[3], b[4], b[5])}
	case teredo.Contains(a): // the server, and the client with all bits turned
		return []netip.Addr{v4(b[4], b[5], b[6], b[7]), v4(^b[12], ^b[13], ^b[14], ^b[15])}
	case binary.BigEndian.Uint32(b[8:])&^(2<<24) == 0x00005efe: // ISATAP, RFC 5214, 6.1
		return []netip.Addr{last}
	}
	return nil
}
