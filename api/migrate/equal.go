package migrate

import (
	"bytes"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// equal reports whether two valid JSON texts say the same: the order of members, blanks and escapes do not count. Numbers
// are compared by their digits, since they may be too long for any type.
func equal(a, b []byte) bool {
	switch {
	case bytes.Equal(a, b):
		return true
	case len(a) == 0 || len(b) == 0 || a[0] != b[0]:
		return false
	}
	switch a[0] {
	case '{':
		return equalObjects(a, b)
	case '[':
		return equalArrays(a, b)
	case '"':
		x, errX := jsonscan.Unquote(a)
		y, errY := jsonscan.Unquote(b)
		defer envelope.Wipe(x)
		defer envelope.Wipe(y)
		return errX == nil && errY == nil && bytes.Equal(x, y)
	}
	return false
}

func equalObjects(a, b []byte) bool {
	x, errX := jsonscan.Object(a, nil)
	y, errY := jsonscan.Object(b, nil)
	if errX != nil || errY != nil || len(x) != len(y) {
		return false
	}
	for k, v := range x {
		if w, ok := y[k]; !ok || !equal(v, w) {
			return false
		}
	}
	return true
}

func equalArrays(a, b []byte) bool {
	x, y := elements(a), elements(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !equal(x[i], y[i]) {
			return false
		}
	}
	return true
}

func elements(array []byte) (out [][]byte) {
	_ = jsonscan.Elements(array, func(e []byte) error {
		out = append(out, e)
		return nil
	})
	return out
}

// overlap returns how many of the first of source are the last of target.
func overlap(source, target [][]byte) int {
	for n := min(len(source), len(target)); n > 0; n-- {
		same := true
		for i := range n {
			same = same && equal(source[i], target[len(target)-n+i])
		}
		if same {
			return n
		}
	}
	return 0
}

func wipeAll(values [][]byte) {
	for _, v := range values {
		envelope.Wipe(v)
	}
}
