package mask

import (
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

// What a line becomes by itself, package alerting tests: incidents go by it.
func TestPattern(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"connection refused", "connection refused"},
		{"order 17 failed", "order # failed"},
		{"order \x00 failed", "order # failed"},
		{"payment_v2 failed", "# failed"},
		{"user abcd, größe Fabade", "user #, größe #"},
		{"user added, größe Facade", "user added, größe Facade"},
		{"HTTP2 to s3-node3: feed beef17 is dead, utf8 v2", "HTTP2 to s3-#: feed # is dead, utf8 #"},
		{"s3_upload of sha256:5a5a5a5a", "# of sha256:#"},
		{"2026-11-21T11:22:33.123Z from 10.0.0.7:5432", "# from #"},
		{"id 3f2504e0-4f89-11d3-9a0c-0305e82c3301.", "id #."},
		{"user \"bob smith\" isn't   here", `user "#" isn't here`},
		{"\n  first 1\nsecond", "first #"},
		{"Traceback (most recent call last):\n  File \"a.py\", line 3\nKeyError: 5", "KeyError: #"},
		{"Traceback (most recent call last):\n  x\n\u00a0KeyError: 5\u2003 ", "KeyError: #"},
		{"Traceback (most recent call last):\nadded\u00a0", "#"}, // for the block one word, which is none that it knows
		{"Traceback (most recent call last):\n\x00", "#"},
		{"Traceback (most recent call last):\n\u2003Facade was added\u00a0\u0085", "# was #"},
		{"Traceback (most recent call last):\n\x00 was \x00", "# was #"},
		{"Traceback (most recent call last):\n\u00a0 \u00a0", ""},
		{strings.Repeat("wort ", 200), strings.Repeat("wort ", 102) + "wo"},
		{strings.Repeat("x", 3000), strings.Repeat("x", 512)},
	} {
		if got := string(Pattern(nil, []byte(tt.text))); got != tt.want {
			t.Errorf("Pattern(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}

// The ledger keeps hashes for years: while the prefix stands, they must not change.
func TestFingerprint(t *testing.T) {
	var scratch []byte
	h := Hash("shop", event.Error, []byte("order # failed"), &scratch)
	if got, want := Fingerprint(h), "p1:f5b7ea37e5733b07"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if h == Hash("shop", event.Warning, []byte("order # failed"), &scratch) || h == Hash("sho", event.Error, []byte("porder # failed"), &scratch) {
		t.Error("two patterns have one fingerprint")
	}
	for _, x := range []uint64{0, 1, h, 1<<64 - 1} {
		if back, ok := ParseFingerprint(Fingerprint(x)); !ok || back != x {
			t.Errorf("%s is read as %x, %v", Fingerprint(x), back, ok)
		}
	}
	for _, bad := range []string{"", "p1:", "m1:08cbd0edcd94d12c", "p1:08cbd0edcd94d12", "p1:08CBD0EDCD94D12C", "p1:+8cbd0edcd94d12c", "p1:08cbd0edcd94d12cc"} {
		if _, ok := ParseFingerprint(bad); ok {
			t.Errorf("%s is taken for a fingerprint", bad)
		}
	}
}
