package vault

import (
	"net/netip"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// Credential is what a Store decides by. It is comparable: callers with equal credentials have equal rights at one
// moment. The zero Credential is a caller without a token and without an address.
type Credential struct {
	Addr        netip.Addr
	Fingerprint [32]byte // of the service token that was presented; zero = none
	Claims      string   // of the batch token that was presented, as JSON; "" = none
	itself      bool
	sealed      bool // a batch token was presented, and is not opened yet
}

// Itself returns the credential of this process: what it does for itself, for an operator at a shell, or for a caller
// about whom the store has decided in the same operation. A Store does not decide about it.
func Itself() Credential { return Credential{itself: true} }

// IsItself reports whether the credential is that of Itself.
func (c Credential) IsItself() bool { return c.itself }

// HasToken reports whether a token was presented.
func (c Credential) HasToken() bool { return c.Fingerprint != [32]byte{} || c.Claims != "" || c.sealed }

// Author is who makes a change. The store decides again, in the statement that makes the change, and records the
// Origin's node, address and request with whom it found. The Origin's actor counts for Itself alone.
type Author struct {
	Origin
	By Credential
}

// Cause is why a caller was refused, as the schema names it. The empty Cause allows.
type Cause string

// The causes. Those of a token mean that it is not valid, so that nothing is known of its holder's rights.
const (
	CauseTokenUnknown Cause = "token_unknown"
	CauseTokenExpired Cause = "token_expired"
	CauseTokenRevoked Cause = "token_revoked"
	CauseTokenAddress Cause = "token_address" // presented from an address that it is not bound to
	CauseRoleMissing  Cause = "role_missing"  // the role that it acts as was dropped
	CauseScope        Cause = "scope"
	CauseGrant        Cause = "grant"
)

// Known reports whether c is one of the causes.
func (c Cause) Known() bool { return c.OfToken() || c == CauseScope || c == CauseGrant }

// OfToken reports whether the token is not valid, whatever was asked for.
func (c Cause) OfToken() bool {
	switch c {
	case CauseTokenUnknown, CauseTokenExpired, CauseTokenRevoked, CauseTokenAddress, CauseRoleMissing:
		return true
	}
	return false
}

// Identity is who a Store found a caller to be.
type Identity struct {
	Cause  Cause
	Actor  string // as audit records name it; its form is the schema's. "" = not found out
	Acting string // the role that the caller acts as; "" = none
}

// Refusal returns the error that a caller is told who asked for a right, nil if it has it. The text says nothing of what
// is stored: existing or not, a name that is refused reads the same.
func (i Identity) Refusal(by Credential, right string) error {
	switch {
	case i.Cause == "":
		return nil
	case i.Cause.OfToken():
		return errTokenInvalid(i.Cause)
	case !by.HasToken():
		return refuse(i.Cause, core.Unauthenticated, "a token is required: without one, the action %s is not allowed here", right)
	case i.Cause == CauseScope:
		return refuse(i.Cause, core.Denied, "the token's scope does not allow the action %s here; GET /v1/access with that name explains it", right)
	}
	return refuse(i.Cause, core.Denied, "the token's role does not have the action %s here; GET /v1/access with that name explains it", right)
}

// errTokenInvalid reads the same for every cause.
func errTokenInvalid(cause Cause) error {
	return refuse(cause, core.Unauthenticated, "the token is not valid")
}

// isRefusal reports whether err says that the caller has no right. A Denied error with a cause is this server's own: the
// key service has refused it.
func isRefusal(err error) bool {
	switch core.CodeOf(err) {
	case core.Unauthenticated:
		return true
	case core.Denied:
		if _, ok := err.(*refused); ok {
			return true
		}
		e, ok := err.(*core.Error)
		return ok && e.Err == nil
	}
	return false
}

// RightSelf stands for no right: it only asks who the caller is.
const RightSelf = "self"

// RightIssue is the right to hand out secret ids of the login role that mount/name names.
const RightIssue = "issue"

// rights are what the store decides about an action, where it has another name than the action.
var rights = map[Action]string{
	ActionCreate: "create", ActionRead: "read", ActionUpdate: "update", ActionDelete: "delete", ActionRotate: "rotate",
	ActionVerify: "verify", ActionList: "list", ActionDescribe: "list", ActionConfigure: "update", ActionExpire: "rotate",
	ActionStatus: "status", ActionWatch: "watch", ActionAudit: "audit", ActionTokenCreate: RightSelf, ActionTokenRevoke: RightSelf,
	ActionDeleteVersion: "delete", ActionUndeleteVersion: "update", ActionDestroyVersion: "delete",
	ActionRestore: "create", ActionDestroy: "delete", ActionBindRole: "update", ActionConfigureRole: "update", ActionUnbindRole: "update", ActionSessionList: "rotate", ActionRepairRole: "rotate",
	ActionTokenRenew: RightSelf, ActionTokenList: RightSelf, ActionAccess: RightSelf,
	ActionWrap: RightSelf, ActionUnwrap: RightSelf, ActionWrapLookup: RightSelf,
	// On whose lease, or on which template's name, the right is needed, the statement itself decides.
	ActionLeaseIssue: "create", ActionLeaseRenew: RightSelf, ActionLeaseRevoke: RightSelf, ActionLeaseList: RightSelf,
	ActionTemplateConfigure: RightSelf, ActionTemplateList: RightSelf,
}

// RightOf returns what the store decides about an action. An action that is not known is management, so that a forgotten
// one is closed.
func RightOf(action Action) string {
	if right, ok := rights[action]; ok {
		return right
	}
	return "manage"
}

// ofName reports whether a right is one on a single name.
func ofName(right string) bool {
	switch right {
	case "create", "read", "update", "delete", "rotate", "verify":
		return true
	}
	return false
}

// credentialOf returns what a caller presented; a batch token is to be opened yet. The error is Unauthenticated and the
// same for every text that is no token.
func credentialOf(c Caller) (Credential, *token.Batch, error) {
	by := Credential{Addr: c.Addr.Unmap().WithZone("")}
	if c.Bearer == "" {
		return by, nil, nil
	}
	if token.IsBatch(string(c.Bearer)) {
		b, err := token.ParseBatch(string(c.Bearer))
		if err != nil {
			return by, nil, errTokenInvalid(CauseTokenMalformed)
		}
		by.sealed = true
		return by, &b, nil
	}
	t, err := token.Parse(string(c.Bearer))
	if err != nil {
		return by, nil, errTokenInvalid(CauseTokenMalformed)
	}
	by.Fingerprint = t.Fingerprint()
	return by, nil, nil
}

// ActorName returns the part of an actor that is for people: the schema appends a token's accessor and method.
func ActorName(actor string) string {
	name, _, _ := strings.Cut(actor, "\x1f")
	return name
}
