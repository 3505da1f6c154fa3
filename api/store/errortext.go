package store

import (
	"context"
	"errors"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/core"
)

// causes are what a client is told of what this side finds out about servers. The first that fits counts.
var causes = []struct {
	err  error
	text string
}{
	{pgcluster.ErrBehind, "no server that answers has reached the given position"},
	{pgcluster.ErrPooled, textPooler},
	{pgcluster.ErrReadOnly, textReadOnly},
	{pgcluster.ErrInRecovery, "no server that answers is the primary: there is none now, or it is not among the API's hosts"},
	{pgcluster.ErrOutdated, "the server that answers was left behind by a failover, and the new primary was not found"},
	{pgcluster.ErrClosed, "the API is stopping"},
	{pgcluster.ErrBusy, "all of the API's connections to the database are in use"},
	{errHeld, "earlier changes of this secret hold up this one: another session may hold a lock on its row"},
	{errCrowded, "too many changes of this secret are waiting already"},
	{errReads, "other reads of the primary hold up this one: the primary is slow, or another session holds a lock"},
	{pgcluster.ErrSlow, "the database did not finish in time: a lock or its load may hold it up"},
	{pgcluster.ErrSilent, "the database server does not answer"},
	{context.Canceled, "the request was cancelled"},
	{context.DeadlineExceeded, "the database did not answer in time"},
}

// classifyLocal decides about an error that no server sent.
func classifyLocal(err error) error {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return core.Wrap(core.Unavailable, err, "%s", c.text)
		}
	}
	return core.Wrap(core.Unavailable, err, "the database cannot be reached")
}

const (
	textReadOnly = "the database takes no changes: it is a standby, or default_transaction_read_only is on for the server, the database or the API's role"
	textPooler   = "a connection pooler stands before the database: VAULT_PG_HOSTS must name PostgreSQL itself"
)

// verdict is what a SQLSTATE means for a client. The texts hold nothing of the server's own.
type verdict struct {
	code core.Code
	text string
}

func unavailable(text string) verdict { return verdict{core.Unavailable, text} }

// verdicts of whole SQLSTATEs; classVerdicts has the others.
var verdicts = map[string]verdict{
	"08001": unavailable("the database server or a pooler before it could not make the connection"),
	"08P01": unavailable("the connection was refused in a way that connection poolers do it: VAULT_PG_HOSTS must name PostgreSQL itself"),

	stateReadOnly: unavailable(textReadOnly),
	"25P03":       unavailable("the server ended the session: it was idle in a transaction for too long"),
	"25P04":       unavailable("the server cancelled the transaction: its transaction_timeout was over"),

	"26000": unavailable(textPooler), // a prepared statement is not there: another server connection has it
	"42P05": unavailable(textPooler), // or is there already

	"28000": unavailable("the database does not admit the API's role: it does not exist, may not log in, or pg_hba.conf refuses it"),
	"28P01": unavailable("the database does not accept the password of the API's role"),

	"40001": unavailable("the change met another one of the same rows, or a standby's replay"),
	"40P01": unavailable("the server ended a deadlock with another session"),

	stateNoPrivilege: unavailable("the API's role lacks a privilege on the database, the vault schema or a function: see vault.grant_service_role"),

	"53100": unavailable("the database's disk is full"),
	"53200": unavailable("the database server is out of memory"),
	"53300": unavailable("the database takes no more connections: max_connections, or the limit of the database or the role, is reached"),
	"53400": unavailable("a configured limit of the database server is reached"),

	"54000": {core.TooLarge, "a limit of the database is exceeded"},

	"55006": unavailable("another session uses what the change needs for itself"),
	"55P03": unavailable("a lock was not to be had in time: another session holds the row or the table"),

	"57014": unavailable("the server cancelled the statement: its statement_timeout was over, or an operator ended it"),
	"57P01": unavailable("the session was ended: an operator did it, or the server stops"),
	"57P02": unavailable("the database server crashed and restarts"),
	"57P03": unavailable("the database server takes no connections now: it starts, stops or recovers"),
	"57P04": unavailable("the database was dropped"),
	"57P05": unavailable("the server ended the session: it was idle for too long"),

	"58030": unavailable("the database server reports an input or output error of its disk"),

	stateDataCorrupted:  {core.Corrupt, "the database reports corrupted data"},
	stateIndexCorrupted: {core.Corrupt, "the database reports corrupted data"},
}

// classVerdicts are those of classes, the first two characters of a SQLSTATE.
var classVerdicts = map[string]verdict{
	"08": unavailable("the connection to the database broke"),
	"22": {core.Invalid, "the database refused a field"},
	"23": {core.Invalid, "the database refused a field"},
	"25": unavailable("the database refused the transaction in its present state"),
	"28": unavailable("the database does not admit the API's role"),
	"40": unavailable("the server rolled the transaction back"),
	"53": unavailable("the database server has run out of a resource"),
	"55": unavailable("what the operation needs is not in the state for it now"),
	"57": unavailable("an operator or the server intervened"),
	"58": unavailable("the database server reports an error of its operating system"),
	"F0": unavailable("a configuration file of the database server is in error"),
}

// verdictOf decides by SQLSTATE, and else by its class.
func verdictOf(state string) verdict {
	if v, ok := verdicts[state]; ok {
		return v
	}
	if len(state) > 2 {
		if v, ok := classVerdicts[state[:2]]; ok {
			return v
		}
	}
	return verdict{core.Internal, "unexpected database error"}
}
