package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// A directory holds
//
//	lock                      locked by the process that has the journal; its text is for people
//	journal                   the journal's UUID
//	00000000000000000001.log  segments, named by the number of their first record
//	*.new                     files that a crash left unfinished
const (
	lockFile      = "lock"
	idFile        = "journal"
	segmentSuffix = ".log"
	newSuffix     = ".new"
)

// file is an open segment.
type file interface {
	WriteAt(b []byte, at int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// disk is how a journal changes its directory. Tests inject faults through it.
type disk interface {
	Create(path string) (file, error) // empty, for this process alone
	Open(path string) (file, error)   // for writing
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(path string) error
}

type realDisk struct{}

func (realDisk) Create(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}
func (realDisk) Open(path string) (file, error) { return os.OpenFile(path, os.O_WRONLY, 0) }
func (realDisk) Rename(from, to string) error   { return os.Rename(from, to) }
func (realDisk) Remove(path string) error       { return os.Remove(path) }
func (realDisk) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockDir creates the directory if needed, checks that it belongs to this process alone, and locks it. The lock
// lasts until the returned file is closed or the process ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, dirError(dir, err, "the directory cannot be created")
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, dirError(dir, err, "the directory cannot be checked")
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return nil, dirError(dir, nil, "it is not a directory")
	case ok && int(st.Uid) != os.Geteuid():
		return nil, dirError(dir, nil, "the directory belongs to user %d, not to user %d of this process", st.Uid, os.Geteuid())
	case info.Mode().Perm()&0o077 != 0:
		return nil, dirError(dir, nil, "other users may enter the directory (mode %04o): chmod 700 it", info.Mode().Perm())
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, dirError(dir, err, "the directory cannot be written to")
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner, _ := os.ReadFile(f.Name())
		_ = f.Close()
		return nil, dirError(dir, err, "another process uses this journal (%s); every process needs its own directory",
			core.Quote(strings.TrimSpace(string(owner))))
	}
	if err := errors.Join(f.Truncate(0), writeText(f, fmt.Sprintf("pid %d\n", os.Getpid()))); err != nil {
		_ = f.Close()
		return nil, dirError(dir, err, "the directory cannot be written to")
	}
	return f, nil
}

func writeText(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// dirError names the variable and the directory, so that an operator can find it.
func dirError(dir string, cause error, format string, args ...any) error {
	text := fmt.Sprintf("VAULT_AUDIT_DIR=%s: ", dir) + fmt.Sprintf(format, args...)
	if cause == nil {
		return core.Errorf(core.Invalid, "%s", text)
	}
	return core.Wrap(core.Invalid, cause, "%s", text)
}

// identify returns the journal's UUID. It makes a new one where there is none. It also makes a new one where no
// segments are left, because no number may be used twice under one UUID.
func identify(d disk, dir string, empty bool) (id vault.JournalID, err error) {
	text, err := os.ReadFile(filepath.Join(dir, idFile))
	switch {
	case err == nil && !empty:
		return parseID(dir, text)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return id, dirError(dir, err, "the file %q cannot be read", idFile)
	case err != nil && !empty:
		return id, dirError(dir, nil, "there are segments and no file %q: move the directory away to start a new journal", idFile)
	}
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id, writeID(d, dir, id)
}

func writeID(d disk, dir string, id vault.JournalID) error {
	path := filepath.Join(dir, idFile)
	f, err := d.Create(path + newSuffix)
	if err == nil {
		_, err = f.WriteAt([]byte(formatID(id)+"\n"), 0)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = errors.Join(d.Rename(path+newSuffix, path), d.SyncDir(dir))
	}
	if err != nil {
		return dirError(dir, err, "the file %q cannot be written", idFile)
	}
	return nil
}

func formatID(id vault.JournalID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func parseID(dir string, text []byte) (id vault.JournalID, err error) {
	digits := bytes.ReplaceAll(bytes.TrimSuffix(text, []byte("\n")), []byte("-"), nil)
	n, err := hex.Decode(id[:], append(digits, make([]byte, max(0, 32-len(digits)))...)[:32])
	if err != nil || n != 16 || formatID(id)+"\n" != string(text) {
		return id, dirError(dir, nil, "the file %q holds no UUID: move the directory away to start a new journal", idFile)
	}
	return id, nil
}
