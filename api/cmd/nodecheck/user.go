package nodecheck

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// asUser runs f with the rights of a, on a thread of its own that ends with it. Unless this process is root it may only be
// called with the process's own user. f must not start goroutines whose rights matter.
func asUser(a account, f func() error) error {
	if a.uid == os.Geteuid() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread with other rights ends with the goroutine
		done <- func() error {
			if err := become(a); err != nil {
				return fmt.Errorf("become user %s: %w", a.name, err)
			}
			return f()
		}()
	}()
	return <-done
}

// become changes this thread only; the functions of package syscall would change the whole process.
func become(a account) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	gid, uid := uintptr(a.gid), uintptr(a.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return errno
	}
	return nil
}
