package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// SQLSTATEs that the vault schema raises or that decide what to do next.
const (
	stateStale            = "VT001"
	stateClaimLost        = "VT002"
	stateJournalGap       = "VT003"
	stateJournalForked    = "VT004"
	stateNeedsVerifier    = "VT005"
	stateRoleChanged      = "VT006"
	stateNoLeasedRole     = "VT007" // the template can make no role now
	stateUndefinedObject  = "42704"
	stateUniqueViolation  = "23505"
	stateCheckViolation   = "23514"
	stateInvalidParameter = "22023"
	stateInvalidGrant     = "0LP01" // of roles that can be given nothing
	stateNoPrivilege      = "42501"
	stateNotAuthorized    = "28000"
	stateReadOnly         = "25006"
	stateAdminShutdown    = "57P01"
	stateCrashShutdown    = "57P02"
	stateCannotConnect    = "57P03"
	stateDataCorrupted    = "XX001"
	stateIndexCorrupted   = "XX002"
	stateNoSchema         = "3F000"
	stateNoFunction       = "42883"
)

// Constraints that say that a name is taken.
const (
	constraintSecretName = "secrets_name_key"
	constraintTokenName  = "tokens_name_key"
	constraintTokenName1 = "admin_tokens_name_key" // in the schema of 0.1.0
	// constraintFirstVersion says that the name was used before, up to another version.
	constraintFirstVersion = "secrets_first_version_key"
)

// serverError is what is kept of a server's error: never its detail or context,
// which can hold the row.
type serverError struct {
	severity, message, state, constraint string
}

func (e *serverError) Error() string {
	s := fmt.Sprintf("%s: %s (SQLSTATE %s)", e.severity, e.message, e.state)
	if e.constraint != "" {
		s += fmt.Sprintf(" (constraint %s)", e.constraint)
	}
	return s
}

// classify turns any error of pgx into a core error, by SQLSTATE and constraint
// name, never by text. A core error passes as it is.
func (d *DB) classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return d.classifyServer(pg)
	}
	if malformed(err) {
		return core.Wrap(core.Corrupt, err, "a stored row is malformed")
	}
	if untrusted(err) {
		return core.Wrap(core.Unavailable, err, "the database's certificate was not accepted")
	}
	return classifyLocal(err)
}

func (d *DB) classifyServer(pg *pgconn.PgError) error {
	cause := &serverError{severity: pg.Severity, message: pg.Message, state: pg.Code, constraint: pg.ConstraintName}
	if pg.Code == stateNoSchema {
		return core.Wrap(core.Unavailable, cause, "extension hyperion_vault is not installed in database %q", d.database)
	}
	if missing(pg) {
		return core.Wrap(core.Unavailable, cause,
			"the schema of extension hyperion_vault in database %q does not have what this program calls: /readyz says which versions fit", d.database)
	}
	if pg.ConstraintName == constraintFirstVersion {
		return core.Wrap(core.Unavailable, vault.ErrNameUsed, "the name was used and freed meanwhile: try again")
	}
	switch pg.Code {
	case stateUndefinedObject:
		return core.Wrap(core.NotFound, cause, "no such secret, version, token, role, template or lease")
	case stateUniqueViolation:
		return classifyUnique(pg, cause)
	case stateStale, stateInvalidParameter, stateInvalidGrant, stateRoleChanged, stateNoLeasedRole:
		// Texts of the vault schema's own: names, versions and limits, no values.
		return core.Wrap(codeOfState[pg.Code], cause, "%s", pg.Message)
	case stateClaimLost:
		return core.Wrap(core.Stale, vault.ErrClaimLost, "%s", pg.Message)
	case stateNeedsVerifier:
		return core.Wrap(core.Stale, vault.ErrBound, "the secret was bound to a role meanwhile: try again")
	case stateJournalGap:
		return core.Wrap(core.Unavailable, vault.ErrJournalGap, "%s", pg.Message)
	case stateJournalForked:
		return core.Wrap(core.Stale, vault.ErrJournalForked, "%s", pg.Message)
	case stateCheckViolation:
		return core.Wrap(core.Invalid, cause, "a field breaks the limit %s", pg.ConstraintName)
	case "3D000":
		return core.Wrap(core.Unavailable, cause, "the database %q does not exist", d.database)
	}
	v := verdictOf(pg.Code)
	if s := pg.SeverityUnlocalized; v.code == core.Internal && (s == "FATAL" || s == "PANIC") {
		v = unavailable("the database server ended the session: its log says why") // as of a full disk
	}
	return core.Wrap(v.code, cause, "%s", v.text)
}

