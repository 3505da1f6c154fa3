package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// Action is what an operation tries to do, as the audit log spells it.
type Action string

// The actions of the audit log.
const (
	ActionCreate      Action = "create"
	ActionRead        Action = "read"
	ActionUpdate      Action = "update"
	ActionDelete      Action = "delete"
	ActionRotate      Action = "rotate"
	ActionVerify      Action = "verify"
	ActionList        Action = "list"
	ActionDescribe    Action = "describe"
	ActionConfigure   Action = "configure"
	ActionExpire      Action = "expire"
	ActionStatus      Action = "status"
	ActionWatch       Action = "watch"
	ActionTokenCreate Action = "token_create"
	ActionTokenRenew  Action = "token_renew"
	ActionTokenRevoke Action = "token_revoke"
	ActionTokenList   Action = "token_list"
	ActionAccess      Action = "access" // asks who may do what, and why
	ActionGrant       Action = "grant"
	ActionRevoke      Action = "revoke"
	ActionAudit       Action = "audit"       // a look at the records
	ActionAuditPrune  Action = "audit_prune" // only by SQL

	ActionRewrap       Action = "rewrap"        // without a name: the whole run; with one: a version of it
	ActionRewrapStatus Action = "rewrap_status" // a look at it

	ActionMalformed Action = "malformed" // stands for a record that the audit log does not take
)

// Outcome is how an operation ended, as the audit log spells it.
type Outcome string

// The outcomes of the audit log. Denied means that the caller had no right;
// Failed is everything else that did not succeed.
const (
	OutcomeOK     Outcome = "ok"
	OutcomeDenied Outcome = "denied"
	OutcomeFailed Outcome = "failed"
	// OutcomeUnknown: the change was sent, and whether it was made could not be found out in time. If it was, it has a
	// record of its own (ok) with the same request id.
	OutcomeUnknown Outcome = "unknown"
)

// Bearer is the token a caller presented, unchecked; "" means none.
// Every way of printing it shows a constant.
type Bearer string

const redacted = "REDACTED"

// String returns a constant.
func (Bearer) String() string { return redacted }

// GoString returns a constant.
func (Bearer) GoString() string { return redacted }

