package frame

import (
	"math"
	"net/netip"
	"slices"

	"github.com/hyperiondb/hyperion-vault/core"
)

// The actions of an OpUnwrap are read, verify, rotate, bind_role and repair_role. The outcomes of an
// OpRecord are the three below. An OpRecord may report a success only for a list
// and for a query of the audit. These need no key, so no other request could record
// them.
const (
	ActionRead    = "read"
	ActionVerify  = "verify"
	ActionRotate  = "rotate"
	ActionBind    = "bind_role"
	ActionRepair  = "repair_role"
	ActionList    = "list"
	ActionAudit   = "audit"
	OutcomeOK     = "ok"
	OutcomeDenied = "denied"
	OutcomeFailed = "failed"
)

// Origin identifies the caller, as the backend knows it. All texts are UTF-8 without
// zero bytes. Database and Role are required.
type Origin struct {
	Database    string // 1 to MaxText bytes
	Role        string // the effective role; 1 to MaxText bytes
	SessionRole string // the role that logged in; at most MaxText bytes
	ClientAddr  string // IPv4 or IPv6 address without a zone; "" for a unix-socket client
	RequestID   string // at most MaxRequestIDLen bytes
}

// WrappedKey is a data key as it is stored, and the version of the secret it
// belongs to.
type WrappedKey struct {
	Version uint64 // 1 to the largest SQL bigint
	KeyID   string // the wrapping key; 1 to MaxKeyIDLen bytes
	Wrapped []byte // 1 to MaxWrappedLen bytes; not secret
}

// Request is what a backend sends. Each Op has its own fields, and the others must
// be zero. A Request holds nothing secret.
type Request struct {
	Op     Op
	Origin Origin

	// Action: for OpUnwrap one of those above; for OpRecord the audit's
	// word for the attempt, a-z and _.
	Action string
	// Name: for OpUnwrap and OpLease the secret's name, by the rules of core.Name; for OpRecord
	// what the caller named, at most core.MaxNameLen bytes of text and perhaps not
	// a name at all.
	Name string
	// ID: for OpGenerate, OpUnwrap and OpLease the secret's id, not zero.
	ID core.SecretID
	// Version is at least 1 for OpGenerate. For OpRecord it is 0 when the attempt named none.
	Version uint64
	// Keys are 1 to MaxKeys wrapped keys for OpUnwrap, and one for OpLease.
	Keys []WrappedKey
	// Outcome, for OpRecord, is OutcomeDenied or OutcomeFailed, or OutcomeOK for ActionList and ActionAudit.
	Outcome string
	// Code is the reason for OpRecord. It is empty for OutcomeOK alone.
	Code core.Code
	// Items: for OpReadEach 1 to MaxItems names.
	Items []Item
	// LeaseSecs: for OpLease how long the backend would keep the key, 1 to MaxLeaseSecs.
	LeaseSecs uint64
	// File, for OpLease, is the number of the file whose descriptor the backend has. 0 = it has none.
	File uint64
}

// AppendRequest appends the whole frame of r, length included, to dst. A request
// that breaks a rule is an Invalid error that says which field, and nothing is
// appended.
func AppendRequest(dst []byte, r *Request) ([]byte, error) {
	if p := r.problem(); p != "" {
		return dst, core.Errorf(core.Invalid, "agent request: %s", p)
	}
	e := newEncoder(dst, r.size())
	e.byte(ProtocolVersion)
	e.byte(byte(r.Op))
	o := r.Origin
	e.strings(o.Database, o.Role, o.SessionRole, o.ClientAddr, o.RequestID)
	switch r.Op {
	case OpGenerate:
		e.raw(r.ID[:])
		e.u64(r.Version)
	case OpUnwrap:
		e.strings(r.Action, r.Name)
		e.raw(r.ID[:])
		e.u32(len(r.Keys))
		for _, k := range r.Keys {
			e.u64(k.Version)
			e.strings(k.KeyID)
			e.bytes(k.Wrapped)
		}
	case OpRecord:
		e.strings(r.Action, r.Name)
		e.u64(r.Version)
		e.strings(r.Outcome, string(r.Code))
	case OpReadEach:
		e.items(r.Items)
	case OpLease:
		k := &r.Keys[0]
		e.strings(r.Name)
		e.raw(r.ID[:])
		e.u64(k.Version)
		e.strings(k.KeyID)
		e.bytes(k.Wrapped)
		e.u64(r.LeaseSecs)
		e.u64(r.File)
	}
	return e.b, nil
}

