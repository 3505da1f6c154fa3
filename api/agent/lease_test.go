package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// fakeLeases is a file of a number, or why there is none.
type fakeLeases struct {
	path   string
	number uint64
	err    error
}

func (l *fakeLeases) LeasedReads(have uint64) (uint64, *os.File, error) {
	if l.number == 0 || l.number == have {
		return l.number, nil, l.err
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return l.number, f, errors.Join(err, l.err)
}

func leaseRequest() *frame.Request {
	return &frame.Request{Op: frame.OpLease, Origin: testOrigin, Name: "db/password", ID: testID, LeaseSecs: 60,
		Keys: []frame.WrappedKey{{Version: 3, KeyID: "local:1", Wrapped: []byte("wrapped-wrapped")}}}
}

func leasingDoor(kept time.Duration) *fakeDoor {
	d := okDoor()
	d.lease = func(context.Context, vault.SQLCaller, vault.SQLUnwrap) ([]byte, time.Duration, error) {
		return testKey(9), kept, nil
	}
	return d
}

// receiveWith receives a response and the descriptor that came with it, nil if none did.
func receiveWith(t *testing.T, c *net.UnixConn) (*frame.Response, *os.File) {
	t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 64)
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil || n <= frame.HeaderSize {
		t.Fatalf("%d bytes, %v", n, err)
	}
	r, err := frame.ParseResponse(b[frame.HeaderSize:n])
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) == 0 {
		return r, nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(messages) != 1 || len(fds) != 1 {
		t.Fatalf("%d messages, %d descriptors, %v", len(messages), len(fds), err)
	}
	return r, os.NewFile(uintptr(fds[0]), "received")
}

func TestLease(t *testing.T) {
	leases := &fakeLeases{path: filepath.Join(t.TempDir(), "leased.1"), number: 1}
	s, _ := start(t, Config{Door: leasingDoor(time.Hour), Leases: leases})
	c := dial(t, s)
	send(t, c, leaseRequest())
	r, f := receiveWith(t, c)
	if r.Code != "" || r.LeaseMillis != 60000 || r.File != 1 || len(r.Keys) != 1 || f == nil {
		t.Fatalf("%s %d ms, file %d (%v)", r.Code, r.LeaseMillis, r.File, f)
	}
	if _, err := f.WriteString("record\n"); err != nil {
		t.Error(err)
	}
	_ = f.Close()
	if b, err := os.ReadFile(leases.path); string(b) != "record\n" {
		t.Errorf("%q %v", b, err)
	}
	again := leaseRequest()
	again.File = 1
	send(t, c, again)
	if r, f := receiveWith(t, c); r.LeaseMillis != 60000 || f != nil {
		t.Errorf("a backend that has the file gets it again: %v", f)
	}
}

func TestNoLease(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]Config{
		"NoFiles":    {Door: leasingDoor(time.Hour)},
		"None":       {Door: leasingDoor(time.Hour), Leases: &fakeLeases{}},
		"Err":        {Door: leasingDoor(time.Hour), Leases: &fakeLeases{err: errors.New("disk")}},
		"NotKept":    {Door: leasingDoor(0), Leases: &fakeLeases{path: filepath.Join(dir, "a"), number: 1}},
		"KeptPassed": {Door: leasingDoor(-time.Second), Leases: &fakeLeases{path: filepath.Join(dir, "a"), number: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := start(t, c)
			conn := dial(t, s)
			send(t, conn, leaseRequest())
			if r, f := receiveWith(t, conn); r.Code != "" || r.LeaseMillis != 0 || r.File != 0 || f != nil || len(r.Keys) != 1 {
				t.Errorf("%s %d ms, file %d (%v)", r.Code, r.LeaseMillis, r.File, f)
			}
		})
	}
}

// TestEndLeases: the connections of backends that have leased keys are closed, after the answer that is under way, and
// no others.
func TestEndLeases(t *testing.T) {
	leases := &fakeLeases{path: filepath.Join(t.TempDir(), "leased.1"), number: 1}
	door := leasingDoor(time.Hour)
	s, _ := start(t, Config{Door: door, Leases: leases})
	idle, other := dial(t, s), dial(t, s)
	send(t, idle, leaseRequest())
	if r, f := receiveWith(t, idle); r.LeaseMillis == 0 {
		t.Fatal("no lease")
	} else {
		_ = f.Close()
	}
	_ = ask(t, other, unwrapRequest(1))
	s.EndLeases()
	wantClosed(t, idle)
	if r := ask(t, other, unwrapRequest(1)); r.Code != "" {
		t.Errorf("a connection without leases: %s", r.Code)
	}

	asked, answer := make(chan struct{}), make(chan struct{})
	door.lease = func(context.Context, vault.SQLCaller, vault.SQLUnwrap) ([]byte, time.Duration, error) {
		close(asked)
		<-answer
		return testKey(9), time.Hour, nil
	}
	send(t, other, leaseRequest())
	<-asked
	s.EndLeases()
	close(answer)
	if r, f := receiveWith(t, other); r.Code != "" || len(r.Keys) != 1 {
		t.Errorf("the answer under way: %s", r.Code)
	} else if f != nil {
		_ = f.Close()
	}
	wantClosed(t, other)
}
