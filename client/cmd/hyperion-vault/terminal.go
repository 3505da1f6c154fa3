package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const maxInput = 16 << 20

// isTerminal reports whether f is one.
func isTerminal(f any) bool {
	if w, ok := f.(writer); ok {
		f = w.to
	}
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// prompt reads a line from the terminal without echo. The caller wipes it.
func (p *program) prompt(label string) ([]byte, error) {
	fd := int(p.in.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, usagef("the standard input is no terminal")
	}
	silent := *old
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETSF, &silent); err != nil {
		return nil, failuref("the terminal's echo cannot be switched off: %w", err)
	}
	defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETSF, old) }()
	_, _ = fmt.Fprint(p.errOut, label+": ")
	line, err := readLine(p.in)
	_, _ = fmt.Fprintln(p.errOut)
	return line, err
}

// readLine reads byte by byte, so that it takes nothing of what follows the line.
func readLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, 4096)
	for one := make([]byte, 1); len(line) < cap(line); {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' {
			return line, nil
		}
		if n == 1 {
			line = append(line, one[0])
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, usagef("nothing was entered")
		}
	}
	return nil, usagef("the line is too long; give a long value by a file, as in @FILE")
}

// promptTwice asks for a new value, and once more for the same.
func (p *program) promptTwice(label string) ([]byte, error) {
	first, err := p.prompt(label)
	if err != nil {
		return nil, err
	}
	second, err := p.prompt(label + ", again")
	if err != nil {
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		return nil, usagef("the two entries differ")
	}
	return first, nil
}

// secretInput returns what a source stands for: "@FILE", "-" for the standard input, or "" for a prompt on a terminal
// and else the standard input. Anything else is refused, because every user of the system can read arguments.
func (p *program) secretInput(source, label string, twice bool) ([]byte, error) {
	switch {
	case strings.HasPrefix(source, "@"):
		return readSecretFile(source[1:])
	case source != "" && source != "-":
		return nil, usagef("a secret in an argument can be read by others; give it as @FILE, by the standard input (-), or at the prompt")
	case source == "" && isTerminal(p.in) && twice:
		return p.promptTwice(label)
	case source == "" && isTerminal(p.in):
		return p.prompt(label)
	}
	return readAllSecret(p.in)
}

func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError{err}
	}
	defer func() { _ = f.Close() }()
	return readAllSecret(f)
}

// readAllSecret wipes what it outgrows.
func readAllSecret(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, 64<<10)
	for {
		if len(buf) == cap(buf) {
			grown := append(make([]byte, 0, 2*cap(buf)), buf...)
			clear(buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, failure{err}
		}
		if len(buf) > maxInput {
			return nil, usagef("the input is longer than any value may be")
		}
	}
}

// confirm asks a question on the terminal. Elsewhere there must be a flag that answers it.
func (p *program) confirm(question string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(p.in) {
		return usagef("this needs --yes, because there is no terminal to ask at")
	}
	_, _ = fmt.Fprintf(p.errOut, "%s Type yes to go on: ", question)
	line, err := readLine(p.in)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(line)) != "yes" {
		return usagef("nothing was changed")
	}
	return nil
}
