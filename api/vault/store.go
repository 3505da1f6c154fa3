package vault

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Clock tells the time. nil in a Config means the system's clock.
type Clock func() time.Time

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
// A read with a Freshness queries the reader only as long as that is fresh enough, and is Unavailable when no server that
// answers is.
type Store interface {
	// CreateSecret stores a secret with its first version. Exists when the name is taken, ErrNameUsed when it was, so
	// that the first version is another.
	CreateSecret(ctx context.Context, s NewSecret, by Author) (Secret, error)
	// CreateMetadata stores a secret without a version; s has no Sealed, and its Version is not used. Exists when the name
	// is taken.
	CreateMetadata(ctx context.Context, s NewSecret, by Author) (Secret, error)
	// ChangeVersions deletes, undeletes or destroys versions, and returns those that were changed. NotFound when there is
	// no such secret.
	ChangeVersions(ctx context.Context, x VersionsChange, by Author) (VersionsChanged, error)
	// FirstVersion fetches from the primary at which version a new secret of that name begins: 1, or the one after the last
	// that the name ever had. Exists when the name is taken. It decides about no caller.
	FirstVersion(ctx context.Context, name core.Name) (uint64, error)
	// AppendVersion stores version v.Expected+1; Stale when v.Expected is not current. What a change of the value leaves as
	// it is, is not all in the answer: FirstVersion, CASRequired and DeleteVersionAfterSecs are zero.
	AppendVersion(ctx context.Context, v NewVersion, by Author) (Secret, error)
	// DeleteSecret deletes a secret; Stale when x.Expected is not current. Its versions are destroyed, unless the database
	// keeps them for a time and x.Destroy is false.
	DeleteSecret(ctx context.Context, x Deletion, by Author) (core.Position, error)

	// Decide finds out who a caller is, and whether it has a right of RightOf on a name. Without a name it decides whether
	// the caller has the right on any name, or for manage on all. A refusal is in the Identity and is no error.
	Decide(ctx context.Context, by Credential, right, name string, f Freshness) (Identity, error)
	// Passing returns those of several callers that hold a valid token, or have none and may do anything at all.
	Passing(ctx context.Context, callers []Credential) ([]Credential, error)

	// ReadSealed returns the given version of a name (0 = the current one), none when there is none. It queries the reader.
	// No caller writes to what the rows hold: callers who ask for the same at one moment may share it.
	ReadSealed(ctx context.Context, by Credential, name core.Name, version uint64, f Freshness) ([]StoredValue, Identity, error)
	// ReadEach returns the current version of each of several different names, in
	// their order. Ciphertexts are at most room bytes in all: names that leave none are
	// TooLarge, and which these are is not determined. It queries the reader. The error
	// is that of all names.
	ReadEach(ctx context.Context, by Credential, names []core.Name, room int, f Freshness) ([]StoredResult, Identity, error)
	// ReadVerifiable returns the current version and those in grace, newest
	// first; none when there is no such secret. It queries the reader.
	ReadVerifiable(ctx context.Context, by Credential, name core.Name, f Freshness) ([]StoredValue, Identity, error)
	// ReadSealedOnWriter fetches the current version from the primary, as a part of a change; NotFound when absent. It decides
	// about no caller.
	ReadSealedOnWriter(ctx context.Context, name core.Name) (StoredValue, error)
	// DescribeSecret queries the reader; NotFound when absent.
	DescribeSecret(ctx context.Context, by Credential, name core.Name, f Freshness) (Secret, Identity, error)
	// DescribeSecretOnWriter queries the primary, so that a change is based on what
	// is current there; NotFound when absent. The action is the change's. Corrupt comes with the secret's id, name and
	// current version, as far as these can be read.
	DescribeSecretOnWriter(ctx context.Context, by Credential, action Action, name core.Name) (Secret, Identity, error)
	// DescribeSecrets lists by name in byte order, at most limit names that the caller may see, with the
	// prefix and after the given name. It queries the reader.
	DescribeSecrets(ctx context.Context, by Credential, prefix, after string, limit int, f Freshness) ([]SecretResult, Identity, error)
	// SearchSecrets is DescribeSecrets for names or descriptions that have a text in them, in any case of ASCII.
	SearchSecrets(ctx context.Context, by Credential, part, prefix, after string, limit int, f Freshness) ([]SecretResult, Identity, error)
	// DescribeVersions lists newest first, also what is deleted or destroyed; none when absent. It queries the reader.
	DescribeVersions(ctx context.Context, by Credential, name core.Name, f Freshness) ([]VersionInfo, Identity, error)

	Rotations
	DeletedSecrets
	Roles

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
