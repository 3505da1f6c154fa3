package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// proofRows is how many stored data keys a proof opens at most.
	proofRows = 8
	// proofHolds is how long a proof is good for, proofRetry how soon one that failed is made again.
	proofHolds = 5 * time.Minute
	proofRetry = 2 * time.Second
)

// Prover is a Keeper that can open a data key without keeping anything of it, and names its master key.
type Prover interface {
	// Prove unwraps key and wipes what it gets. Errors as Unwrap.
	Prove(ctx context.Context, key WrappedKey, kmsContext map[string]string) error
	// KeyID names the master key as the settings do, or by a digest. It reveals nothing of the key.
	KeyID() string
}

type proofState int

const (
	unproven proofState = iota // no proof has come to an end yet
	nothing                    // nothing is stored that could prove anything
	proven                     // what is stored opens
	partial                    // most of it does, and some needs another master key
	mismatch                   // most of it needs another master key
)

// keyProof is whether the keeper opens what is stored. A process that has a valid master key which is not the one that
// the stored data keys were wrapped under would write what opens under no other key, and would read nothing.
type keyProof struct {
	once   sync.Once
	turn   chan struct{} // holds the right to make a proof
	mu     sync.Mutex
	state  proofState
	at     time.Time // of the last proof that came to an end
	tried  time.Time
	ours   string   // the master key as the keeper names it
	made   string   // the master key that the last new data key was wrapped under; "" = none was made
	others []string // master keys whose data keys do not open
	cause  error    // why there is no proof, or what the keeper said to one of others
	opened int
	closed int
}

func (p *keyProof) get() keyProofView {
	p.mu.Lock()
	defer p.mu.Unlock()
	return keyProofView{state: p.state, at: p.at, tried: p.tried, ours: p.ours, cause: p.cause, others: p.others, opened: p.opened, closed: p.closed}
}

type keyProofView struct {
	state          proofState
	at, tried      time.Time
	ours           string
	others         []string
	cause          error
	opened, closed int
}

// text names the key ids.
func (p keyProofView) text() string {
	return fmt.Sprintf("of %d stored data keys that were tried, %d need another master key (%s) than this server has (%s)",
		p.opened+p.closed, p.closed, strings.Join(p.others, ", "), p.ours)
}

func (p *keyProof) conditions() []Condition {
	s := p.get()
	switch s.state {
	case mismatch:
		return []Condition{{Name: ConditionKeyMismatch, Part: "keys", Severity: SeverityUnavailable,
			Reason: s.text() + "; changes are refused: give this server the master key that the secrets were stored under"}}
	case partial:
		return []Condition{{Name: ConditionKeyPartial, Part: "keys", Severity: SeverityDegraded,
			Reason: s.text() + "; the others open: another server may have written with another key"}}
	case unproven:
		if s.cause != nil {
			severity := SeverityDegraded
			if errors.Is(s.cause, errNoRows) {
				severity = SeverityNotice // the check of the reader says it
			}
			return []Condition{{Name: ConditionKeyUnproven, Part: "keys", Severity: severity,
				Reason: "whether the master key opens what is stored is not known yet: " + core.MessageOf(s.cause)}}
		}
	}
	return nil
}

// requireKeys returns nil when new data keys may be made: the keeper has been shown to open what is stored, or nothing
// is stored yet. Errors: Unavailable.
func (v *Vault) requireKeys(ctx context.Context) error {
	switch s := v.proof.get(); s.state {
	case proven, partial:
		return nil
	case mismatch:
		if v.c.Clock().Sub(s.tried) < proofRetry {
			return errMismatch(s)
		}
	}
	// As long as nothing is stored another server may store something at any time, so the primary is asked each time.
	if err := v.proveKeys(ctx, true); err != nil {
		return ourFault(err)
	}
	if s := v.proof.get(); s.state == mismatch {
		return errMismatch(s)
	}
	return nil
}

func errMismatch(s keyProofView) error {
	return core.Wrap(core.Unavailable, s.cause, "changes are refused (%s): %s", ConditionKeyMismatch, s.text())
}

// refreshProof makes a proof on the node's own database when the last one is too old, for readiness.
func (v *Vault) refreshProof(ctx context.Context) {
	s := v.proof.get()
	holds := proofRetry
	if s.state == proven {
		holds = proofHolds
	}
	if age := v.c.Clock().Sub(s.tried); s.tried.IsZero() || age < 0 || age >= holds {
		_ = v.proveKeys(ctx, false) // its error is kept
	}
}

