package vault

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// LSN is a place in the write-ahead log of a PostgreSQL cluster: bytes since its beginning. The zero LSN means none.
type LSN uint64

// ParseLSN reads the text form of PostgreSQL, two hexadecimal numbers of at most 32 bits as in 16/B374D848, in either
// case of letters. Anything else, 0/0 included, is Invalid: no log has a record that ends there.
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	h, herr := parseHalf(high)
	l, lerr := parseHalf(low)
	if !ok || herr != nil || lerr != nil || h|l == 0 {
		return 0, core.Errorf(core.Invalid, "an LSN is two hexadecimal numbers with a slash between, as in 16/B374D848")
	}
	return LSN(h<<32 | l), nil
}

// parseHalf takes digits alone: ParseUint would accept a sign or underscores in other bases, not in base 16.
func parseHalf(s string) (uint64, error) { return strconv.ParseUint(s, 16, 32) }

// String returns the text form that PostgreSQL prints.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// Freshness is how recent the state must be that a read sees. The zero Freshness is whatever the reader has: on a
// standby that is what has been replayed there.
type Freshness struct {
	// Primary asks the primary and believes no server that is in recovery.
	Primary bool
	// LSN is what must have been replayed where the read is done; zero = nothing in particular. A reader that does not
	// get there soon is passed over for the primary.
	LSN LSN
}
