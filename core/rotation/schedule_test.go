package rotation_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/rotation"
)

const layout = "2006-01-02 15:04:05 -0700"

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func mustParse(t testing.TB, s string) rotation.Schedule {
	t.Helper()
	c, err := rotation.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return c
}

func TestNext(t *testing.T) {
	for _, test := range []struct {
		name, schedule, zone, from string
		want                       []string // one after the other
	}{
		{"every minute", "* * * * *", "UTC", "2026-03-01 10:00:30 +0000",
			[]string{"2026-03-01 10:01:00 +0000", "2026-03-01 10:02:00 +0000"}},
		{"strictly after", "0 3 * * *", "UTC", "2026-03-01 03:00:00 +0000", []string{"2026-03-02 03:00:00 +0000"}},
		{"a nanosecond before", "0 3 * * *", "UTC", "2026-03-01 02:59:59.999999999 +0000", []string{"2026-03-01 03:00:00 +0000"}},
		{"steps", "*/20 * * * *", "UTC", "2026-03-01 10:05:00 +0000",
			[]string{"2026-03-01 10:20:00 +0000", "2026-03-01 10:40:00 +0000", "2026-03-01 11:00:00 +0000"}},
		{"steps from a number", "50/5 * * * *", "UTC", "2026-03-01 10:51:00 +0000",
			[]string{"2026-03-01 10:55:00 +0000", "2026-03-01 11:50:00 +0000"}},
		{"a range with steps and a list", "0 8-12/2,20 * * *", "UTC", "2026-03-01 09:00:00 +0000",
			[]string{"2026-03-01 10:00:00 +0000", "2026-03-01 12:00:00 +0000", "2026-03-01 20:00:00 +0000"}},
		{"end of the year", "59 23 31 12 *", "UTC", "2026-12-31 23:59:00 +0000", []string{"2027-12-31 23:59:00 +0000"}},
		{"both Sundays", "0 0 * * 7", "UTC", "2026-11-23 00:00:00 +0000",
			[]string{"2026-11-29 00:00:00 +0000", "2026-12-06 00:00:00 +0000"}},
		{"Sunday is 0 as well", "0 0 * * 0", "UTC", "2026-11-23 00:00:00 +0000", []string{"2026-11-29 00:00:00 +0000"}},
		{"a range up to 7", "0 0 * * 6-7", "UTC", "2026-11-23 00:00:00 +0000",
			[]string{"2026-11-28 00:00:00 +0000", "2026-11-29 00:00:00 +0000", "2026-12-05 00:00:00 +0000"}},
		{"either day when both are restricted", "0 0 13 * 5", "UTC", "2026-11-05 00:00:00 +0000",
			[]string{"2026-11-06 00:00:00 +0000", "2026-11-13 00:00:00 +0000", "2026-11-20 00:00:00 +0000"}},
		{"both days when one is a star", "0 0 */2 * 1", "UTC", "2026-11-23 00:00:00 +0000",
			[]string{"2026-12-07 00:00:00 +0000", "2026-12-21 00:00:00 +0000"}},
		{"31st skips short months", "0 0 31 * *", "UTC", "2026-08-31 00:00:00 +0000",
			[]string{"2026-10-31 00:00:00 +0000", "2026-12-31 00:00:00 +0000"}},
		{"leap day", "0 0 29 2 *", "UTC", "2024-02-29 00:00:00 +0000", []string{"2028-02-29 00:00:00 +0000"}},
		{"leap day across 2100", "0 0 29 2 *", "UTC", "2096-02-29 00:00:00 +0000", []string{"2104-02-29 00:00:00 +0000"}},
		{"leap day on a Sunday", "0 0 29 2 */7", "UTC", "2033-01-01 00:00:00 +0000", []string{"2060-02-29 00:00:00 +0000"}},

		{"Berlin, in the gap: at its end", "30 2 * * *", "Europe/Berlin", "2026-03-28 12:00:00 +0100",
			[]string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:30:00 +0200"}},
		{"Berlin, a gap full of times is one", "*/10 2 * * *", "Europe/Berlin", "2026-03-29 01:00:00 +0100",
			[]string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:00:00 +0200"}},
		{"Berlin, every minute over the gap", "* * * * *", "Europe/Berlin", "2026-03-29 01:58:00 +0100",
			[]string{"2026-03-29 01:59:00 +0100", "2026-03-29 03:00:00 +0200", "2026-03-29 03:01:00 +0200"}},
		{"Berlin, the doubled hour: the first", "30 2 * * *", "Europe/Berlin", "2026-10-24 12:00:00 +0200",
			[]string{"2026-10-25 02:30:00 +0200", "2026-10-26 02:30:00 +0100"}},
		{"Berlin, from the second of the doubled hour", "30 2 * * *", "Europe/Berlin", "2026-10-25 02:10:00 +0100",
			[]string{"2026-10-26 02:30:00 +0100"}},
		{"Berlin, midnight around both", "0 0 29 3 *", "Europe/Berlin", "2026-03-01 00:00:00 +0100",
			[]string{"2026-03-29 00:00:00 +0100", "2027-03-29 00:00:00 +0200"}},

		{"New York, in the gap: at its end", "30 2 * * *", "America/New_York", "2026-03-07 12:00:00 -0500",
			[]string{"2026-03-08 03:00:00 -0400", "2026-03-09 02:30:00 -0400"}},
		{"New York, the doubled hour: the first", "30 1 * * *", "America/New_York", "2026-10-31 12:00:00 -0400",
			[]string{"2026-11-01 01:30:00 -0400", "2026-11-02 01:30:00 -0500"}},
		{"New York, from the second of the doubled hour", "30 1 * * *", "America/New_York", "2026-11-01 01:00:00 -0500",
			[]string{"2026-11-02 01:30:00 -0500"}},

		{"New York, every minute through the doubled hour", "* * * * *", "America/New_York", "2026-11-01 01:58:00 -0400",
			[]string{"2026-11-01 01:59:00 -0400", "2026-11-01 01:00:00 -0500", "2026-11-01 01:01:00 -0500"}},
		{"New York, hourly through the doubled hour", "0 * * * *", "America/New_York", "2026-11-01 00:30:00 -0400",
			[]string{"2026-11-01 01:00:00 -0400", "2026-11-01 01:00:00 -0500", "2026-11-01 02:00:00 -0500"}},
		{"New York, hourly over the gap", "30 * * * *", "America/New_York", "2026-03-08 01:00:00 -0500",
			[]string{"2026-03-08 01:30:00 -0500", "2026-03-08 03:30:00 -0400"}},
		{"New York, every quarter of one hour, through both", "*/30 1 * * *", "America/New_York", "2026-11-01 01:10:00 -0400",
			[]string{"2026-11-01 01:30:00 -0400", "2026-11-01 01:00:00 -0500", "2026-11-01 01:30:00 -0500", "2026-11-02 01:00:00 -0500"}},
		{"Berlin, every other hour through the doubled one", "0 */2 * * *", "Europe/Berlin", "2026-10-25 01:00:00 +0200",
			[]string{"2026-10-25 02:00:00 +0200", "2026-10-25 02:00:00 +0100", "2026-10-25 04:00:00 +0100"}},
		{"every six hours, a gap at midnight", "0 */6 * * *", "America/Santiago", "2026-09-05 19:00:00 -0400",
			[]string{"2026-09-06 01:00:00 -0300", "2026-09-06 06:00:00 -0300"}},
		{"every minute, the doubled hour before midnight", "* * * * *", "America/Santiago", "2026-04-04 23:58:00 -0300",
			[]string{"2026-04-04 23:59:00 -0300", "2026-04-04 23:00:00 -0400", "2026-04-04 23:01:00 -0400"}},
		{"half an hour doubled, hourly", "45 * * * *", "Australia/Lord_Howe", "2026-04-05 01:00:00 +1100",
			[]string{"2026-04-05 01:45:00 +1100", "2026-04-05 01:45:00 +1030", "2026-04-05 02:45:00 +1030"}},
		{"two hours doubled", "0 * * * *", "Antarctica/Troll", "2026-10-25 01:30:00 +0200",
			[]string{"2026-10-25 02:00:00 +0200", "2026-10-25 01:00:00 +0000", "2026-10-25 02:00:00 +0000", "2026-10-25 03:00:00 +0000"}},
		{"every minute over a day that never was", "* * * * *", "Pacific/Apia", "2011-12-29 23:58:00 -1000",
			[]string{"2011-12-29 23:59:00 -1000", "2011-12-31 00:00:00 +1400"}},

		{"half an hour of daylight saving", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00:00 +1030",
			[]string{"2026-10-04 02:30:00 +1100", "2026-10-05 02:15:00 +1100"}},
		{"a gap at midnight", "0 0 * * *", "America/Santiago", "2026-09-05 12:00:00 -0400",
			[]string{"2026-09-06 01:00:00 -0300", "2026-09-07 00:00:00 -0300"}},
		{"a day that never was", "0 12 30 12 *", "Pacific/Apia", "2011-12-29 12:00:00 -1000",
			[]string{"2011-12-31 00:00:00 +1400", "2012-12-30 12:00:00 +1400"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := mustParse(t, test.schedule)
			from, err := time.Parse(layout, test.from)
			if err != nil {
				t.Fatal(err)
			}
			at := from.In(zone(t, test.zone))
			for i, want := range test.want {
				at = c.Next(at)
				if got := at.Format(layout); got != want {
					t.Fatalf("time %d after %s is %s, want %s", i+1, test.from, got, want)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"empty":                "",
		"four fields":          "* * * *",
		"six fields":           "* * * * * *",
		"two spaces":           "*  * * * *",
		"a space at the end":   "* * * * * ",
		"a tab":                "*\t* * * *",
		"a macro":              "@daily",
		"a name":               "0 0 * jan *",
		"minute over":          "60 * * * *",
		"hour over":            "* 24 * * *",
		"day zero":             "* * 0 * *",
		"day over":             "* * 32 * *",
		"month zero":           "* * * 0 *",
		"month over":           "* * * 13 *",
		"weekday over":         "* * * * 8",
		"a range backwards":    "30-10 * * * *",
		"a range over":         "50-60 * * * *",
		"a range without end":  "5- * * * *",
		"a range of nothing":   "- * * * *",
		"a range of three":     "1-2-3 * * * *",
		"step zero":            "*/0 * * * *",
		"step over":            "*/60 * * * *",
		"step of nothing":      "*/ * * * *",
		"step negative":        "*/-5 * * * *",
		"two steps":            "*/5/5 * * * *",
		"negative":             "-1 * * * *",
		"a sign":               "+1 * * * *",
		"three digits":         "007 * * * *",
		"a letter":             "1a * * * *",
		"an empty item":        "1,,2 * * * *",
		"a comma at the end":   "1, * * * *",
		"a star in a range":    "*-5 * * * *",
		"other digits":         "١ * * * *",
		"a zero byte":          "0\x00 * * * *",
		"30 February":          "0 0 30 2 *",
		"31 of short months":   "0 0 31 4,6,9,11 *",
		"30 February, stepped": "0 0 30 2 */2",
		"too long":             strings.Repeat("0,", 150) + "0 * * * *",
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := rotation.Parse(s); core.CodeOf(err) != core.Invalid || c.String() != "" {
				t.Errorf("Parse(%q) = %q, %v, want an invalid error", s, c, err)
			}
		})
	}
}

func TestZeroScheduleNeverComes(t *testing.T) {
	var c rotation.Schedule
	if at := c.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); !at.IsZero() {
		t.Errorf("the zero schedule comes at %s", at)
	}
}

// TestNextAgainstMinutes compares Next with going through every minute of a while.
func TestNextAgainstMinutes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	zones := []*time.Location{time.UTC, zone(t, "Europe/Berlin"), zone(t, "America/New_York"), zone(t, "Asia/Kathmandu"),
		zone(t, "Australia/Lord_Howe"), zone(t, "Antarctica/Troll"), zone(t, "Africa/Casablanca"), zone(t, "America/Santiago")}
	for range 600 {
		text := randomSchedule(r)
		c, err := rotation.Parse(text)
		if err != nil {
			continue
		}
		from := time.Unix(r.Int64N(1<<31), r.Int64N(1e9)).In(zones[r.IntN(len(zones))])
		if _, set := from.ZoneBounds(); r.IntN(2) == 0 && !set.IsZero() {
			from = set.Add(time.Duration(r.IntN(6*60)-3*60) * time.Minute) // around where the clock is set
		}
		at := c.Next(from)
		if !at.After(from) {
			t.Fatalf("%q: %s does not come after %s", text, at, from)
		}
		if at.Second() != 0 || at.Nanosecond() != 0 {
			t.Fatalf("%q: %s is not a full minute", text, at)
		}
		checkMinutes(t, text, from, at)
	}
}

// checkMinutes fails unless at is the first matching minute after from, or the end of a gap that holds one.
func checkMinutes(t *testing.T, text string, from, at time.Time) {
	t.Helper()
	const most = 10 * 24 * 60
	first := from.Truncate(time.Minute).Add(time.Minute)
	for m, n := first, 0; m.Before(at) && n < most; m, n = m.Add(time.Minute), n+1 {
		if matches(text, m) && (recurring(text) || !second(m)) {
			t.Fatalf("%q: %s matches between %s and %s", text, m, from, at)
		}
	}
	if start, _ := at.ZoneBounds(); !matches(text, at) && !start.Equal(at) {
		t.Fatalf("%q: %s does not match", text, at)
	}
}

// recurring reports whether minute or hour is a wildcard.
func recurring(text string) bool {
	f := strings.Split(text, " ")
	return f[0][0] == '*' || f[1][0] == '*'
}

// second reports whether m is the second time that a clock shows what it shows.
func second(m time.Time) bool {
	_, now := m.Zone()
	_, before := m.Add(-3 * time.Hour).Zone()
	if now >= before {
		return false
	}
	earlier := m.Add(time.Duration(now-before) * time.Second)
	return earlier.Format("15:04") == m.Format("15:04")
}

// matches is the rule read out naively, a field at a time.
func matches(text string, m time.Time) bool {
	f := strings.Split(text, " ")
	in := func(field string, v, low, high int) bool {
		for _, item := range strings.Split(field, ",") {
			a, b, n := low, high, 1
			span, step, stepped := strings.Cut(item, "/")
			if stepped {
				n, _ = strconv.Atoi(step)
			}
			if span != "*" {
				from, to, ranged := strings.Cut(span, "-")
				a, _ = strconv.Atoi(from)
				if b = high; ranged {
					b, _ = strconv.Atoi(to)
				} else if !stepped {
					b = a
				}
			}
			if v >= a && v <= b && (v-a)%n == 0 {
				return true
			}
		}
		return false
	}
	weekday := in(f[4], int(m.Weekday()), 0, 7) || m.Weekday() == time.Sunday && in(f[4], 7, 0, 7)
	day := in(f[2], m.Day(), 1, 31)
	either := f[2][0] != '*' && f[4][0] != '*'
	days := day && weekday
	if either {
		days = day || weekday
	}
	return in(f[0], m.Minute(), 0, 59) && in(f[1], m.Hour(), 0, 23) && in(f[3], int(m.Month()), 1, 12) && days
}

func randomSchedule(r *rand.Rand) string {
	bounds := [5][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}}
	parts := make([]string, 5)
	for i, b := range bounds {
		n := func() int { return b[0] + r.IntN(b[1]-b[0]+1) }
		switch r.IntN(5) {
		case 0:
			parts[i] = fmt.Sprint(n())
		case 1:
			parts[i] = fmt.Sprintf("%d,%d", n(), n())
		case 2:
			a, z := n(), n()
			parts[i] = fmt.Sprintf("%d-%d/%d", min(a, z), max(a, z), 1+r.IntN(3))
		case 3:
			parts[i] = fmt.Sprintf("*/%d", 1+r.IntN(5))
		default:
			parts[i] = "*"
		}
	}
	return strings.Join(parts, " ")
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"* * * * *", "*/5 1-3,7 1,15 2-11/3 0-7", "0 0 29 2 */7", "59 23 31 12 7", "0 0 30 2 *", "a", ""} {
		f.Add(s)
	}
	from := time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := rotation.Parse(s)
		if err != nil {
			if core.CodeOf(err) != core.Invalid || c != (rotation.Schedule{}) {
				t.Fatalf("Parse(%q) = %+v, %v", s, c, err)
			}
			return
		}
		again, err := rotation.Parse(c.String())
		if err != nil || again != c || c.String() != s {
			t.Fatalf("Parse(%q) = %+v, parsed again: %+v, %v", s, c, again, err)
		}
		if at := c.Next(from); !at.After(from) {
			t.Fatalf("%q: the next time after %s is %s", s, from, at)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	c := mustParse(b, "30 3 29 2 *")
	from := time.Date(2024, 3, 1, 0, 0, 0, 0, zone(b, "Europe/Berlin"))
	for b.Loop() {
		c.Next(from)
	}
}
