// Package migration has the commands "import" and "export" for the programs that offer them. It speaks to servers over REST
// and to nothing else, so that it fits into a program for machines without a server.
package migration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// Host is the program that has the commands.
type Host struct {
	Environ     func() []string
	Out, ErrOut io.Writer
	// Failed marks an error of a call that was understood, for which the program ends with ExitFailed. It is nil for nil.
	// Every other error is a wrong call.
	Failed     func(error) error
	ExitFailed int
	// FileFlag is the name of the flag with the file that an export makes.
	FileFlag string
	// Own returns the vault that all commands of the program use. Without it the two commands have flags for the vault, and
	// VAULT_ADDR and its siblings are those of the foreign server.
	Own func() (Vault, error)
	// Supabase opens the extension supabase_vault in a database. nil: the program has no connection to any.
	Supabase func(ctx context.Context, schema string) (s migrate.Source, done func(), err error)
}

// Vault says where a vault of ours is. Timeout bounds one request; zero is the default.
type Vault struct {
	Address, Token string
	PlainHTTP      bool // http is allowed to other machines
	TLS            *tls.Config
	Timeout        time.Duration
}

// variable returns the value of an environment variable, "" if it is not set.
func (h Host) variable(name string) string {
	all := h.Environ()
	i := slices.IndexFunc(all, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	if i < 0 {
		return ""
	}
	return all[i][len(name)+1:]
}

// isServer reports whether a kind is another product's server.
func isServer(kind string) bool { return kind == "vault" || kind == "openbao" }

// isFile reports whether a kind is a form of a file.
func isFile(kind string) bool { return kind == "json" || kind == "dotenv" }

// writeReport writes the report of a run that has imported or exported.
func writeReport(to io.Writer, done string, r *migrate.Report) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %d (versions: %d)\nthere already: %d\ndifferent: %d\nnot %s: %d\n",
		done, r.Written, r.Versions, r.Same, len(r.Differ), done, len(r.Refused))
	for _, part := range []struct {
		what  string
		notes []migrate.Note
	}{{"different", r.Differ}, {"not " + done, r.Refused}, {"lost", r.Losses}} {
		for _, n := range part.notes {
			fmt.Fprintf(&out, "%s: %s: %s\n", part.what, n.Name, n.Text)
		}
	}
	_, err := fmt.Fprint(to, out.String())
	return err
}
