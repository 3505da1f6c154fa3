package quota

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// maxN is the most that N of a Rate may be.
const maxN = 1_000_000

// Rate allows N at once, and as many again spread over Per. The zero Rate is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

var errRate = errors.New("not a rate")

// Parse reads "0", which is no limit, or a whole number that may be followed by /s, /m or /h. A number alone is a rate for
// each second.
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

// String returns what Parse reads.
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
