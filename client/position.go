package client

import (
	"strconv"
	"strings"
)

// position is a place in the write-ahead log: timeline, then LSN.
type position struct {
	timeline, lsn uint64
}

func (p position) less(q position) bool {
	return p.timeline < q.timeline || p.timeline == q.timeline && p.lsn < q.lsn
}

// parsePosition reads the form TIMELINE-HIGH/LOW of the header Vault-Lsn.
func parsePosition(s string) (position, bool) {
	timeline, lsn, ok := strings.Cut(s, "-")
	high, low, slash := strings.Cut(lsn, "/")
	t, terr := strconv.ParseUint(timeline, 10, 32)
	h, herr := strconv.ParseUint(high, 16, 32)
	l, lerr := strconv.ParseUint(low, 16, 32)
	if !ok || !slash || terr != nil || herr != nil || lerr != nil || t == 0 {
		return position{}, false
	}
	return position{timeline: t, lsn: h<<32 | l}, true
}
