package collector

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAllowList(t *testing.T) {
	custom := []string{"192.0.2.7", "198.51.100.0/24", " 2001:db8::/32 ", "::ffff:203.0.113.0/120"}
	for _, c := range []struct {
		ranges []string // nil: the default
		addr   string
		want   bool
	}{
		{nil, "127.0.0.1", true},
		{nil, "127.255.255.254", true},
		{nil, "10.0.0.0", true},
		{nil, "11.0.0.0", false},
		{nil, "172.15.255.255", false},
		{nil, "172.16.0.1", true},
		{nil, "172.31.255.255", true},
		{nil, "172.32.0.0", false},
		{nil, "192.168.0.1", true},
		{nil, "192.169.0.1", false},
		{nil, "169.254.1.1", true},
		{nil, "100.64.0.1", false},
		{nil, "8.8.8.8", false},
		{nil, "::1", true},
		{nil, "::2", false},
		{nil, "fe80::1", true},
		{nil, "fe80::1%eth0", true},
		{nil, "fd12::1", true},
		{nil, "2001:db8::1", false},
		{nil, "::ffff:10.1.2.3", true},
		{nil, "::ffff:8.8.8.8", false},
		{custom, "192.0.2.7", true},
		{custom, "192.0.2.8", false},
		{custom, "198.51.100.255", true},
		{custom, "::ffff:198.51.100.1", true},
		{custom, "2001:db8::5", true},
		{custom, "203.0.113.9", true},
		{custom, "203.0.114.9", false},
		{custom, "127.0.0.1", false},
		{[]string{"0.0.0.0/0"}, "8.8.8.8", true},
		{[]string{"0.0.0.0/0"}, "2001:db8::1", false},
		{[]string{"::/0"}, "2001:db8::1", true},
		{[]string{"::/0"}, "::ffff:8.8.8.8", false},
		{[]string{}, "127.0.0.1", false},
	} {
		list := PrivateSources()
		if c.ranges != nil {
			var err error
			if list, err = ParseAllowList(c.ranges); err != nil {
				t.Fatal(err)
			}
		}
		if got := list.Allowed(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s in [%s]: %v, want %v", c.addr, list, got, c.want)
		}
	}
	if PrivateSources().Allowed(netip.Addr{}) {
		t.Error("the zero address is allowed")
	}
}

func TestAllowListErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "neither an address nor a range"},
		{"private", "neither an address nor a range"},
		{"fe80::1%eth0", "neither an address nor a range"},
		{"10.0.0.0/33", "not a range"},
		{"10.0.0.1/8", "did you mean 10.0.0.0/8?"},
		{"::ffff:0.0.0.0/90", "at least 96 bits"},
	} {
		_, err := ParseAllowList([]string{"10.0.0.0/8", c.text})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"`+c.text+`"`) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}