// LogValue returns a constant.
func (Bearer) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format writes a constant, whatever the verb.
func (Bearer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns a constant.
func (Bearer) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Caller is who asks through REST. The door decides what it may do: a transport
// fills in what it saw and judges nothing.
type Caller struct {
	Addr      netip.Addr // client address; the zero Addr is allowed nothing
	Bearer    Bearer     // presented token; "" = none
	RequestID string     // copied to the audit record
	Freshness Freshness  // of what its reads see; changes are made on the primary anyway
}

// Operator is who works on the tokens from a shell of the node. Holding
// the service role's database password is what authorises it; no transport may
// make one.
type Operator struct {
	Name      string // operating-system user, e.g. "root"; recorded as "cli:NAME"
	RequestID string
}

// SQLCaller is who asks from a PostgreSQL backend, as the extension reports it.
// PostgreSQL has already decided that the role may do what it asks.
type SQLCaller struct {
	Database    string // must be the database this process serves
	Role        string // effective role; recorded as "role:NAME"
	SessionRole string // role the session logged in as
	ClientAddr  string // textual IP address; "" for a unix-socket client
	RequestID   string
}

// Origin says in an audit record where an operation came from.
type Origin struct {
	Node        string
	Actor       string     // what a Store found of a REST caller, "anonymous", "cli:OSUSER", "role:NAME", "rotator"
	SessionRole string     // the role that the actor acts as, or logged in as; "" = none
	ClientIP    netip.Addr // zero = none (a unix socket, a shell)
	RequestID   string
}

// Entry is one audit record. It holds no value, token or key.
type Entry struct {
	Origin  Origin
	Action  Action
	Name    string // secret (or token) name; "" where there is none, or what was asked for is no name
	Version uint64 // 0 = none
	Outcome Outcome
	Code    core.Code // "" when Outcome is OutcomeOK
}

// Recorder writes audit records. Implementations are safe for concurrent use.
type Recorder interface {
	// Record returns nil once every entry is on its way to durable storage. Any
	// error makes the operation they belong to fail: nothing leaves unrecorded.
	// ctx is never cancelled by a client that goes away, and carries a deadline.
	Record(ctx context.Context, entries ...Entry) error
}

// WrappedKey is a data key as stored: useless without the keeper.
type WrappedKey struct {
	KeyID   string // which master key wrapped it
	Wrapped []byte
}

// DataKey is a new data key. Whoever receives it wipes Plain.
type DataKey struct {
	Plain []byte
	WrappedKey
}

// Keeper makes and unwraps data keys. Implementations are safe for concurrent
// use and return core.Unavailable when the key service cannot be reached and
// core.Corrupt when a wrapped key does not unwrap under its context.
type Keeper interface {
	// Generate returns a new 32-byte data key bound to kmsContext.
	Generate(ctx context.Context, kmsContext map[string]string) (DataKey, error)
	// Unwrap returns the plain data key, which the caller owns and wipes: a
	// keeper that caches hands out a copy.
	Unwrap(ctx context.Context, key WrappedKey, kmsContext map[string]string) ([]byte, error)
	// Check returns nil when the keeper could serve Generate now.
	Check(ctx context.Context) error
}

// Holder is a Keeper that can go on without its key service for a while.
type Holder interface {
	Keeper
	// Held is how many data keys Unwrap could return now without asking anybody.
	Held() int
}

// Clock tells the time. nil in a Config means the system's clock.
type Clock func() time.Time

// SealedValue is one sealed version as stored.
type SealedValue struct {
	EnvelopeVersion int16
	Key             WrappedKey
	Nonce           []byte
	Ciphertext      []byte
}

// NewSecret is what CreateSecret stores.
type NewSecret struct {
	ID                   core.SecretID
	Name                 core.Name
	Version              uint64 // the one it was sealed as; must be FirstVersion of the name
	Sealed               SealedValue
	Kind                 core.Kind
	ContentType          core.ContentType
	Description          string
	Tags                 map[string]string
	Rotation             Rotation
	RotationIntervalSecs int64 // 0 = a schedule, or never rotated by itself
	GracePeriodSecs      int64
	GeneratePolicy       *generate.Policy // nil = none stored
}

// NewVersion is what AppendVersion stores as version Expected+1.
type NewVersion struct {
	ID              core.SecretID
	Name            core.Name // to find out whether it was stored, should the answer get lost
	Expected        uint64    // the version it replaces; must be current
	Sealed          SealedValue
	Action          Action            // ActionUpdate or ActionRotate
	Description     *string           // nil keeps the stored one
	Tags            map[string]string // nil keeps the stored ones
	GracePeriodSecs *int64            // nil keeps the stored one
	Reschedule      bool              // the next rotation comes as if one had been due now
}

// Deletion is what DeleteSecret destroys.
type Deletion struct {
	ID       core.SecretID
	Name     core.Name // to find out whether it was done, should the answer get lost
	Expected uint64    // must be the current version
}

// Secret is the metadata of a secret.
type Secret struct {
	ID                   core.SecretID
	Name                 core.Name
	Kind                 core.Kind
	ContentType          core.ContentType
	Description          string
	Tags                 map[string]string
	RotationIntervalSecs int64            // 0 = none
	GracePeriodSecs      int64            // 0 = a superseded version ends at once
	GeneratePolicy       *generate.Policy // nil = none stored
	Rotation             Rotation
	CurrentVersion       uint64
	SettingsRevision     uint64    // from 1; every change of the settings raises it
	NextRotationAt       time.Time // zero = none, or not computed yet
	CreatedAt            time.Time
	UpdatedAt            time.Time
	Position             core.Position // of the change that returned this, as Store says; zero when it was read
}

// SecretResult is one of several secrets. When Err is not nil it is Corrupt, and nothing but the secret's id, name and
// current version is there, as far as these can be read.
type SecretResult struct {
	Secret
	Err error
}

// VersionInfo is the metadata of one version.
type VersionInfo struct {
	Version         uint64
	EnvelopeVersion int16
	KMSKeyID        string
	CreatedAt       time.Time
	ExpiresAt       time.Time     // zero = does not expire (the current version)
	Position        core.Position // of the change that returned this, as Store says; zero when it was read
}

// StoredValue is one sealed version with what its envelope is bound to. Rows may
// have been edited by hand: nothing in it is to be believed before it opens.
type StoredValue struct {
	SecretID       core.SecretID
	Name           core.Name
	ContentType    core.ContentType
	Kind           core.Kind
	CurrentVersion uint64
	Version        uint64
	Sealed         SealedValue
	CreatedAt      time.Time
	ExpiresAt      time.Time // zero = does not expire
}

// StoredResult is one name's part of ReadEach.
type StoredResult struct {
	StoredValue       // zero unless Err is nil
	Err         error // NotFound, Corrupt, TooLarge, or a refusal
}

// ErrNameUsed is in the chain of the error of a creation whose name was used before, up to another version than the
// creation supposed. Nothing was stored.
var ErrNameUsed = errors.New("the name has had other versions")

// Store calls the functions of the vault schema. Every error carries a core
// code: NotFound, Exists, Stale, Invalid, Denied, Unavailable, Corrupt or
// Internal. Implementations are safe for concurrent use.
//
// A call with a Credential or an Author decides whether that caller may do this, in the statement that does it. A refusal
// is the error of Identity.Refusal. The Identity says who the caller is, also with an error, as far as that was found out.
//
// A change takes effect once or not at all, and writes its own audit record
// ("ok") in the same transaction. Once sent it is not cancelled by ctx; an
// outcome that cannot be learned is Unavailable with a text that says so.
//
// The Position that a change of a secret returns was taken on the primary after the commit: where it has been replayed, the
// change is seen. It is zero when the primary went away between the change and the question.
//
// A read with a Freshness asks the reader only as long as that is fresh enough, and is Unavailable when no server that
// answers is.
type Store interface {
	// CreateSecret stores a secret with its first version. Exists when the name is taken, ErrNameUsed when it was, so
	// that the first version is another.
	CreateSecret(ctx context.Context, s NewSecret, by Author) (Secret, error)
	// FirstVersion asks the primary at which version a new secret of that name begins: 1, or the one after the last
	// that the name ever had. Exists when the name is taken. It decides about nobody.
	FirstVersion(ctx context.Context, name core.Name) (uint64, error)
	// AppendVersion stores version v.Expected+1; Stale when v.Expected is not current.
	AppendVersion(ctx context.Context, v NewVersion, by Author) (Secret, error)
	// DeleteSecret destroys all versions; Stale when x.Expected is not current.
	DeleteSecret(ctx context.Context, x Deletion, by Author) (core.Position, error)

	// Decide asks who a caller is, and whether it has a right: one of RightOf, on a name; without a name whether it has
	// that on any name, or for manage, on all. A refusal is in the Identity and is no error.
	Decide(ctx context.Context, by Credential, right, name string, f Freshness) (Identity, error)
	// Passing returns those of several callers that hold a valid token, or have none and may do anything at all.
	Passing(ctx context.Context, callers []Credential) ([]Credential, error)

	// ReadSealed returns the given version of a name (0 = the current one), none when there is none. It asks the reader.
	// Nobody writes to what the rows hold: callers who ask for the same at one moment may share it.
	ReadSealed(ctx context.Context, by Credential, name core.Name, version uint64, f Freshness) ([]StoredValue, Identity, error)
	// ReadEach returns the current version of each of several different names, in
	// their order. Ciphertexts are at most room bytes in all: names that leave none are
	// TooLarge, and which these are is not determined. It asks the reader. The error
	// is that of all names.
	ReadEach(ctx context.Context, by Credential, names []core.Name, room int, f Freshness) ([]StoredResult, Identity, error)
	// ReadVerifiable returns the current version and those in grace, newest
	// first; none when there is no such secret. It asks the reader.
	ReadVerifiable(ctx context.Context, by Credential, name core.Name, f Freshness) ([]StoredValue, Identity, error)
	// ReadSealedOnWriter asks the primary for the current version, as a part of a change; NotFound when absent. It decides
	// about nobody.
	ReadSealedOnWriter(ctx context.Context, name core.Name) (StoredValue, error)
	// DescribeSecret asks the reader; NotFound when absent.
	DescribeSecret(ctx context.Context, by Credential, name core.Name, f Freshness) (Secret, Identity, error)
	// DescribeSecretOnWriter asks the primary, so that a change is based on what
	// is current there; NotFound when absent. The action is the change's. Corrupt comes with the secret's id, name and
	// current version, as far as these can be read.
	DescribeSecretOnWriter(ctx context.Context, by Credential, action Action, name core.Name) (Secret, Identity, error)
	// DescribeSecrets lists by name in byte order, at most limit names that the caller may see, with the
	// prefix and after the given name. It asks the reader.
	DescribeSecrets(ctx context.Context, by Credential, prefix, after string, limit int, f Freshness) ([]SecretResult, Identity, error)
	// DescribeVersions lists newest first; none when absent. It asks the reader.
	DescribeVersions(ctx context.Context, by Credential, name core.Name, f Freshness) ([]VersionInfo, Identity, error)

	Rotations

	// AppendAudit inserts records on the primary, all or none, in their order.
	AppendAudit(ctx context.Context, entries []Entry) error

	Tokens
	Access
	RewrapStore
	AuditLog

	// CheckReader returns nil when reads could be served now.
	CheckReader(ctx context.Context) error
	// CheckWriter returns nil when changes could be made now.
	CheckWriter(ctx context.Context) error
}
