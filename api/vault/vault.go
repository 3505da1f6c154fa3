package vault

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/api/refusal"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// Actors of the audit log that are not built from a name.
const (
	actorAnonymous = "anonymous"
)

// Prefixes of the actors that are built from a name.
const (
	actorCLI  = "cli:"
	actorRole = "role:"
)

const defaultRecordTimeout = 5 * time.Second

// Config is what a Vault is made of. Store, Keeper, Recorder, Node and
// Database are required.
type Config struct {
	Store         Store
	Keeper        Keeper
	Recorder      Recorder
	Allow         allowlist.List   // who may read at first (SetAllow); the zero List allows no client
	Quota         quota.Limits     // at first (SetQuota)
	AnonymousOff  bool             // at first, callers without a token may not read (SetAnonymous)
	Node          string           // this node, as audit records name it
	Database      string           // the one database this process serves
	MaxValueLen   int              // bytes of plaintext; 0 = core.DefaultMaxValueLen
	RecordTimeout time.Duration    // bound of one audit record; 0 = 5 s
	Clock         Clock            // nil = the system's clock
	Logins        Logins           // nil = no client can log in, and batch tokens are not valid
	Verifier      LoginVerifier    // required beside Logins
	Passwords     *password.Hasher // nil = one with the current cost
	Wrapping      Wrapping         // nil = no answer is wrapped
	Leases        Leases           // nil = there are no leased roles
	Rewraps       RewrapRunner     // nil = data keys cannot be moved to another master key
	// Step, for tests, is called between the steps of a due rotation. nil = not.
	Step func(step string)
}

// Vault is the door. It holds no state of its own beyond its Config, who may read, who was
// refused of late, whether the keeper opens what is stored and since when conditions hold.
// It is safe for concurrent use.
type Vault struct {
	c     Config
	allow atomic.Pointer[allowlist.List]
	// anonymousOff: a caller without a token is refused, whatever the role vault_anonymous may do.
	anonymousOff  atomic.Bool
	refusals      *refusal.Limit
	outright      *refusal.Limit // what Refuse refused
	overQuota     *refusal.Limit // what was over a quota
	refused       refusalCounts
	quota         quota.Quota
	tokenKeys     tokenKeys
	refusedLogins *refusal.Limit
	guesses       *quota.Buckets[guess]
	screen        refusal.Screen[Credential]
	logins        loginCounts
	proof         keyProof
	recording     deadlines // of records
	noticed       noticed
	waiting       rotationFault
}

// New returns the door, or an Invalid error naming what the Config lacks.
func New(c Config) (*Vault, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	v := &Vault{
		c: c, refusals: refusal.NewLimit(), outright: refusal.NewLimit(), overQuota: refusal.NewLimit(), refusedLogins: refusal.NewLimit(),
		guesses: quota.NewBuckets[guess](guessRate), recording: deadlines{after: c.RecordTimeout},
	}
	v.SetAllow(c.Allow)
	v.SetAnonymous(!c.AnonymousOff)
	v.SetQuota(c.Quota)
	return v, nil
}

// Allows reports whether a client of the address may read.
func (v *Vault) Allows(a netip.Addr) bool { return v.allow.Load().Allows(a) }

// SetAllow changes who may read, from the next request on.
func (v *Vault) SetAllow(l allowlist.List) { v.allow.Store(&l) }

// SetAnonymous changes whether callers without a token are decided about, as the role vault_anonymous, from the next
// request on.
func (v *Vault) SetAnonymous(may bool) { v.anonymousOff.Store(!may) }

// AnonymousOn reports whether callers without a token are decided about.
func (v *Vault) AnonymousOn() bool { return !v.anonymousOff.Load() }