// size is the number of bytes in the body of r.
func (r *Request) size() int {
	o := r.Origin
	n := 2 + sizeOf(o.Database, o.Role, o.SessionRole, o.ClientAddr, o.RequestID)
	switch r.Op {
	case OpGenerate:
		n += len(r.ID) + 8
	case OpUnwrap:
		n += sizeOf(r.Action, r.Name) + len(r.ID) + 4
		for _, k := range r.Keys {
			n += 8 + sizeOf(k.KeyID) + 4 + len(k.Wrapped)
		}
	case OpRecord:
		n += sizeOf(r.Action, r.Name) + 8 + sizeOf(r.Outcome, string(r.Code))
	case OpReadEach:
		n += sizeOfItems(r.Items)
	case OpLease:
		n += sizeOf(r.Name, r.Keys[0].KeyID) + len(r.ID) + 8 + 4 + len(r.Keys[0].Wrapped) + 8 + 8
	}
	return n
}

// ParseRequest decodes a request's body. The Wrapped keys alias body. The error is
// Invalid. It says which field is wrong and repeats nothing of the body.
func ParseRequest(body []byte) (*Request, error) {
	d := decoder{b: body}
	if v := d.byte(); v != ProtocolVersion {
		return nil, core.Errorf(core.Invalid, "agent request: protocol version is not %d", ProtocolVersion)
	}
	r := &Request{Op: Op(d.byte())}
	r.Origin = Origin{
		Database: d.string(), Role: d.string(), SessionRole: d.string(),
		ClientAddr: d.string(), RequestID: d.string(),
	}
	switch r.Op {
	case OpGenerate:
		r.ID = d.id()
		r.Version = d.u64()
	case OpUnwrap:
		r.Action, r.Name = d.string(), d.string()
		r.ID = d.id()
		r.Keys = d.keys()
	case OpRecord:
		r.Action, r.Name = d.string(), d.string()
		r.Version = d.u64()
		r.Outcome, r.Code = d.string(), core.Code(d.string())
	case OpReadEach:
		r.Items = d.items()
	case OpLease:
		r.Name, r.ID = d.string(), d.id()
		r.Keys = []WrappedKey{{Version: d.u64(), KeyID: d.string(), Wrapped: d.bytes()}}
		r.LeaseSecs, r.File = d.u64(), d.u64()
	default:
		return nil, core.Errorf(core.Invalid, "agent request: unknown operation")
	}
	if !d.done() {
		return nil, core.Errorf(core.Invalid, "agent request: length does not fit the fields")
	}
	if p := r.problem(); p != "" {
		return nil, core.Errorf(core.Invalid, "agent request: %s", p)
	}
	return r, nil
}

func (d *decoder) id() (id core.SecretID) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

func (d *decoder) keys() []WrappedKey {
	keys := make([]WrappedKey, d.count(MaxKeys))
	for i := range keys {
		keys[i] = WrappedKey{Version: d.u64(), KeyID: d.string(), Wrapped: d.bytes()}
	}
	return keys
}

// problem returns the first rule that r breaks, or "". Both directions ask it, so
// that no end sends what the other refuses.
func (r *Request) problem() string {
	if p := r.Origin.problem(); p != "" {
		return p
	}
	if p := r.problemUnused(); p != "" {
		return p
	}
	switch r.Op {
	case OpGenerate:
		return problemTarget(r.ID, r.Version)
	case OpUnwrap:
		return r.problemUnwrap()
	case OpRecord:
		return r.problemRecord()
	case OpReadEach:
		return r.problemItems()
	case OpLease:
		return r.problemLease()
	}
	return "unknown operation"
}

