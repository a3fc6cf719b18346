package recent

import (
	"fmt"
	"testing"
)

func TestNames(t *testing.T) {
	var n Names[int]
	if _, ok := n.Get(nil); ok {
		t.Error("the empty name was found before it was put")
	}
	n.Put(nil, 7)
	if v, ok := n.Get(nil); !ok || v != 7 {
		t.Error(v, ok)
	}
	want := map[string]int{}
	for i := range 1000 {
		name := fmt.Sprintf("service-%d", i*i%97)
		n.Put([]byte(name), i)
		want[name] = i
		if v, ok := n.Get([]byte(name)); !ok || v != i {
			t.Fatalf("%s: %d, %v", name, v, ok)
		}
	}
	found := 0
	for name, i := range want {
		if v, ok := n.Get([]byte(name)); ok {
			found++
			if v != i {
				t.Errorf("%s: %d, want %d", name, v, i)
			}
		}
	}
	long := make([]byte, 300)
	n.Put(long, 1)
	if _, ok := n.Get(long); ok {
		t.Error("a name of 300 bytes was kept")
	}
	if found == 0 {
		t.Error("nothing was found again")
	}
}

func BenchmarkGet(b *testing.B) {
	var n Names[int]
	name := []byte("payments-7")
	n.Put(name, 1)
	for b.Loop() {
		if _, ok := n.Get(name); !ok {
			b.Fatal("not found")
		}
	}
}
