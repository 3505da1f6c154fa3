package vault

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// Limits of the metadata that is stored in the clear beside a secret.
const (
	MaxDescriptionLen = 1024 // bytes
	MaxTags           = 64
	MaxTagKeyLen      = 128         // bytes
	MaxTagValueLen    = 512         // bytes
	MaxTagsLen        = 49152       // bytes of all tags as JSON
	MaxPeriodSecs     = 315_360_000 // ten years; of a rotation interval or a grace period
	MaxPageSize       = 1000        // secrets in one list answer
	DefaultPageSize   = 100
)

func checkDescription(s string) error {
	if len(s) > MaxDescriptionLen {
		return core.Errorf(core.Invalid, "description is %d bytes, limit is %d", len(s), MaxDescriptionLen)
	}
	return checkText("description", s)
}

func checkTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return core.Errorf(core.Invalid, "%d tags, limit is %d", len(tags), MaxTags)
	}
	for k, v := range tags {
		if len(k) == 0 || len(k) > MaxTagKeyLen {
			return core.Errorf(core.Invalid, "tag name is %d bytes, want 1 to %d", len(k), MaxTagKeyLen)
		}
		if len(v) > MaxTagValueLen {
			return core.Errorf(core.Invalid, "tag value is %d bytes, limit is %d", len(v), MaxTagValueLen)
		}
		if err := checkText("tag", k+v); err != nil {
			return err
		}
	}
	// The database counts a space more after each colon and comma.
	if text, err := json.Marshal(tags); err != nil || len(text)+2*len(tags) > MaxTagsLen {
		return core.Wrap(core.Invalid, err, "tags are too long together, limit is %d bytes as JSON", MaxTagsLen)
	}
	return nil
}

// checkText refuses what PostgreSQL's text cannot hold.
func checkText(what, s string) error {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return core.Errorf(core.Invalid, "%s must be valid UTF-8 without NUL", what)
	}
	return nil
}

func checkPeriod(what string, secs int64) error {
	if secs < 0 || secs > MaxPeriodSecs {
		return core.Errorf(core.Invalid, "%s is %d, want 0 to %d", what, secs, MaxPeriodSecs)
	}
	return nil
}

// Settings are changes to what may be set of a secret beside its value; nil keeps what is stored.
type Settings struct {
	Description          *string
	Tags                 map[string]string
	RotationIntervalSecs *int64  // replaces a schedule
	RotationSchedule     *string // replaces an interval
	RotationTimeZone     *string
	RotationWindowSecs   *int64 // 0 takes the window away
	RotationPaused       *bool
	GracePeriodSecs      *int64 // of versions superseded from now on
	KeepVersions         *int
	GeneratePolicy       *generate.Policy
	CASRequired          *bool
	// DeleteVersionAfterSecs is of versions made from now on; 0 takes it away.
	DeleteVersionAfterSecs *int64
	// TagsPatch changes single tags of those that are stored: nil removes one. It excludes Tags.
	TagsPatch map[string]*string
}

// Configuration is what ConfigureSecret changes.
type Configuration struct {
	ID       core.SecretID
	Name     core.Name // for the answer, should it get lost
	Expected uint64    // must be the current version
	Revision uint64    // must be the revision of the settings; 0 = any
	Settings Settings
}
