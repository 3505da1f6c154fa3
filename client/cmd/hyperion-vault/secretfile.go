package main

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// secretFiles are files on a memory file system, in a directory that only this user can enter.
type secretFiles struct {
	dir   string // "" = there are none
	paths map[string]string
}

func newSecretFiles(p *program, all []source) (*secretFiles, error) {
	f := &secretFiles{paths: map[string]string{}}
	for _, s := range all {
		if !s.file {
			continue
		}
		if f.dir == "" {
			base, err := memoryDirectory(p)
			if err != nil {
				return nil, err
			}
			if f.dir, err = os.MkdirTemp(base, "hyperion-vault-"); err != nil { // of mode 0700
				return nil, failure{err}
			}
		}
		f.paths[s.variable] = filepath.Join(f.dir, s.variable)
	}
	return f, nil
}

// memoryDirectory returns a directory whose files never get to a disk, but for swap.
func memoryDirectory(p *program) (string, error) {
	for _, dir := range []string{p.variable("XDG_RUNTIME_DIR"), "/dev/shm"} {
		var st unix.Statfs_t
		if dir == "" || unix.Statfs(dir, &st) != nil || unix.Access(dir, unix.W_OK) != nil {
			continue
		}
		if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
			return dir, nil
		}
	}
	return "", failuref("there is no memory file system to write to: neither XDG_RUNTIME_DIR nor /dev/shm is one")
}

// write replaces each file at once: a reader sees the old text or the new one.
func (f *secretFiles) write(all []source, texts [][]byte) error {
	for i, s := range all {
		if !s.file {
			continue
		}
		path := f.paths[s.variable]
		if err := writeSecret(path+".new", texts[i]); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

func writeSecret(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

func (f *secretFiles) remove() {
	if f.dir != "" {
		_ = os.RemoveAll(f.dir)
	}
}
