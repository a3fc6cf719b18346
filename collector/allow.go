package collector

import (
	"fmt"
	"net/netip"
	"strings"
)

// AllowList is the set of addresses an input without authentication accepts events from. The zero value allows none.
type AllowList struct {
	prefixes []netip.Prefix
}

// PrivateSources is the default: loopback, the private IPv4 ranges of RFC 1918, IPv6's unique local ones, and link-local
// addresses.
func PrivateSources() AllowList {
	return AllowList{prefixes: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("fc00::/7"),
		netip.MustParsePrefix("fe80::/10"),
	}}
}

// ParseAllowList reads ranges (10.0.0.0/8, fd00::/8) and single addresses (192.0.2.7). The IPv4 form that is mapped into
// IPv6 is taken for IPv4.
func ParseAllowList(texts []string) (AllowList, error) {
	a := AllowList{prefixes: make([]netip.Prefix, 0, len(texts))}
	for _, text := range texts {
		p, err := parsePrefix(strings.TrimSpace(text))
		if err != nil {
			return AllowList{}, fmt.Errorf("allowed source %q: %w", text, err)
		}
		a.prefixes = append(a.prefixes, p)
	}
	return a, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("neither an address nor a range; write it as 10.1.2.3 or 10.0.0.0/8")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("not a range; write it as 10.0.0.0/8")
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("a range of mapped IPv4 addresses has at least 96 bits; write it as 10.0.0.0/8")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("bits are set behind the range's %d; did you mean %s?", p.Bits(), p.Masked())
	}
	return p, nil
}

// Allowed reports whether events from addr are accepted. A mapped IPv4 address counts as IPv4, a zone is ignored.
func (a AllowList) Allowed(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range a.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// IsZero reports whether a is the zero value, which inputs take for "not set".
func (a AllowList) IsZero() bool { return a.prefixes == nil }

// String lists the ranges, separated by a comma and a space.
func (a AllowList) String() string {
	texts := make([]string, len(a.prefixes))
	for i, p := range a.prefixes {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
