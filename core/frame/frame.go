// Package frame encodes and decodes the key agent's protocol. A PostgreSQL backend
// and the API process of the same machine speak it over a unix socket. Both ends
// use this code. AppendRequest and AppendResponse write whole frames. ReadBody
// removes the length, and the two Parse functions read the body.
//
// On the wire a frame is the length of its body, u32be, followed by the body. A
// body is the protocol version and the operation, a byte each, and then the fields
// of that operation. A string or byte string has its length in front, u32be. A list
// has its count in front, u32be. A number is u64be, and an id is its 16 bytes.
//
//	request      version op origin fields
//	origin       database role session-role client-addr request-id
//	 generate    id version
//	 unwrap      action name id count(version key-id wrapped)...
//	 record      action name version outcome code
//	 read-each   count(name code [id version key-id wrapped])...
//	 lease       name id version key-id wrapped seconds file
//	response     version op code fields
//	 failure     message
//	 generate    key key-id wrapped
//	 unwrap      count(key)...
//	 record
//	 read-each   count(code (key | message))...
//	 lease       key milliseconds file
//
// With the answer to a lease comes, as SCM_RIGHTS, the descriptor of its file, unless the request already named that
// file. To it the backend appends the records of the reads that it makes with the leased key (AppendLeasedRead).
//
// Parsing is strict. Every field has a limit and a form, and nothing may follow the
// last field. What parses encodes to the same bytes again. Parsing never panics.
// Functions may be called concurrently on different buffers.
package frame

import (
	"encoding/binary"
	"io"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// ProtocolVersion is the first byte of every body.
	ProtocolVersion = 1
	// HeaderSize is the number of bytes in front of a body.
	HeaderSize = 4
	// MaxSize is the longest body, in bytes. The limits below stay under it.
	MaxSize = 1 << 20
	// MaxKeys is how many keys one request may ask for.
	MaxKeys = 64
	// MaxItems is how many names one OpReadEach may have.
	MaxItems = 1024
	// MaxText is the longest database, role or address, in bytes.
	MaxText = 255
	// MaxRequestIDLen is the longest request id, in bytes.
	MaxRequestIDLen = 128
	// MaxActionLen is the longest action, in bytes.
	MaxActionLen = 32
	// MaxMsgLen is the longest message of a failure, in bytes.
	MaxMsgLen = 1024
	// MaxItemMsgLen is the longest message of one Result, in bytes.
	MaxItemMsgLen = 256
	// MaxKeyIDLen and MaxWrappedLen are the limits of AWS KMS for a key's ARN and
	// for a wrapped data key, in bytes.
	MaxKeyIDLen   = 2048
	MaxWrappedLen = 6144
	// MaxLeaseSecs is the longest lease of a key that a backend may ask for.
	MaxLeaseSecs = 3600
)

// Op is what a request asks for. The zero Op is none: only the failure answer to
// a request that could not be read has it.
type Op uint8

const (
	// OpGenerate asks for a new data key, bound to a secret's id and version.
	OpGenerate Op = 1
	// OpUnwrap asks for the data keys of versions to read or verify. It is at the
	// same time the audit record of that read.
	OpUnwrap Op = 2
	// OpRecord reports an attempt that was refused or failed, for the audit.
	OpRecord Op = 3
	// OpReadEach asks for the data keys of many secrets, one version of each, and
	// reports those that the backend refused. It is at the same time an audit
	// record of each.
	OpReadEach Op = 4
	// OpLease asks for the data key of one version to read, and to keep it for a while. It is at the same time the audit
	// record of the read that asks.
	OpLease Op = 5
)

// String returns the operation's name.
func (op Op) String() string {
	switch op {
	case OpGenerate:
		return "generate"
	case OpUnwrap:
		return "unwrap"
	case OpRecord:
		return "record"
	case OpReadEach:
		return "read-each"
	case OpLease:
		return "lease"
	}
	return "none"
}

// ReadBody reads one frame from r and returns its body. The body is in buf if buf
// has the capacity, and in a new buffer otherwise. The body of a response holds
// keys, so the caller wipes it. On error ReadBody returns nil and wipes what it has
// read of the body.
//
// The errors are Unavailable when r fails, with the cause in the chain, TooLarge for
// a body above MaxSize, and Invalid for an empty one. The cause is io.EOF only when
// r ended before the first byte. After an error the stream is no longer usable.
func ReadBody(r io.Reader, buf []byte) ([]byte, error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, core.Wrap(core.Unavailable, err, "read the length of an agent frame")
	}
	size := binary.BigEndian.Uint32(header[:])
	switch {
	case size == 0:
		return nil, core.Errorf(core.Invalid, "agent frame is empty")
	case size > MaxSize:
		return nil, core.Errorf(core.TooLarge, "agent frame is %d bytes long, the limit is %d", size, MaxSize)
	}
	if uint64(cap(buf)) < uint64(size) {
		buf = make([]byte, size)
	}
	body := buf[:size]
	if n, err := io.ReadFull(r, body); err != nil {
		envelope.Wipe(body[:n])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, core.Wrap(core.Unavailable, err, "read the body of an agent frame")
	}
	return body, nil
}
