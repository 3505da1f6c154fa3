package agent

import (
	"context"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// lease answers a read. The response says for how long the backend may keep the key, without regard to whether there is
// a file for the records of its reads.
func lease(ctx context.Context, door Door, caller vault.SQLCaller, req *frame.Request) (*frame.Response, error) {
	k := req.Keys[0]
	key, kept, err := door.LeaseForSQL(ctx, caller, vault.SQLUnwrap{Name: req.Name, ID: req.ID, Keys: []vault.VersionedKey{{
		Version: k.Version, WrappedKey: vault.WrappedKey{KeyID: k.KeyID, Wrapped: k.Wrapped},
	}}})
	if err != nil {
		return nil, err
	}
	kept = min(kept, time.Duration(req.LeaseSecs)*time.Second)
	return &frame.Response{Op: req.Op, Keys: [][]byte{key}, LeaseMillis: uint64(max(kept, 0).Milliseconds())}, nil
}

// attachment completes the response to a lease with the file for the records of leased reads, and returns its descriptor
// if the backend does not have it. Without a file the key is for this read only.
func (c *conn) attachment(req *frame.Request, resp *frame.Response) *os.File {
	if resp.Op != frame.OpLease || resp.Code != "" || resp.LeaseMillis == 0 {
		return nil
	}
	var f *os.File
	if c.s.c.Leases != nil {
		var err error
		if resp.File, f, err = c.s.c.Leases.LeasedReads(req.File); err != nil {
			c.s.c.Log.Warn("key agent leases no key: there is no file for the records of leased reads", "error", err)
		}
	}
	if resp.File == 0 {
		resp.LeaseMillis = 0
		return nil
	}
	c.s.lend(c)
	return f
}

// writeWith writes a message and with it the descriptor of a file.
func writeWith(c net.Conn, message []byte, f *os.File) error {
	to, ok := c.(*net.UnixConn)
	if !ok {
		return net.ErrClosed
	}
	n, _, err := to.WriteMsgUnix(message, unix.UnixRights(int(f.Fd())), nil)
	if err == nil && n < len(message) {
		_, err = to.Write(message[n:])
	}
	return err
}