// complete fills in the defaults and reports every missing part at once.
func (c *Config) complete() error {
	var problems []error
	require := func(ok bool, what string) {
		if !ok {
			problems = append(problems, core.Errorf(core.Invalid, "the door needs %s", what))
		}
	}
	require(c.Store != nil, "a store")
	require(c.Keeper != nil, "a keeper")
	require(c.Recorder != nil, "a recorder")
	require(c.Node != "", "a node name")
	require(c.Database != "", "a database name")
	require(c.MaxValueLen >= 0 && c.MaxValueLen <= core.MaxValueLen, "a value limit within bounds")
	if c.MaxValueLen == 0 {
		c.MaxValueLen = core.DefaultMaxValueLen
	}
	if c.RecordTimeout <= 0 {
		c.RecordTimeout = defaultRecordTimeout
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Passwords == nil {
		c.Passwords = password.New(password.Cost{})
	}
	return errors.Join(problems...)
}

// attempt is one operation on its way through the door.
type attempt struct {
	v         *Vault
	entry     Entry
	caller    Caller       // by REST
	by        Credential   // what it presented
	malformed error        // why that is no token
	batch     *token.Batch // the batch token that was presented, until it is opened; nil = none
	// allRefused: the operation succeeded as a whole, and each of its names was refused.
	allRefused bool
	each       []Entry  // recorded in place of entry when there are any: each name's of a batch, with its outcome
	ended      [1]Entry // entry with its outcome, once it is recorded
	counts     int      // as how many requests of a quota; 0 = one
	issuing    bool     // it is about the secret ids of the login role that entry names
	change     bool     // its success is recorded by the store, in the change's own transaction
	// unrecorded: it is one of many refusals that have one record together.
	unrecorded bool
}

// try starts an attempt of a REST caller. The name is recorded if it is one.
func (v *Vault) try(c Caller, action Action, name string, version uint64) *attempt {
	by, batch, malformed := credentialOf(c)
	return &attempt{v: v, caller: c, by: by, batch: batch, malformed: malformed, entry: Entry{
		Origin: Origin{Node: v.c.Node, Actor: actorAnonymous, ClientIP: by.Addr, RequestID: c.RequestID},
		Action: action, Name: recordable(action, name), Version: version,
	}}
}

// run admits, acts and settles. A panic in between is recorded as a failure and
// goes on unwinding, so that its stack stays whole.
func (a *attempt) run(ctx context.Context, admit, act func(context.Context) error) error {
	settled := false
	defer func() {
		if !settled {
			_ = a.record(core.Errorf(core.Internal, "the operation panicked"))
		}
	}()
	err := admit(ctx)
	if err == nil {
		err = act(ctx)
	}
	err = a.settle(err)
	settled = true
	return err
}

// perform runs an operation and returns its result, or the zero T beside an error. A result with a method Wipe is wiped
// when it does not leave, because its record could not be written. run is serve, or its counterpart for other callers.
func perform[T any](ctx context.Context, run func(context.Context, func(context.Context) error) error, act func(context.Context) (T, error)) (T, error) {
	var out, none T
	leaves := false
	defer func() {
		if secret, ok := any(&out).(interface{ Wipe() }); ok && !leaves {
			secret.Wipe()
		}
	}()
	err := run(ctx, func(ctx context.Context) (err error) {
		out, err = act(ctx)
		return err
	})
	if err != nil {
		return none, err
	}
	leaves = true
	return out, nil
}

// settle records how the attempt ended and returns what its caller is told: err,
// or Unavailable when the record could not be written, because then nothing may
// leave, not even a refusal. An error that is Unavailable itself keeps its text:
// it may say that the outcome of a change is unknown.
func (a *attempt) settle(err error) error {
	if a.entry.Action != ActionLogin {
		a.v.refused.count(err)
	}
	if err == nil && a.change || a.unrecorded {
		return err
	}
	rerr := a.record(err)
	switch {
	case rerr == nil:
		return err
	case core.CodeOf(err) == core.Unavailable:
		return core.Wrap(core.Unavailable, errors.Join(err, rerr), "%s", core.MessageOf(err))
	}
	return errUnrecorded(rerr)
}

func (a *attempt) record(err error) error {
	if len(a.each) == 0 {
		a.ended[0] = a.entry.ended(err)
		return a.v.record(a.ended[:]...)
	}
	if err != nil {
		for i := range a.each {
			a.each[i].Version = 0
			a.each[i] = a.each[i].ended(err)
		}
	}
	return a.v.record(a.each...)
}

func (e Entry) ended(err error) Entry {
	e.Code = core.CodeOf(err)
	e.Outcome = outcomeOf(e.Code)
	if errors.Is(err, ErrOutcomeUnknown) {
		e.Outcome = OutcomeUnknown
	}
	return e
}

// record takes no context: a client that goes away must not erase its own trace.
func (v *Vault) record(entries ...Entry) error {
	return v.c.Recorder.Record(v.recording.next(), entries...)
}

func errUnrecorded(err error) error {
	return core.Wrap(core.Unavailable, err, "the audit record could not be written")
}

// ErrOutcomeUnknown is in the error of a change that a Store sent and could not find again until the deadline.
var ErrOutcomeUnknown = errors.New("the change may have been made")

func outcomeOf(code core.Code) Outcome {
	switch code {
	case "":
		return OutcomeOK
	case core.Denied, core.Unauthenticated, core.TooMany:
		return OutcomeDenied
	default:
		return OutcomeFailed
	}
}

// recordable returns what an audit record names: nothing where a name, or the
// prefix of a list, a watch or a read of the audit, is none. What stands there may be a value in the wrong place.
// What was to be granted or revoked is put together by vault.grant_access and its siblings, of parts they have checked.
func recordable(action Action, name string) string {
	switch action {
	case ActionList, ActionWatch, ActionAudit:
		prefix, _ := core.ParsePrefix(name)
		return prefix
	case ActionLogin, ActionAuthConfigure, ActionAuthList:
		return loginTarget(name)
	case ActionGrant, ActionRevoke, ActionTokenCreate, ActionTokenRenew, ActionTokenRevoke:
		return printable(name)
	}
	n, _ := core.ParseName(name)
	return string(n)
}

// printable makes an unchecked name fit for an audit record: it keeps printable
// ASCII, shows every other byte as '?', and cuts at the longest valid name.
func printable(name string) string {
	b := []byte(name[:min(len(name), core.MaxNameLen)])
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b)
}
