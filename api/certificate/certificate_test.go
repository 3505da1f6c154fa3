package certificate

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
)

type files struct {
	cert, key, ca string
	logs          *bytes.Buffer
}

func write(t *testing.T, f files, p pki.Pair, ca *pki.CA) {
	t.Helper()
	pki.Write(t, f.cert, p.Cert)
	pki.Write(t, f.key, p.Key)
	if ca != nil {
		pki.Write(t, f.ca, ca.PEM)
	}
}

// open returns a source of files that hold p.
func open(t *testing.T, p pki.Pair, ca *pki.CA) (*Source, files) {
	t.Helper()
	dir := t.TempDir()
	f := files{cert: filepath.Join(dir, "c"), key: filepath.Join(dir, "k"), logs: &bytes.Buffer{}}
	if ca != nil {
		f.ca = filepath.Join(dir, "ca")
	}
	write(t, f, p, ca)
	s, err := Open(Config{Cert: f.cert, Key: f.key, ClientCA: f.ca, Log: slog.New(slog.NewTextHandler(f.logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s, f
}

func inForce(s *Source, t *testing.T, p pki.Pair) bool {
	t.Helper()
	return bytes.Equal(s.current.Load().conf.Certificates[0].Certificate[0], p.TLS(t).Certificate[0])
}

// TestWatchTakesWholeFiles writes the new files piece by piece, with a poll after each piece.
func TestWatchTakesWholeFiles(t *testing.T) {
	ca := pki.NewCA(t)
	soon := time.Now().Add(time.Hour)
	old, next := ca.Issue(t, "old", soon), ca.Issue(t, "next", soon)
	s, f := open(t, old, ca)
	for _, half := range []struct {
		name string
		text []byte
	}{
		{f.cert, nil}, {f.cert, next.Cert[:100]}, {f.cert, next.Cert[:len(next.Cert)-1]}, {f.cert, next.Cert},
		{f.key, nil}, {f.key, next.Key[:60]},
	} {
		pki.Write(t, half.name, half.text)
		s.poll()
		s.poll()
		if !inForce(s, t, old) {
			t.Fatalf("%d bytes of %s were used", len(half.text), half.name)
		}
	}
	pki.Write(t, f.key, next.Key)
	pki.Write(t, f.ca, nil)
	s.poll()
	s.poll()
	if !inForce(s, t, old) {
		t.Fatal("an empty client CA was used")
	}
	pki.Write(t, f.ca, ca.PEM)
	s.poll()
	if !inForce(s, t, old) {
		t.Fatal("files were used that one poll alone had seen")
	}
	s.poll()
	if !inForce(s, t, next) {
		t.Fatalf("the new certificate is not in force: %s", f.logs)
	}
	if log := f.logs.String(); strings.Contains(log, "PRIVATE") || strings.Contains(log, "BEGIN") {
		t.Error(log)
	}
}

func TestComplaintsOnce(t *testing.T) {
	ca := pki.NewCA(t)
	s, f := open(t, ca.Issue(t, "a", time.Now().Add(time.Hour)), nil)
	if err := os.Remove(f.key); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		s.poll()
	}
	if n := strings.Count(f.logs.String(), "stays"); n != 1 {
		t.Errorf("%d complaints: %s", n, f.logs)
	}
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Reload: %v", err)
	}
}

func TestExpired(t *testing.T) {
	ca := pki.NewCA(t)
	good, gone := ca.Issue(t, "good", time.Now().Add(time.Hour)), ca.Issue(t, "gone", time.Now().Add(-time.Hour))
	t.Run("ErrReplacesGood", func(t *testing.T) {
		s, f := open(t, good, nil)
		write(t, f, gone, nil)
		if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "expired") || !inForce(s, t, good) {
			t.Error(err)
		}
	})
	t.Run("OKAtStart", func(t *testing.T) {
		s, f := open(t, gone, nil)
		if !strings.Contains(f.logs.String(), "the TLS certificate has expired") || s.NotAfter().After(time.Now()) {
			t.Error(f.logs)
		}
		write(t, f, good, nil)
		if err := s.Reload(); err != nil || !inForce(s, t, good) {
			t.Error(err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	ca := pki.NewCA(t)
	p := ca.Issue(t, "a", time.Now().Add(time.Hour))
	dir := t.TempDir()
	cert, key := pki.Write(t, filepath.Join(dir, "c"), p.Cert), pki.Write(t, filepath.Join(dir, "k"), p.Key)
	junk := pki.Write(t, filepath.Join(dir, "j"), []byte("CANARY"))
	for _, c := range []Config{
		{Cert: filepath.Join(dir, "none"), Key: key}, {Cert: cert, Key: filepath.Join(dir, "none")}, {Cert: cert, Key: junk}, {Cert: junk, Key: key},
		{Cert: key, Key: cert}, {Cert: cert, Key: key, ClientCA: junk}, {Cert: cert, Key: key, ClientCA: filepath.Join(dir, "none")},
	} {
		if _, err := Open(c); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestWatch ends with its context, and finds a change by itself.
func TestWatch(t *testing.T) {
	ca := pki.NewCA(t)
	old, next := ca.Issue(t, "old", time.Now().Add(time.Hour)), ca.Issue(t, "next", time.Now().Add(time.Hour))
	s, f := open(t, old, nil)
	s.c.Poll = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx)
	}()
	write(t, f, next, nil)
	for deadline := time.Now().Add(30 * time.Second); !inForce(s, t, next); {
		if time.Now().After(deadline) {
			t.Fatal("the change was not found")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
}