// proveKeys opens a few stored data keys. An error says why nothing was learnt; what was known before then stays.
func (v *Vault) proveKeys(ctx context.Context, primary bool) error {
	p := &v.proof
	p.once.Do(func() { p.turn = make(chan struct{}, 1) })
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	made, err := v.makeProof(ctx, primary)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried = v.c.Clock()
	if err != nil {
		if p.state == unproven {
			p.cause = err
		}
		return err
	}
	p.state, p.at, p.others, p.cause, p.opened, p.closed = made.state, p.tried, made.others, made.cause, made.opened, made.closed
	if made.ours != "" {
		p.ours = made.ours
	}
	return nil
}

// errNoRows is in the chain of the error of a proof for which the stored data keys could not be read.
var errNoRows = errors.New("the stored data keys cannot be read")

func (v *Vault) makeProof(ctx context.Context, primary bool) (keyProofView, error) {
	var made keyProofView
	if k, ok := v.c.Keeper.(Prover); ok {
		made.ours = k.KeyID()
	}
	rows, err := v.c.Store.SampleWrapped(ctx, primary, proofRows)
	if err != nil {
		return made, core.Wrap(core.CodeOf(err), fmt.Errorf("%w: %w", errNoRows, err), "%s", core.MessageOf(err))
	}
	if len(rows) == 0 {
		made.state = nothing
		return made, nil
	}
	// A key service that is away, or a key that is disabled, says nothing about which key it is.
	if err := v.c.Keeper.Check(ctx); err != nil {
		return made, err
	}
	for _, k := range rows {
		err := v.proveOne(ctx, k)
		switch code := core.CodeOf(err); {
		case err == nil:
			made.opened++
		case code == core.Denied || errors.Is(err, ErrKeyRefused) && code != core.Corrupt:
			made.closed++
			made.cause = err
			if !slices.Contains(made.others, k.Key.KeyID) {
				made.others = append(made.others, printable(k.Key.KeyID))
			}
		case code == core.Corrupt: // about that row and no other
		default:
			return made, err
		}
	}
	made.judge()
	return made, nil
}

// judge decides by the majority: one row that came from elsewhere does not put a vault out of use.
func (p *keyProofView) judge() {
	switch {
	case p.closed == 0:
		p.state = proven
	case p.closed > p.opened:
		p.state = mismatch
	default:
		p.state = partial
	}
}

func (v *Vault) proveOne(ctx context.Context, k StoredKey) error {
	kmsContext := envelope.Binding{ID: k.ID, Version: k.Version}.KMSContext()
	if p, ok := v.c.Keeper.(Prover); ok {
		return p.Prove(ctx, k.Key, kmsContext)
	}
	plain, err := v.c.Keeper.Unwrap(ctx, k.Key, kmsContext)
	envelope.Wipe(plain)
	return err
}

// generate is the Keeper's Generate for a keeper that opens what is stored. The caller wipes the key.
func (v *Vault) generate(ctx context.Context, kmsContext map[string]string) (DataKey, error) {
	key, err := v.c.Keeper.Generate(ctx, kmsContext)
	if err != nil {
		return DataKey{}, ourFault(err)
	}
	if v.proof.changed(key.KeyID) {
		v.proof.forget() // an alias stands for another master key by now: what is stored must still open
	}
	if err := v.requireKeys(ctx); err != nil {
		envelope.Wipe(key.Plain)
		return DataKey{}, err
	}
	return key, nil
}

// changed notes under which master key a data key was made, and reports whether the last one was under another.
func (p *keyProof) changed(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.made
	p.made = id
	return before != "" && before != id
}

// forget has the master key proven again before another data key is used.
func (p *keyProof) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != mismatch {
		p.state = unproven
	}
}

// unwrap is the Keeper's Unwrap. The caller wipes the key.
func (v *Vault) unwrap(ctx context.Context, key WrappedKey, kmsContext map[string]string) ([]byte, error) {
	plain, err := v.c.Keeper.Unwrap(ctx, key, kmsContext)
	return plain, ourFault(err)
}

// ourFault makes a refusal of the key service, or of a master key, a failure of this server: to a caller Denied says
// that the caller itself may not do it.
func ourFault(err error) error {
	if core.CodeOf(err) != core.Denied {
		return err
	}
	return core.Wrap(core.Unavailable, err, "%s", core.MessageOf(err))
}
