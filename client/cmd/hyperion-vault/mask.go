package main

import (
	"bytes"
	"encoding/base64"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// minMasked is the length of the shortest value that is masked: a shorter one would be found in any text.
	minMasked = 4
	// maskHold is how long the beginning of what may be a secret is held back.
	maskHold = 200 * time.Millisecond
)

var maskText = []byte("***")

// masker replaces secrets in what is written to it. What may be the beginning of one it holds back until more comes. Less
// than minMasked bytes it releases after a moment, because they may be the end of a prompt.
type masker struct {
	mu      sync.Mutex
	to      io.Writer
	secrets [][]byte // the longest first
	held    []byte
	timer   *time.Timer
}

func newMasker(to io.Writer, values [][]byte) *masker {
	m := &masker{to: to}
	for _, v := range values {
		m.add(v)
		m.add([]byte(base64.StdEncoding.EncodeToString(v)))
		for line := range bytes.SplitSeq(v, []byte("\n")) {
			if len(line) >= 2*minMasked {
				m.add(bytes.TrimSuffix(line, []byte("\r")))
			}
		}
	}
	slices.SortFunc(m.secrets, func(a, b []byte) int { return len(b) - len(a) })
	return m
}

func (m *masker) add(secret []byte) {
	secret = bytes.TrimRight(secret, "\n")
	if len(secret) >= minMasked {
		m.secrets = append(m.secrets, bytes.Clone(secret))
	}
}

func (m *masker) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = append(m.held, b...)
	if m.timer != nil {
		m.timer.Stop()
	}
	err := m.emit(false)
	if len(m.held) > 0 {
		m.timer = time.AfterFunc(maskHold, m.release)
	}
	return len(b), err
}

// release writes what is held if it is too short to give a secret away.
func (m *masker) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.held) < minMasked {
		_ = m.emit(true)
	}
}

// flush writes what is held at the end. What can be a cut secret is masked.
func (m *masker) flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, part := m.match(m.held); part && len(m.held) >= minMasked {
		clear(m.held)
		m.held = append(m.held[:0], maskText...)
	}
	return m.emit(true)
}

// emit writes what no secret can begin in any longer, or everything.
func (m *masker) emit(everything bool) error {
	var out []byte
	at := 0
	for at < len(m.held) {
		rest := m.held[at:]
		whole, part := m.match(rest)
		if part && !everything {
			break
		}
		if whole > 0 {
			out = append(out, maskText...)
			at += whole
			continue
		}
		out = append(out, rest[0])
		at++
	}
	left := copy(m.held, m.held[at:])
	clear(m.held[left:])
	m.held = m.held[:left]
	if len(out) == 0 {
		return nil
	}
	_, err := m.to.Write(out)
	return err
}

// match returns the length of the longest secret that text begins with, and whether text may be the beginning of a
// longer one.
func (m *masker) match(text []byte) (whole int, part bool) {
	for _, s := range m.secrets {
		switch {
		case whole == 0 && bytes.HasPrefix(text, s):
			whole = len(s)
		case len(s) > len(text) && bytes.HasPrefix(s, text):
			part = true
		}
	}
	return whole, part
}
