package block

import (
	"fmt"
	"math"
	"testing"
)

func TestPutDigits(t *testing.T) {
	numbers := []uint64{0, 1, math.MaxUint64 - 1, math.MaxUint64}
	for x := uint64(10); ; x *= 10 {
		numbers = append(numbers, x-2, x-1, x, x+1, 5*x/2)
		if x > math.MaxUint64/10 {
			break
		}
	}
	for _, x := range numbers {
		for digits := range maxDigits {
			want := fmt.Sprintf("%0*d", digits, x)
			if got := string(appendDigits([]byte("x"), x, digits)); got != "x"+want {
				t.Errorf("%d with %d digits: %s", x, digits, got)
			}
		}
		if got := digitsOf(x); got != len(fmt.Sprint(x)) {
			t.Errorf("%d: %d digits", x, got)
		}
	}
}

func TestCopyText(t *testing.T) {
	text := []byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	for from := range len(text) - copyStep {
		for to := from; to <= len(text)-copyStep; to++ {
			dst := make([]byte, 3+len(text)+copyStep)
			if end := copyText(dst, 3, text, from, to); string(dst[3:end]) != string(text[from:to]) {
				t.Fatalf("%d to %d: %q", from, to, dst[3:end])
			}
		}
	}
}
