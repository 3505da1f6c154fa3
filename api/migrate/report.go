package migrate

import (
	"fmt"
	"io"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Report says what a run has done. It is right, too, when the run ended with an error.
type Report struct {
	Written, Versions, Same int
	Differ, Refused, Losses []Note
}

// Note is about one secret.
type Note struct{ Name, Text string }

// Complete reports whether the target has all that the source has.
func (r *Report) Complete() bool { return len(r.Differ)+len(r.Refused) == 0 }

// Any reports whether there is anything to report.
func (r *Report) Any() bool {
	return r.Written+r.Same+len(r.Differ)+len(r.Refused)+len(r.Losses) > 0
}

// log has the lines and the report of one run. done is what a run does to a secret.
type log struct {
	out    io.Writer
	done   string
	report Report
}

func (l *log) say(name, format string, args ...any) {
	_, _ = fmt.Fprintf(l.out, "%s: %s\n", shown(name), fmt.Sprintf(format, args...))
}

// shown is a name in an output: a plain one as it is.
func shown(name string) string {
	if _, err := core.ParseName(name); err == nil {
		return name
	}
	return core.Quote(name)
}

func (l *log) refuse(name, why string) {
	l.say(name, "not %s: %s", l.done, why)
	l.report.Refused = append(l.report.Refused, Note{shown(name), why})
}

func (l *log) lose(name, what string) {
	l.report.Losses = append(l.report.Losses, Note{shown(name), what})
}
