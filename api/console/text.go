package console

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// functions are what templates call.
var functions = template.FuncMap{
	"at": timeText, "machine": machineTime, "ago": ago, "secs": secondsText, "link": link, "join": strings.Join, "bytes": byteText, "span": span, "unit": chooseUnit, "actor": vault.ActorName,
}

// timeText is a time for people, in UTC.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func machineTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is how far a time is from another one, in its largest two units.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	d = d.Round(time.Second)
	day := 24 * time.Hour
	switch {
	case d >= 2*365*day:
		return fmt.Sprintf("%d years", d/(365*day))
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// secondsText is a setting in seconds.
func secondsText(n int64) string {
	if n == 0 {
		return "none"
	}
	return span(time.Duration(n) * time.Second)
}

func byteText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// link is a path of the console with a query of name and value pairs, of which it leaves out those without a value.
func link(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// unitChoice is a choice of a unit in a form.
type unitChoice struct {
	Field, Label, Chosen string
	Units                []unit
}

func chooseUnit(field, label, chosen string, all []unit) unitChoice {
	return unitChoice{field, label, chosen, all}
}
