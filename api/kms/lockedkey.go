package kms

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// lockedKey is a key in a page of its own, outside the Go heap: the collector never copies it, core dumps leave it
// out, and it is locked against swapping where RLIMIT_MEMLOCK allows. Whoever reads it keeps free from running.
type lockedKey struct {
	page   []byte
	n      int
	locked bool
}

// newLockedKey copies key; the caller wipes its own.
func newLockedKey(key []byte) (*lockedKey, error) {
	size := (len(key)/unix.Getpagesize() + 1) * unix.Getpagesize()
	page, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	// Both are best effort: a container may forbid locking, and a key in swap-able memory still works.
	_ = unix.Madvise(page, unix.MADV_DONTDUMP)
	locked := unix.Mlock(page) == nil
	copy(page, key)
	return &lockedKey{page: page, n: len(key), locked: locked}, nil
}

// key returns the live bytes: valid until free.
func (k *lockedKey) key() []byte { return k.page[:k.n:k.n] }

func (k *lockedKey) wipe() { clear(k.page) }

// free wipes the key and gives its memory back.
func (k *lockedKey) free() error {
	k.wipe()
	if err := unix.Munmap(k.page); err != nil {
		return fmt.Errorf("unmap memory: %w", err)
	}
	return nil
}
