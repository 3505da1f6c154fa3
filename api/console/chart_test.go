package console

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestChart(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var s samples
	for i := range 2 * maxSamples { // two days
		s.add(sample{at: now.Add(time.Duration(i-2*maxSamples+1) * sampleEvery), due: int64(i % 7)})
	}
	all := s.last(now.Add(-chartSpan))
	if len(all) != maxSamples || !all[len(all)-1].at.Equal(now) {
		t.Fatalf("%d samples, the last of %v", len(all), all[len(all)-1].at)
	}
	c := chartOf("Due", all, now, func(n int64) string { return fmt.Sprint(n) }, func(s sample) int64 { return s.due })
	points := strings.Fields(c.Line)
	if len(points) != chartWidth+1 || c.Most != "6" || c.Empty || !strings.HasPrefix(points[0], "0,") || !strings.HasPrefix(points[chartWidth], "288,") {
		t.Errorf("%d points, at most %s", len(points), c.Most)
	}
	for _, p := range points {
		var x, y int
		if _, err := fmt.Sscanf(p, "%d,%d", &x, &y); err != nil || y < 0 || y > chartFloor {
			t.Errorf("point %q", p)
		}
	}
	if c := chartOf("Due", nil, now, nil, nil); !c.Empty || c.Now != "–" {
		t.Errorf("without samples: %+v", c)
	}
}

func TestTimeline(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := secretPage{Now: now}
	p.CurrentVersion = 3
	rows := []versionRow{{State: "current"}, {State: "in grace"}, {State: "ended"}}
	for i := range rows {
		rows[i].Version, rows[i].CreatedAt = uint64(3-i), now.Add(-time.Duration(i+1)*time.Hour)
	}
	rows[1].ExpiresAt, rows[2].ExpiresAt = now.Add(time.Hour), now.Add(-2*time.Hour)
	l := timelineOf(rows, now)
	if len(l.Bars) != 3 || l.Bars[0].Grace != 0 || l.Bars[1].Grace == 0 || l.Bars[2].Grace != 0 {
		t.Fatalf("%+v", l)
	}
	for _, b := range l.Bars {
		if b.X < timelineLabel || b.X+b.Live > timelineWidth+2 || b.GraceX+b.Grace > timelineWidth+1 {
			t.Errorf("outside: %+v", b)
		}
	}
	if b := l.Bars[1]; b.GraceX+b.Grace != timelineWidth || l.Now >= timelineWidth {
		t.Errorf("the grace ends at %d, and now is %d", b.GraceX+b.Grace, l.Now)
	}
	if l := timelineOf(nil, now); len(l.Bars) != 0 {
		t.Error("bars without versions")
	}
}
