// Package progress shows on a terminal how far long work is. Elsewhere the work prints a line for each step.
package progress

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	redraw = 100 * time.Millisecond
	width  = 24 // characters of the bar itself
)

// Bar is a line of a terminal with the steps done and their rate, and with the time left if the number of steps is known.
// It is an io.Writer for work that writes a line for each step: the line is counted, and not shown. Safe for concurrent use.
type Bar struct{ bar *progressbar.ProgressBar }

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// New draws a bar on w. A total of -1 is unknown. The caller closes it.
func New(w io.Writer, what string, total int) *Bar {
	return &Bar{progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(redraw), progressbar.OptionSetWidth(width),
		progressbar.OptionSetPredictTime(total > 0))}
}

// Write counts one step.
func (b *Bar) Write(line []byte) (int, error) {
	_ = b.bar.Add(1) // more steps than were announced are no error of the work
	return len(line), nil
}

// Set says how many steps are done, and of how many.
func (b *Bar) Set(done, total int) {
	if total > 0 && total != b.bar.GetMax() {
		b.bar.ChangeMax(total)
	}
	_ = b.bar.Set(min(done, total))
}

// Close takes the bar away.
func (b *Bar) Close() { _ = b.bar.Clear() }
