package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// maxLine bounds a line. A secret with all its versions, each as large as any can be, fits.
const maxLine = 256 << 20

// lineReader reads lines in memory of its own, which is wiped.
type lineReader struct {
	r       io.Reader
	buf     []byte
	start   int // of what was not returned yet
	scanned int // up to where there is no end of a line
	ended   bool
}

func newLineReader(r io.Reader) *lineReader {
	const least = 64 << 10
	return &lineReader{r: r, buf: make([]byte, 0, least)}
}

// next returns a line without its end, which is valid until the next call; io.EOF after the last one.
func (l *lineReader) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(l.buf[l.scanned:], '\n'); i >= 0 {
			line := l.buf[l.start : l.scanned+i]
			l.start = l.scanned + i + 1
			l.scanned = l.start
			return line, nil
		}
		l.scanned = len(l.buf)
		if l.ended {
			line := l.buf[l.start:]
			l.start = len(l.buf)
			if len(line) == 0 {
				return nil, io.EOF
			}
			return line, nil
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more. What was returned is wiped, and so is a buffer that is outgrown.
func (l *lineReader) fill() error {
	rest := len(l.buf) - l.start
	if rest > maxLine {
		return fmt.Errorf("a line has over %d bytes", maxLine)
	}
	to := l.buf[:0]
	if 2*rest > cap(l.buf) {
		to = make([]byte, 0, 2*cap(l.buf))
	}
	old := l.buf
	l.buf = append(to, old[l.start:]...)
	if &l.buf[:1][0] == &old[:1][0] {
		envelope.Wipe(old[rest:])
	} else {
		envelope.Wipe(old)
	}
	l.start, l.scanned = 0, rest
	n, err := l.r.Read(l.buf[rest:cap(l.buf)])
	l.buf = l.buf[:rest+n]
	if errors.Is(err, io.EOF) {
		l.ended, err = true, nil
	}
	return err
}

// wipe wipes everything that was read.
func (l *lineReader) wipe() { envelope.Wipe(l.buf[:cap(l.buf)]) }
