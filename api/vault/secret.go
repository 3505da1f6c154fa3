package vault

import (
	"errors"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

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
	CASRequired          bool             // each update of the value must name the version it replaces

	DeleteVersionAfterSecs int64 // after its creation a version is deleted by itself; 0 = never
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
	Password        RolePassword      // that the value is, if the secret is bound to a role
}

// Deletion is what DeleteSecret deletes.
type Deletion struct {
	ID       core.SecretID
	Name     core.Name // to find out whether it was done, should the answer get lost
	Expected uint64    // must be the current version
	Destroy  bool      // it cannot be restored
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
	CASRequired          bool // each update of the value must name the version it replaces
	// DeleteVersionAfterSecs is how long after its creation a new version is deleted by itself; 0 = never.
	DeleteVersionAfterSecs int64
	// Bound: the value is the password of a role of PostgreSQL, which a change of it sets. Not known of a claimed rotation.
	Bound bool
	// NextRole is whose password the next version is; nil = not known, or the secret is not bound.
	NextRole *NextRole
	// FirstVersion is where the versions of this secret begin: a name that was used before has had the lower numbers.
	FirstVersion     uint64
	CurrentVersion   uint64    // one less than FirstVersion: it has no version yet
	SettingsRevision uint64    // from 1; every change of the settings raises it
	NextRotationAt   time.Time // zero = none, or not computed yet
	CreatedAt        time.Time
	UpdatedAt        time.Time
	Position         core.Position // of the change that returned this, as Store says; zero when it was read
}

// HasVersion reports whether the secret has ever had a value: one that was made by CreateMetadata has none at first.
func (s *Secret) HasVersion() bool { return s.CurrentVersion >= s.FirstVersion }

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
	DeleteAt        time.Time     // when it is deleted by itself; zero = never
	DeletedAt       time.Time     // zero = not deleted; one that is can be undeleted
	DestroyedAt     time.Time     // zero = not destroyed; nothing is left of the value of one that is
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
	Tags           []byte    // of the secret, a JSON object; nil = not asked for
	NextRotationAt time.Time // of the secret; zero = none, not computed yet, or not asked for
	DeleteAt       time.Time // when the version is deleted by itself; zero = never, or not asked for
}

// StoredResult is one name's part of ReadEach.
type StoredResult struct {
	StoredValue       // zero unless Err is nil
	Err         error // NotFound, Corrupt, TooLarge, or a refusal
}

// ErrNameUsed is in the chain of the error of a creation whose name was used before, up to another version than the
// creation supposed. Nothing was stored.
var ErrNameUsed = errors.New("the name has had other versions")
