package quota

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// maxN is the most that N of a Rate may be.
const maxN = 1_000_000

// Rate allows N requests at once, and N more spread over each Per. The zero Rate is no limit. N is at most 1,000,000.
type Rate struct {
	N   int
	Per time.Duration
}

var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

var errRate = errors.New("not a rate")

// Parse reads a rate as "0", "100", "100/s", "100/m" or "100/h". "0" is no limit. A number alone is a rate per
// second. The number is whole and at most 1,000,000. The error does not say what is wrong.
func Parse(s string) (Rate, error) {
	digits, unit, given := strings.Cut(s, "/")
	if !given {
		unit = "s"
	}
	per, ok := units[unit]
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || !ok || n > maxN {
		return Rate{}, errRate
	}
	if n == 0 {
		return Rate{}, nil
	}
	return Rate{N: int(n), Per: per}, nil
}

// Unlimited reports whether the rate bounds nothing.
func (r Rate) Unlimited() bool { return r.N == 0 }

// String returns a text that Parse reads as the same rate. The zero Rate is "0".
func (r Rate) String() string {
	for unit, per := range units {
		if r.Per == per && r.N != 0 {
			return strconv.Itoa(r.N) + "/" + unit
		}
	}
	return strconv.Itoa(r.N)
}

// interval is how long one takes to come back.
func (r Rate) interval() time.Duration { return r.Per / time.Duration(r.N) }
