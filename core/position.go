package core

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log of a PostgreSQL cluster, in bytes since its beginning. The zero LSN means
// none.
type LSN uint64

// ParseLSN reads the text form of PostgreSQL: two hexadecimal numbers of at most 32 bits, as in 16/B374D848, in either
// case of letters. Anything else is an Invalid error. So is 0/0, because no log has a record that ends there.
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	h, herr := parseHalf(high)
	l, lerr := parseHalf(low)
	if !ok || herr != nil || lerr != nil || h|l == 0 {
		return 0, Errorf(Invalid, "an LSN is two hexadecimal numbers with a slash between, as in 16/B374D848")
	}
	return LSN(h<<32 | l), nil
}

// parseHalf takes digits alone: ParseUint would accept a sign or underscores in other bases, not in base 16.
func parseHalf(s string) (uint64, error) { return strconv.ParseUint(s, 16, 32) }

// String returns the text form that PostgreSQL prints.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// Position is an LSN with its timeline. Every promotion starts a timeline with a greater number. A server that was left
// behind and the new timeline of the cluster both write records at the same LSNs, so an LSN alone is ambiguous. The zero
// Position means none.
type Position struct {
	Timeline uint32 // 0 = not known: from a time before positions had one, or typed by hand
	LSN      LSN
}

// ParsePosition reads what String returns. Anything else is an Invalid error.
func ParsePosition(s string) (p Position, err error) {
	timeline, lsn, ok := strings.Cut(s, "-")
	if !ok {
		timeline, lsn = "", s
	}
	if ok {
		n, err := strconv.ParseUint(timeline, 10, 32)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != timeline {
			return Position{}, Errorf(Invalid, "a timeline is a whole number from 1, without sign or leading zeros")
		}
		p.Timeline = uint32(n)
	}
	if p.LSN, err = ParseLSN(lsn); err != nil {
		return Position{}, err
	}
	return p, nil
}

// String returns the timeline and the LSN as in 3-16/B374D848, or the LSN alone.
func (p Position) String() string {
	if p.Timeline == 0 {
		return p.LSN.String()
	}
	return strconv.FormatUint(uint64(p.Timeline), 10) + "-" + p.LSN.String()
}