var codeOfState = map[string]core.Code{stateStale: core.Stale, stateInvalidParameter: core.Invalid, stateInvalidGrant: core.Invalid, stateRoleChanged: core.Invalid, stateNoLeasedRole: core.Unavailable}

func classifyUnique(pg *pgconn.PgError, cause error) error {
	switch pg.ConstraintName {
	case constraintSecretName:
		return core.Wrap(core.Exists, cause, "a secret of that name exists")
	case constraintTokenName, constraintTokenName1:
		return core.Wrap(core.Exists, cause, "a token of that name exists")
	default:
		return core.Wrap(core.Internal, cause, "a unique constraint was violated")
	}
}

// missing reports whether a function, table or type of the extension is not there. A type that is missing has the
// SQLSTATE of a missing secret, but only a statement's own mistake has a position in it.
func missing(pg *pgconn.PgError) bool {
	switch pg.Code {
	case stateNoFunction, "42P01":
		return true
	case stateUndefinedObject:
		return pg.Position > 0
	}
	return false
}

// overtaken reports whether a function that began before an update of the schema did not find a table by the name that it
// had until then. The statement did nothing, and finds the new function when it is sent again.
func overtaken(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "42P01" && pg.Where != ""
}

// untrusted reports whether a server's certificate was refused, here or there.
func untrusted(err error) bool {
	_, refused := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err) // the modes that ask for no name verify by themselves
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return refused || unknown || invalid
}

// permanent reports whether trying again is pointless, once every host was tried: wrong credentials, no such database, a
// certificate that is not trusted, a privilege that is missing, a
// schema that does not fit, a connection pooler.
func permanent(err error) bool {
	if _, refused := causeOf(err); refused {
		return true
	}
	if untrusted(err) || errors.Is(err, pgcluster.ErrClosed) || errors.Is(err, errMismatch) || pgcluster.IsPooled(err) {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "28") || strings.HasPrefix(pg.Code, "3D") || pg.Code == stateNoPrivilege)
}

// conclusive reports whether a refusal comes from what the change asks for or from the rows it would have changed. Any
// other one, as of a lock that another session holds, says nothing about an earlier try whose answer was lost: that may be who
// holds the lock.
func conclusive(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pg.Code) != 5 {
		return false
	}
	if _, refused := causeOf(err); refused {
		return false // decided before the rows were read
	}
	if pg.ConstraintName == constraintFirstVersion {
		return true
	}
	switch pg.Code[:2] {
	case "VT", "22", "23", "42":
		return true
	}
	return false
}

// demoted reports whether a definite refusal means that the server is no longer, or
// not yet, the one to ask.
func demoted(err error) bool {
	if errors.Is(err, pgcluster.ErrInRecovery) {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code {
	case stateReadOnly, stateAdminShutdown, stateCrashShutdown, stateCannotConnect:
		return true
	}
	return strings.HasPrefix(pg.Code, "08")
}

// transient reports whether a read may simply be asked again: the connection or the
// server went away, or a standby's replay cancelled it.
func transient(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return !malformed(err)
	}
	return demoted(err) || strings.HasPrefix(pg.Code, "40") || strings.HasPrefix(pg.Code, "53")
}

// malformed reports whether a row arrived that this code cannot read.
func malformed(err error) bool {
	if _, ok := errors.AsType[pgx.ScanArgError](err); ok {
		return true
	}
	_, ok := errors.AsType[*core.Error](err)
	return ok
}
