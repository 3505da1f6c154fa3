package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// fileSuffix makes the name of the variable that holds the path of a setting's file.
	fileSuffix = "_FILE"
	// credentialsDir is where systemd puts a service's credentials.
	credentialsDir = "CREDENTIALS_DIRECTORY"
	// maxFile is the most bytes of a setting's file.
	maxFile = 1 << 20
)

var errUnfinished = errors.New("its last line has no end, as if the file were still being written; rename a finished file into its place")

// fromFile reports whether the setting has a NAME_FILE variable: a secret should not stand in the environment, and the
// environment of a running process never changes.
func (s setting) fromFile() bool { return s.secret || s.reload }

// readFile sets the value of s to what its file holds, if NAME_FILE is set. It reports whether the value may be used.
// No message quotes what the file holds, and none quotes a path that may be the secret itself.
func (l *loader) readFile(s setting) bool {
	name := s.name + fileSuffix
	given, ok := l.values[name]
	if !s.fromFile() || !ok {
		return true
	}
	if _, both := l.values[s.name]; both {
		l.fail(name, "%s and %s are both set: want one of them", s.name, name)
		return false
	}
	file, err := l.resolve(given)
	if err != nil {
		l.fail(name, "%s%s: %v", name, l.showPath(s, given), err)
		return false
	}
	text, open, err := readText(file)
	if err != nil {
		l.fail(name, "%s%s: %v", name, l.showPath(s, given), err)
		return false
	}
	if s.secret && open {
		l.warn(name, "%s: other users of this system may read the file; want mode 0600, or 0640 for a group", name)
	}
	return l.take(s, name, given, text)
}

// take judges the text of a file: a list may have lines, and anything else is one value.
func (l *loader) take(s setting, name, given, text string) bool {
	value := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	err := error(nil)
	switch {
	case text == "" && s.list:
		err = errors.New("the file is empty; a comment says that it is meant to be (# none)")
	case s.list:
		value, err = joinLines(s, text)
	case value == "":
		err = errors.New("the file is empty")
	}
	if err != nil {
		l.fail(name, "%s%s: %v", name, l.showPath(s, given), err)
		return false
	}
	l.files[s.name] = given
	l.values[s.name] = value
	return true
}

// showPath returns ="path", or that the value is not shown: for a secret's file, the secret may have been put in the
// place of its path.
func (l *loader) showPath(s setting, given string) string {
	if _, err := os.Lstat(given); s.secret && (err != nil || !path.IsAbs(given)) || l.holdsSecret(given) {
		return " (value not shown)"
	}
	return "=" + core.Quote(given)
}

// resolve returns the path of the file. A name without a slash is that of a systemd credential.
func (l *loader) resolve(given string) (string, error) {
	dir := l.values[credentialsDir]
	switch {
	case strings.ContainsFunc(given, notPrintable):
	case path.IsAbs(given):
		return path.Clean(given), nil
	case !strings.Contains(given, "/") && given != "." && given != "..":
		if !path.IsAbs(dir) {
			return "", fmt.Errorf("%s is not set, so it cannot be the name of a systemd credential; want the absolute path of a file", credentialsDir)
		}
		return filepath.Join(dir, given), nil
	}
	return "", errors.New("want the absolute path of a file, or the name of a systemd credential")
}

var errTooLong = fmt.Errorf("it is longer than %d bytes", maxFile)

// openFile opens a file for reading and reports whether every user may read it. It refuses a file that every user may
// change, and one that is too long.
func openFile(name string) (f *os.File, open bool, err error) {
	f, err = os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold up the start
	if err != nil {
		return nil, false, reason(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = reason(err)
	case !info.Mode().IsRegular():
		err = errors.New("it is not a regular file")
	case info.Mode().Perm()&0o002 != 0:
		err = fmt.Errorf("every user of this system may change it: its mode is %04o", info.Mode().Perm())
	case info.Size() > maxFile:
		err = errTooLong
	}
	if err != nil {
		_ = f.Close()
		return nil, false, err
	}
	return f, info.Mode().Perm()&0o004 != 0, nil
}

// readText returns what a file holds. Results and errors are otherwise those of openFile.
func readText(name string) (text string, open bool, err error) {
	f, open, err := openFile(name)
	if err != nil {
		return "", false, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	defer clear(b)
	if err != nil {
		return "", false, reason(err)
	}
	if len(b) > maxFile {
		return "", false, errTooLong // it has grown, or its system knows no sizes
	}
	return string(b), open, nil
}

// joinLines turns the lines of a list's file into the one line of a variable: blank lines and what follows a # are
// left out. An error names the lines at fault, and does not quote them.
func joinLines(s setting, text string) (string, error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.Contains(strings.TrimSuffix(text, "\n"), "\n") && !strings.HasSuffix(text, "\n") {
		return "", errUnfinished
	}
	var parts, wrong []string
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSuffix(strings.TrimSpace(line), ",")
		if line == "" {
			continue
		}
		if err := s.set(&Config{}, line); err != nil {
			wrong = append(wrong, fmt.Sprint(n))
		}
		parts = append(parts, line)
	}
	if len(wrong) > 0 {
		return "", fmt.Errorf("%s; wrong in line %s", s.want, strings.Join(wrong, ", "))
	}
	return strings.Join(parts, ","), nil
}
