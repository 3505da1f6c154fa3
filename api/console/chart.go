package console

import (
	"fmt"
	"strings"
	"time"
)

// The size of a chart in the units of its drawing.
const (
	chartWidth  = 288 // five minutes of a day each
	chartHeight = 56
	chartFloor  = chartHeight - 2
)

// chart is one line over the last day.
type chart struct {
	Title         string
	Now, Most     string // values as text
	Text          string // for those who do not see it
	Width, Height int
	Floor         int
	Line, Area    string // points of a polyline and of a polygon
	Empty         bool
}

// chartOf draws what of makes of the samples. Each unit of the width shows the largest value of its five minutes.
func chartOf(title string, all []sample, now time.Time, text func(int64) string, of func(sample) int64) chart {
	c := chart{Title: title, Width: chartWidth, Height: chartHeight, Floor: chartFloor}
	start := now.Add(-chartSpan)
	var peaks [chartWidth + 1]int64
	var seen [chartWidth + 1]bool
	most, last := int64(0), int64(0)
	for _, s := range all {
		x := int(s.at.Sub(start) * chartWidth / chartSpan)
		if x < 0 || x > chartWidth {
			continue
		}
		last = of(s)
		peaks[x], seen[x] = max(peaks[x], last), true
		most = max(most, last)
	}
	if c.Empty = len(all) == 0; c.Empty {
		c.Now, c.Text = "–", title+": nothing is known yet."
		return c
	}
	c.Now, c.Most = text(last), text(most)
	c.Text = fmt.Sprintf("%s in the last day: now %s, at most %s.", title, c.Now, c.Most)
	c.Line, c.Area = points(peaks[:], seen[:], most)
	return c
}

func points(peaks []int64, seen []bool, most int64) (line, area string) {
	var b strings.Builder
	first, end := -1, 0
	for x, n := range peaks {
		if !seen[x] {
			continue
		}
		if first < 0 {
			first = x
		}
		end = x
		y := int64(chartFloor)
		if most > 0 {
			y -= n * (chartFloor - 4) / most
		}
		fmt.Fprintf(&b, "%d,%d ", x, y)
	}
	line = strings.TrimSpace(b.String())
	return line, fmt.Sprintf("%d,%d %s %d,%d", first, chartFloor, line, end, chartFloor)
}
