package console

import (
	"fmt"
	"time"
)

const (
	timelineWidth    = 640
	timelineLabel    = 48 // of the width, for the number of the version
	timelineBar      = 16 // height of a bar with its gap
	timelineVersions = 8  // the newest ones
)

// timeline draws how long versions were current and in grace.
type timeline struct {
	Width, Height int
	Now           int // x of the present
	Bars          []bar
	Text          string // for those who do not see it
}

// bar is one version. X and the two widths are in the units of the drawing.
type bar struct {
	Version            uint64
	Y, X, Live, Grace  int
	TextY, GraceX, End int
	State              string
}

func timelineOf(versions []versionRow, now time.Time) (out timeline) {
	shown := versions[:min(len(versions), timelineVersions)]
	if len(shown) == 0 {
		return out
	}
	first, last := shown[len(shown)-1].CreatedAt, now
	for _, v := range shown {
		if v.State == "in grace" && v.ExpiresAt.After(last) {
			last = v.ExpiresAt
		}
	}
	whole := max(last.Sub(first), time.Second)
	x := func(t time.Time) int {
		if t.After(last) {
			t = last
		}
		return timelineLabel + int(float64(timelineWidth-timelineLabel)*float64(t.Sub(first))/float64(whole))
	}
	out.Width, out.Height, out.Now = timelineWidth, timelineBar*len(shown)+4, x(now)
	for i, v := range shown {
		superseded := now
		if i > 0 {
			superseded = shown[i-1].CreatedAt
		}
		b := bar{Version: v.Version, Y: timelineBar*i + 2, TextY: timelineBar*i + 13, X: x(v.CreatedAt), State: v.State}
		b.GraceX = x(superseded)
		b.Live = max(b.GraceX-b.X, 2)
		if i > 0 && v.ExpiresAt.After(superseded) {
			b.Grace = max(x(v.ExpiresAt)-b.GraceX, 1)
		}
		out.Bars = append(out.Bars, b)
	}
	out.Text = fmt.Sprintf("Timeline of the newest %d versions, from %s to %s. The table below has the same as text.", len(shown), timeText(first), timeText(last))
	return out
}
