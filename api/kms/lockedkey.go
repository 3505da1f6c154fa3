package kms

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// lockedMemory is memory outside the Go heap. The collector never copies it, core dumps leave it out, and it is locked
// against swapping where RLIMIT_MEMLOCK allows. A reader must make sure that free does not run meanwhile.
type lockedMemory struct {
	page   []byte
	locked bool
}

// newLockedMemory returns at least size bytes, all zero.
func newLockedMemory(size int) (*lockedMemory, error) {
	size = (size/unix.Getpagesize() + 1) * unix.Getpagesize()
	page, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	// Both are best effort: a container may forbid locking, and a key in swap-able memory still works.
	_ = unix.Madvise(page, unix.MADV_DONTDUMP)
	return &lockedMemory{page: page, locked: unix.Mlock(page) == nil}, nil
}

func (m *lockedMemory) wipe() { clear(m.page) }

// free wipes the memory and gives it back.
func (m *lockedMemory) free() error {
	m.wipe()
	if err := unix.Munmap(m.page); err != nil {
		return fmt.Errorf("unmap memory: %w", err)
	}
	return nil
}

// lockedKey is one key in locked memory.
type lockedKey struct {
	*lockedMemory
	n int
}

// newLockedKey copies key; the caller wipes its own.
func newLockedKey(key []byte) (*lockedKey, error) {
	m, err := newLockedMemory(len(key))
	if err != nil {
		return nil, err
	}
	copy(m.page, key)
	return &lockedKey{lockedMemory: m, n: len(key)}, nil
}

// key returns the live bytes: valid until free.
func (k *lockedKey) key() []byte { return k.page[:k.n:k.n] }

// keySlots is locked memory for a fixed number of data keys. Not safe for concurrent use.
type keySlots struct {
	*lockedMemory
	unused []int
}

func newKeySlots(n int) (*keySlots, error) {
	m, err := newLockedMemory(n * envelope.KeySize)
	if err != nil {
		return nil, err
	}
	s := &keySlots{lockedMemory: m, unused: make([]int, n)}
	for i := range s.unused {
		s.unused[i] = n - 1 - i
	}
	return s, nil
}

// key returns the live bytes of a slot: valid until free.
func (s *keySlots) key(slot int) []byte {
	at := slot * envelope.KeySize
	return s.page[at : at+envelope.KeySize : at+envelope.KeySize]
}

// put copies key into an unused slot; there must be one.
func (s *keySlots) put(key []byte) int {
	slot := s.unused[len(s.unused)-1]
	s.unused = s.unused[:len(s.unused)-1]
	copy(s.key(slot), key)
	return slot
}

// drop wipes a slot and makes it unused.
func (s *keySlots) drop(slot int) {
	envelope.Wipe(s.key(slot))
	s.unused = append(s.unused, slot)
}
