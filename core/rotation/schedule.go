// Package rotation decides when a secret is due. It parses schedules and computes times. It reads no clock and uses no
// database.
package rotation

import (
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MaxScheduleLen is the longest schedule, in bytes.
const MaxScheduleLen = 255

// Schedule is a parsed cron schedule of five fields: minute (0-59), hour (0-23), day of the month (1-31), month
// (1-12) and day of the week (0-7, where both 0 and 7 are Sunday). A field is *, a number, a range a-b or a list a,b.
// With /n it is every n-th value of a range or of *. When both days are restricted, a time matches if either day does,
// as in crontab(5) and POSIX. The zero Schedule never matches. Safe for concurrent use.
type Schedule struct {
	minutes, hours, days, months, weekdays uint64 // bit n: value n matches
	eitherDay                              bool   // both day fields are restricted
	recurring                              bool   // minute or hour is a wildcard: * or */n
	hourly                                 bool   // every hour matches
	text                                   string
}

type field struct {
	name     string
	min, max int
}

var fields = [5]field{
	{"minute", 0, 59}, {"hour", 0, 23}, {"day of the month", 1, 31}, {"month", 1, 12}, {"day of the week", 0, 7},
}

// Parse reads a schedule of at most MaxScheduleLen bytes, with single spaces between the fields. It refuses a schedule
// that can never match, such as 30 February. Every error is Invalid, and an error about a field names it.
func Parse(s string) (Schedule, error) {
	if len(s) > MaxScheduleLen {
		return Schedule{}, core.Errorf(core.Invalid, "schedule is %d bytes, at most %d are allowed", len(s), MaxScheduleLen)
	}
	parts := strings.Split(s, " ")
	if len(parts) != len(fields) {
		return Schedule{}, core.Errorf(core.Invalid,
			"schedule must have 5 fields separated by single spaces: minute hour day month weekday")
	}
	var bits [5]uint64
	for i, part := range parts {
		b, err := fields[i].parse(part)
		if err != nil {
			return Schedule{}, err
		}
		bits[i] = b
	}
	if bits[4]&(1<<7) != 0 {
		bits[4] = bits[4]&^(1<<7) | 1
	}
	c := Schedule{
		minutes: bits[0], hours: bits[1], days: bits[2], months: bits[3], weekdays: bits[4],
		eitherDay: !strings.HasPrefix(parts[2], "*") && !strings.HasPrefix(parts[4], "*"),
		recurring: strings.HasPrefix(parts[0], "*") || strings.HasPrefix(parts[1], "*"),
		hourly:    bits[1] == 1<<24-1,
		text:      s,
	}
	if c.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, core.Errorf(core.Invalid, "schedule never comes: there is no such day")
	}
	return c, nil
}

// String returns the text that was parsed. It is empty for the zero Schedule.
func (c Schedule) String() string { return c.text }

func (f field) parse(s string) (uint64, error) {
	var bits uint64
	for _, item := range strings.Split(s, ",") {
		b, ok := f.item(item)
		if !ok {
			return 0, core.Errorf(core.Invalid, "schedule: %s must be *, numbers from %d to %d, ranges a-b or steps /n",
				f.name, f.min, f.max)
		}
		bits |= b
	}
	return bits, nil
}

// item parses *, a, a-b, with an optional /n; a/n means a-max/n.
func (f field) item(s string) (uint64, bool) {
	span, step, stepped := strings.Cut(s, "/")
	every := 1
	if stepped {
		n, ok := number(step)
		if !ok || n < 1 || n > f.max {
			return 0, false
		}
		every = n
	}
	first, last := f.min, f.max
	if span != "*" {
		low, high, ranged := strings.Cut(span, "-")
		a, ok := number(low)
		if !ok {
			return 0, false
		}
		first = a
		switch {
		case ranged:
			if last, ok = number(high); !ok {
				return 0, false
			}
		case !stepped:
			last = first
		}
	}
	if first < f.min || last > f.max || first > last {
		return 0, false
	}
	var bits uint64
	for v := first; v <= last; v += every {
		bits |= 1 << v
	}
	return bits, true
}

// number reads one or two decimal digits: no sign, no space.
func number(s string) (int, bool) {
	if len(s) < 1 || len(s) > 2 || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// horizonYears bounds the search for a match. A 29 February on one day of the week may take 40 years, across 2100.
const horizonYears = 50

// Next returns the first matching minute strictly after t, in t's location. For the zero Schedule it returns the zero
// Time.
//
// When the clock is set back, it shows some times twice. A schedule with a wildcard minute or hour then matches each
// time, so that it does not pause. A schedule with fixed times matches the first time only. When the clock is set
// forward, it skips some times. A skipped match takes place at that instant, so that it is not left out. A schedule that
// matches in every hour anyway leaves it out.
func (c Schedule) Next(t time.Time) time.Time {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) // a calendar day, not an instant
	limit := day.AddDate(horizonYears, 0, 0)
	if c.recurring {
		day = day.AddDate(0, 0, -1) // around midnight the clock may show yesterday again
	}
	for ; day.Before(limit); day = day.AddDate(0, 0, 1) {
		at := c.within(day, t)
		if at.IsZero() {
			continue
		}
		if tomorrow := day.AddDate(0, 0, 1); c.recurring && changesClock(tomorrow, t.Location()) {
			return earlier(at, c.within(tomorrow, t))
		}
		return at
	}
	return time.Time{}
}

func (c Schedule) matchesDay(day time.Time) bool {
	if c.months&(1<<int(day.Month())) == 0 {
		return false
	}
	byDate := c.days&(1<<day.Day()) != 0
	byWeekday := c.weekdays&(1<<int(day.Weekday())) != 0
	if c.eitherDay {
		return byDate || byWeekday
	}
	return byDate && byWeekday
}

// within returns the first instant after t at which the schedule comes for a calendar day, zero if there is none.
func (c Schedule) within(day, t time.Time) (first time.Time) {
	if !c.matchesDay(day) {
		return first
	}
	changes := changesClock(day, t.Location())
	for h := range 24 {
		if c.hours&(1<<h) == 0 {
			continue
		}
		for m := range 60 {
			if c.minutes&(1<<m) == 0 {
				continue
			}
			wall := day.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute)
			for _, at := range c.instants(wall, t.Location()) {
				if at.After(t) {
					first = earlier(first, at)
				}
			}
			if !first.IsZero() && !changes {
				return first // later local times are later instants
			}
		}
	}
	return first
}
