package frame

import (
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Response is what the agent answers. Fields that Op and Code do not have must be
// zero.
type Response struct {
	// Op is that of the request, or zero with a Code when that could not be read.
	Op Op
	// Code is empty on success.
	Code core.Code
	// Msg is for the SQL caller. It comes only with a Code, and has at most MaxMsgLen bytes of text.
	Msg string
	// Keys are the plain data keys, envelope.KeySize bytes each: one for
	// OpGenerate and OpLease, one for each wrapped key and in their order for OpUnwrap.
	Keys [][]byte
	// KeyID and Wrapped are, for OpGenerate, the wrapping key and the wrapped
	// form of the new key.
	KeyID   string
	Wrapped []byte
	// Results are, for OpReadEach, one for each item and in their order.
	Results []Result
	// LeaseMillis is, for OpLease, how long the backend may keep the key; 0 = for this read only. At most MaxLeaseSecs.
	LeaseMillis uint64
	// File is, for OpLease, the number of the file for the records of leased reads; 0 beside a LeaseMillis of 0.
	File uint64
}

// AppendResponse appends the whole frame of r, length included, to dst. dst grows at
// most once, and before any key is written, so no copy of a key is left behind. The
// result holds keys. The caller wipes it, r.Keys and the keys of r.Results. A
// response that breaks a rule is an Internal error, and nothing is appended.
func AppendResponse(dst []byte, r *Response) ([]byte, error) {
	if p := r.problem(); p != "" {
		return dst, core.Errorf(core.Internal, "agent response: %s", p)
	}
	e := newEncoder(dst, r.size())
	e.byte(ProtocolVersion)
	e.byte(byte(r.Op))
	e.strings(string(r.Code))
	switch {
	case r.Code != "":
		e.strings(r.Msg)
	case r.Op == OpGenerate:
		e.bytes(r.Keys[0])
		e.strings(r.KeyID)
		e.bytes(r.Wrapped)
	case r.Op == OpUnwrap:
		e.u32(len(r.Keys))
		for _, k := range r.Keys {
			e.bytes(k)
		}
	case r.Op == OpReadEach:
		e.results(r.Results)
	case r.Op == OpLease:
		e.bytes(r.Keys[0])
		e.u64(r.LeaseMillis)
		e.u64(r.File)
	}
	return e.b, nil
}

// size is the number of bytes in the body of r.
func (r *Response) size() int {
	n := 2 + sizeOf(string(r.Code))
	switch {
	case r.Code != "":
		n += sizeOf(r.Msg)
	case r.Op == OpGenerate:
		n += 4 + envelope.KeySize + sizeOf(r.KeyID) + 4 + len(r.Wrapped)
	case r.Op == OpUnwrap:
		n += 4 + len(r.Keys)*(4+envelope.KeySize)
	case r.Op == OpReadEach:
		n += sizeOfResults(r.Results)
	case r.Op == OpLease:
		n += 4 + envelope.KeySize + 8 + 8
	}
	return n
}

// ParseResponse decodes a response's body. Keys, Wrapped and the keys of Results
// alias body, so the owner of body wipes it, after an error too. The error is
// Unavailable, because an agent whose answer does not parse is as good as absent.
// The error says which field is wrong and repeats nothing of the body. The caller
// checks that Op and the number of Keys or Results are those that it requested.
func ParseResponse(body []byte) (*Response, error) {
	d := decoder{b: body}
	if v := d.byte(); v != ProtocolVersion {
		return nil, core.Errorf(core.Unavailable, "agent response: protocol version is not %d", ProtocolVersion)
	}
	r := &Response{Op: Op(d.byte()), Code: core.Code(d.string())}
	switch {
	case r.Code != "":
		r.Msg = d.string()
	case r.Op == OpGenerate:
		r.Keys = [][]byte{d.bytes()}
		r.KeyID = d.string()
		r.Wrapped = d.bytes()
	case r.Op == OpUnwrap:
		r.Keys = make([][]byte, d.count(MaxKeys))
		for i := range r.Keys {
			r.Keys[i] = d.bytes()
		}
	case r.Op == OpReadEach:
		r.Results = d.results()
	case r.Op == OpLease:
		r.Keys = [][]byte{d.bytes()}
		r.LeaseMillis, r.File = d.u64(), d.u64()
	}
	if !d.done() {
		return nil, core.Errorf(core.Unavailable, "agent response: length does not fit the fields")
	}
	if p := r.problem(); p != "" {
		return nil, core.Errorf(core.Unavailable, "agent response: %s", p)
	}
	return r, nil
}

// Wipe overwrites the keys of r, and with them the keys in the body that they alias.
// It also drops them from r. It may be called more than once.
func (r *Response) Wipe() {
	for _, k := range r.Keys {
		envelope.Wipe(k)
	}
	r.Keys = nil
	for _, i := range r.Results {
		envelope.Wipe(i.Key)
	}
	r.Results = nil
}

// problem returns the first rule that r breaks, or "".
func (r *Response) problem() string {
	switch {
	case r.Op > OpLease:
		return "unknown operation"
	case r.Code != "":
		return r.problemFailure()
	case r.Msg != "":
		return "message without a code"
	case r.Op != OpReadEach && len(r.Results) != 0:
		return "results are set, which the operation does not have"
	case r.Op != OpLease && (r.LeaseMillis != 0 || r.File != 0):
		return "lease is set, which the operation does not have"
	case r.Op == OpGenerate:
		return r.problemGenerate()
	case r.KeyID != "" || len(r.Wrapped) != 0:
		return "wrapped key is set, which the operation does not have"
	case r.Op == OpUnwrap:
		return problemKeys(r.Keys)
	case r.Op == OpLease:
		return r.problemLease()
	case len(r.Keys) != 0:
		return "keys are set, which the operation does not have"
	case r.Op == OpReadEach:
		return r.problemResults()
	case r.Op != OpRecord:
		return "success without an operation"
	}
	return ""
}

func (r *Response) problemFailure() string {
	switch {
	case !r.Code.Known():
		return "code is unknown"
	case !isText(r.Msg, MaxMsgLen):
		return "message is too long or not text"
	case len(r.Keys) != 0 || r.KeyID != "" || len(r.Wrapped) != 0 || len(r.Results) != 0 || r.LeaseMillis != 0 || r.File != 0:
		return "keys are set beside a code"
	}
	return ""
}

func (r *Response) problemGenerate() string {
	if len(r.Keys) != 1 {
		return "number of keys is not one"
	}
	if p := problemKeys(r.Keys); p != "" {
		return p
	}
	return problemWrapped(r.KeyID, r.Wrapped)
}

func (r *Response) problemLease() string {
	switch {
	case len(r.Keys) != 1:
		return "number of keys is not one"
	case r.LeaseMillis > MaxLeaseSecs*1000 || (r.LeaseMillis == 0) != (r.File == 0):
		return "duration or file of a lease is out of range"
	}
	return problemKeys(r.Keys)
}

func problemKeys(keys [][]byte) string {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return "number of keys is out of range"
	}
	for _, k := range keys {
		if len(k) != envelope.KeySize {
			return "length of a key is wrong"
		}
	}
	return ""
}
