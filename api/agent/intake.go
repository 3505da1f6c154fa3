package agent

import (
	"encoding/binary"
	"net"

	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// intakeLen is what most requests have room in.
const intakeLen = 1 << 10

// intake reads from a connection as much as has come, so that a frame that was written at once takes one read. What it has
// given away it has wiped.
type intake struct {
	net  net.Conn
	buf  [intakeLen]byte
	have int // bytes of buf that were read and not given away
}

// await returns as soon as there is a byte.
func (in *intake) await() error {
	if in.have > 0 {
		return nil
	}
	n, err := in.net.Read(in.buf[:])
	if in.have = n; n > 0 {
		return nil
	}
	return err
}

// isWhole reports whether all of a frame has come.
func (in *intake) isWhole() bool {
	body := in.have - frame.HeaderSize
	return body >= 0 && uint64(body) >= uint64(binary.BigEndian.Uint32(in.buf[:]))
}

// Read gives what has come, and only then reads from the connection.
func (in *intake) Read(b []byte) (int, error) {
	if in.have == 0 {
		return in.net.Read(b)
	}
	n := copy(b, in.buf[:in.have])
	left := copy(in.buf[:], in.buf[n:in.have])
	envelope.Wipe(in.buf[left:in.have])
	in.have = left
	return n, nil
}
