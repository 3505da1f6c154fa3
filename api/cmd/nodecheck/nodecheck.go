// Package nodecheck finds what is missing on a node before hyperion-vault-api can serve there, and says for each thing
// which command fixes it. It changes nothing, and it never takes longer than Limit.
package nodecheck

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/config"
)

// Limit bounds the whole check. What has not answered by then is a finding.
const Limit = 15 * time.Second

// Finding is one thing that is missing.
type Finding struct {
	// What is one sentence without a full stop. It holds no secret.
	What string
	// Fix are shell commands, each complete as it stands, in their order.
	Fix []string
}

// Options say what the check cannot know from the settings.
type Options struct {
	// Version is that of the program; the schema in the database should have it. "" or "dev" = any will do.
	Version string
	// SettingsFile is where the settings of the service are kept, and Unit is the service. Both stand in commands only.
	SettingsFile, Unit string
	// ServiceUser is the OS user of the service, when this process is root and the user exists; else it is this process's.
	ServiceUser string
}

// Report is what was found.
type Report struct {
	Findings []Finding
	// Notes are what could not be checked, and why.
	Notes []string
	// Warnings are variables that look like settings and are none.
	Warnings []string
}

// node is what the parts of a check share.
type node struct {
	cfg config.Config
	o   Options
	// service is the OS user whose rights count for files.
	service account
	root    bool
}

// part is one of the things that are checked, beside the others.
type part struct {
	name string
	run  func(*node, context.Context) Report
}

var parts = []part{
	{"the database", (*node).checkDatabase},
	{"the clocks of the servers", (*node).checkClocks},
	{"the key service", (*node).checkKey},
	{"the audit journal's directory", (*node).checkJournal},
	{"the addresses that may read", (*node).checkAllowed},
	{"the key agent's socket", (*node).checkAgent}, // last: it is the service itself that is to be started then
}

// Run checks the node for which environ has the settings.
func Run(ctx context.Context, environ func() []string, o Options) Report {
	var found Report
	cfg, warnings, err := config.Load(environ)
	partial := err != nil
	if partial {
		found = settingsReport(err, o)
	}
	for _, w := range warnings {
		if !config.IsSetting(w.Name) {
			found.Warnings = append(found.Warnings, w.Text)
		}
	}
	if partial {
		if cfg, _, err = config.LoadStore(environ); err != nil {
			return found
		}
	}
	defer cfg.Wipe()
	n := &node{cfg: cfg, o: o, root: os.Geteuid() == 0}
	n.service = n.serviceAccount()
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	checks := parts
	if partial { // the rest of the settings are defaults, of which nothing can be said
		checks = parts[:2]
		found.Notes = append(found.Notes, "key service, key agent, audit journal and allowed addresses are checked once the settings are right")
	}
	return found.and(n.runAll(ctx, checks))
}

// runAll runs the parts side by side and does not wait for one that hangs, as on a file system that is away.
func (n *node) runAll(ctx context.Context, checks []part) Report {
	answers := make([]chan Report, len(checks))
	for i, p := range checks {
		answers[i] = make(chan Report, 1)
		go func() { answers[i] <- p.run(n, ctx) }()
	}
	var all Report
	late := time.NewTimer(Limit + time.Second)
	defer late.Stop()
	over := false
	for i, p := range checks {
		if over {
			select {
			case r := <-answers[i]:
				all = all.and(r)
			default:
				all = all.and(hung(p))
			}
			continue
		}
		select {
		case r := <-answers[i]:
			all = all.and(r)
		case <-late.C:
			over = true
			all = all.and(hung(p))
		}
	}
	return all
}

func hung(p part) Report {
	return finding(fmt.Sprintf("%s did not answer within %s", p.name, Limit), "dmesg --level=err,warn | tail")
}

func finding(what string, fix ...string) Report {
	return Report{Findings: []Finding{{What: what, Fix: fix}}}
}

func (r Report) and(more Report) Report {
	return Report{
		Findings: append(r.Findings, more.Findings...), Notes: append(r.Notes, more.Notes...),
		Warnings: append(r.Warnings, more.Warnings...),
	}
}

// settingsReport makes a finding of each mistake in the settings.
func settingsReport(err error, o Options) Report {
	var r Report
	problems, ok := err.(*config.Error)
	if !ok {
		return finding(err.Error(), edit(o))
	}
	for _, p := range problems.Problems {
		r = r.and(finding(p.Text, edit(o)))
	}
	return r
}

func edit(o Options) string { return `"${EDITOR:-editor}" ` + quote(o.SettingsFile) }

// account is an OS user.
type account struct {
	name     string
	uid, gid int
}

// serviceAccount returns who the service runs as.
func (n *node) serviceAccount() account {
	if n.root && n.o.ServiceUser != "" {
		if a, err := lookUp(n.o.ServiceUser); err == nil {
			return a
		}
	}
	a := account{uid: os.Geteuid(), gid: os.Getegid(), name: strconv.Itoa(os.Geteuid())}
	if u, err := user.Current(); err == nil {
		a.name = u.Username
	}
	return a
}

// lookUp finds a user by name or by number. A number without an entry has itself for a group.
func lookUp(name string) (account, error) {
	u, err := user.Lookup(name)
	if n, perr := strconv.Atoi(name); err != nil && perr == nil {
		if u, err = user.LookupId(name); err != nil {
			return account{name: name, uid: n, gid: n}, nil
		}
	}
	if err != nil {
		return account{}, err
	}
	a := account{name: u.Username}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return account{}, err
	}
	a.gid, err = strconv.Atoi(u.Gid)
	return a, err
}