func (o Origin) problem() string {
	switch {
	case o.Database == "" || !isText(o.Database, MaxText):
		return "database is empty, too long or not text"
	case o.Role == "" || !isText(o.Role, MaxText):
		return "role is empty, too long or not text"
	case !isText(o.SessionRole, MaxText):
		return "session role is too long or not text"
	case !isText(o.RequestID, MaxRequestIDLen):
		return "request id is too long or not text"
	case o.ClientAddr == "":
		return ""
	}
	addr, err := netip.ParseAddr(o.ClientAddr)
	if err != nil || addr.Zone() != "" || len(o.ClientAddr) > MaxText {
		return "client address is not an IP address without a zone"
	}
	return ""
}

// problemUnused refuses fields that the operation would not send. Code that set
// one expects it to arrive.
func (r *Request) problemUnused() string {
	record, unwrap, lease := r.Op == OpRecord, r.Op == OpUnwrap, r.Op == OpLease
	switch {
	case !unwrap && !record && (r.Action != "" || (r.Name != "" && !lease)):
		return "action or name is set, which the operation does not have"
	case record && !r.ID.IsZero():
		return "secret id is set, which the operation does not have"
	case (unwrap || lease) && r.Version != 0:
		return "version is set, which the operation has in its keys"
	case !unwrap && !lease && len(r.Keys) != 0:
		return "keys are set, which the operation does not have"
	case r.Op != OpReadEach && len(r.Items) != 0:
		return "items are set, which the operation does not have"
	case !lease && (r.LeaseSecs != 0 || r.File != 0):
		return "lease is set, which the operation does not have"
	case !record && (r.Outcome != "" || r.Code != ""):
		return "outcome or code is set, which the operation does not have"
	}
	return ""
}

func problemTarget(id core.SecretID, version uint64) string {
	switch {
	case id.IsZero():
		return "secret id is zero"
	case version == 0 || version > math.MaxInt64:
		return "version is out of range"
	}
	return ""
}

func (r *Request) problemUnwrap() string {
	if !slices.Contains([]string{ActionRead, ActionVerify, ActionRotate, ActionBind, ActionRepair}, r.Action) {
		return "action is none that needs a key"
	}
	return r.problemWanted(MaxKeys)
}

func (r *Request) problemLease() string {
	if r.LeaseSecs == 0 || r.LeaseSecs > MaxLeaseSecs {
		return "duration of a lease is out of range"
	}
	return r.problemWanted(1)
}

// problemWanted checks the name, the id and the keys of a secret, of which there are at most so many.
func (r *Request) problemWanted(most int) string {
	if len(r.Keys) == 0 || len(r.Keys) > most {
		return "number of keys is out of range"
	}
	if _, err := core.ParseName(r.Name); err != nil {
		return "name is not the name of a secret"
	}
	for _, k := range r.Keys {
		if p := problemTarget(r.ID, k.Version); p != "" {
			return p
		}
		if p := problemWrapped(k.KeyID, k.Wrapped); p != "" {
			return p
		}
	}
	return ""
}

func problemWrapped(keyID string, wrapped []byte) string {
	switch {
	case keyID == "" || !isText(keyID, MaxKeyIDLen):
		return "key id is empty, too long or not text"
	case len(wrapped) == 0 || len(wrapped) > MaxWrappedLen:
		return "length of a wrapped key is out of range"
	}
	return ""
}

func (r *Request) problemRecord() string {
	switch {
	case !isWord(r.Action):
		return "action is not a word of a-z and _"
	case !isText(r.Name, core.MaxNameLen):
		return "name is too long or not text"
	case r.Version > math.MaxInt64:
		return "version is out of range"
	case r.Outcome == OutcomeOK && (r.Action == ActionList || r.Action == ActionAudit) && r.Code == "":
		return ""
	case r.Outcome != OutcomeDenied && r.Outcome != OutcomeFailed:
		return "outcome is neither denied nor failed"
	case !r.Code.Known():
		return "code is unknown"
	}
	return ""
}
