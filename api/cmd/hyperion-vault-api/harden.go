package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden closes the ways by which memory of this process could reach a disk or another process of the same user. There
// are no core dumps, no ptrace and no /proc/PID/mem, and new files and sockets are for this user alone by default. It
// comes first, before there is any key. None of it needs a right, so a failure is fatal.
//
// There is no mlockall: it would count the whole address space that Go reserves against RLIMIT_MEMLOCK and make the
// process fail under load instead of at start. The master key, which opens everything, and the cached data keys have
// locked pages of their own (package kms); copies in use live for milliseconds in memory that is not locked.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid reading this process's memory: %w", err)
	}
	unix.Umask(0o077)
	return nil
}
