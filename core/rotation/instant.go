package rotation

import "time"

// earlier returns the earlier of two instants; a zero one does not count.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// changesClock reports whether the clocks in loc may be set on a calendar day, or so close to it that its times are
// affected.
func changesClock(day time.Time, loc *time.Location) bool {
	from := day.Add(-24 * time.Hour).In(loc)
	_, until := from.ZoneBounds()
	return !until.IsZero() && until.Before(day.Add(48*time.Hour))
}

// instants returns when the schedule comes for a local time, which wall shows in UTC: earliest first, none for a time
// that is skipped and not made up for.
func (c Schedule) instants(wall time.Time, loc *time.Location) []time.Time {
	shown, gapEnd := shownAt(wall, loc)
	switch {
	case len(shown) == 0 && c.hourly:
		return nil
	case len(shown) == 0:
		return []time.Time{gapEnd}
	case c.recurring:
		return shown
	default:
		return shown[:1]
	}
}

// shownAt returns when a clock in loc shows what wall shows in UTC, which may be once, twice or never. If it is never,
// gapEnd is when the clock was set past it. time.Date does not say which of two instants it takes, nor where it moves a
// skipped one.
func shownAt(wall time.Time, loc *time.Location) (shown []time.Time, gapEnd time.Time) {
	_, before := wall.Add(-24 * time.Hour).In(loc).Zone()
	_, after := wall.Add(24 * time.Hour).In(loc).Zone()
	offsets := []int{before}
	if after != before {
		offsets = []int{max(before, after), min(before, after)} // the larger offset is the earlier instant
	}
	for _, offset := range offsets {
		at := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		if _, is := at.Zone(); is == offset {
			shown = append(shown, at)
		}
	}
	if len(shown) == 0 {
		gapEnd, _ = wall.Add(-time.Duration(before) * time.Second).In(loc).ZoneBounds()
	}
	return shown, gapEnd
}
