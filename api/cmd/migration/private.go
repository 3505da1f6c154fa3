package migration

import (
	"bytes"
	"fmt"
	"os"
	"syscall"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

func readRoots(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	return os.ReadFile(name)
}

// readToken reads a token from a private file.
func readToken(name string) (string, error) {
	text, err := readPrivate(name)
	defer func() { envelope.Wipe(text) }()
	return string(bytes.TrimSpace(text)), err
}

// readPrivate reads a small file that only its owner may use. The caller wipes the text.
func readPrivate(name string) ([]byte, error) {
	const longest = 16 << 10
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold up the start
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > longest:
		return nil, fmt.Errorf("%s: a token or a key is in a regular file of at most %d bytes", name, longest)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s: others may use it: its mode is %04o, want 0600 or stricter", name, info.Mode().Perm())
	}
	text, err := migrate.ReadFile(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}
