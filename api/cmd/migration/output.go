package migration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// output is where an export goes.
type output struct {
	io.Writer
	made *os.File // nil = standard output
}

// openOutput makes the file name, or takes standard output if that is "". Nothing is written to a terminal. What is not
// sealed is not written to a file that others may read either.
func (h Host) openOutput(name string, plaintext bool) (*output, error) {
	if name == "" {
		return &output{Writer: h.Out}, h.checkOutput(h.Out, plaintext)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already; an export makes a new file", name)
	}
	if err != nil {
		return nil, err
	}
	out := &output{Writer: f, made: f}
	if err := h.checkOutput(f, plaintext); err != nil { // a file system may know no modes
		return nil, errors.Join(err, out.finish(false))
	}
	return out, nil
}

func (h Host) checkOutput(w io.Writer, plaintext bool) error {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
		return fmt.Errorf("standard output is a terminal; name a file with --%s, or redirect it", h.FileFlag)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if plaintext && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others may read the file that the export would go to: its mode is %04o, want 0600; --%s makes such a file",
			info.Mode().Perm(), h.FileFlag)
	}
	return nil
}

// finish makes a file durable, or removes it if it is not complete.
func (o *output) finish(complete bool) error {
	switch {
	case o.made == nil:
		return nil
	case !complete:
		return errors.Join(o.made.Close(), os.Remove(o.made.Name()))
	}
	err := errors.Join(o.made.Sync(), o.made.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(o.made.Name()))
	}
	return err
}
