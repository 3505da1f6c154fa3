package console

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// secretPage is what is known of one secret, without its value.
type secretPage struct {
	vault.Secret
	Crumbs   []crumb
	Now      time.Time
	Versions []versionRow
	Timeline timeline
	May      map[string]bool         // of the user, by action
	Own      []vault.ExplanationLine // why
	Readers  []vault.GrantInfo
	// NoReaders says why the grants are not shown; "" = they are.
	NoReaders string
	Last      []vault.AuditRecord // reads, newest first
	ShowLast  bool                // the user may see them
}

// The last readers that are shown, and from how long ago.
const (
	lastReaders = 10
	lastReads   = 30 * 24 * time.Hour
)

// versionRow is a version as the page shows it.
type versionRow struct {
	vault.VersionInfo
	State    string // current, in grace, ended, deleted or destroyed
	Ends     time.Time
	Readable bool
}

// secret shows one secret. Each part is a question of its own at the door: what the user may not see is left out.
func (v *visit) secret() error {
	name := v.query.Get("name")
	s, err := v.c.vault.Describe(v.ctx(), v.caller, name)
	if err != nil {
		return err
	}
	p := secretPage{Secret: s, Crumbs: crumbsOf(name), Now: v.c.clock(), May: map[string]bool{}}
	all, err := v.c.vault.Versions(v.ctx(), v.caller, name)
	if err != nil {
		return err
	}
	p.addVersions(all)
	e, err := v.c.vault.Explain(v.ctx(), v.caller, "", name)
	if err != nil {
		return err
	}
	p.Own = e.Lines
	for _, l := range e.Lines {
		p.May[l.Action] = p.May[l.Action] || l.Allowed
	}
	if err := v.addReaders(&p); err != nil {
		return err
	}
	if p.ShowLast = p.May["audit"]; p.ShowLast {
		p.Last, err = v.c.vault.QueryAudit(v.ctx(), v.caller, vault.AuditFilter{
			Prefix: name, Exact: true, Action: vault.ActionRead, Since: p.Now.Add(-lastReads)}, lastReaders)
		if err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "secret.html", v.page(name, "secrets", &p))
}

func (p *secretPage) addVersions(all []vault.VersionInfo) {
	for _, i := range all {
		row := versionRow{VersionInfo: i, State: "ended", Ends: i.ExpiresAt}
		switch {
		case !i.DestroyedAt.IsZero():
			row.State, row.Ends = "destroyed", i.DestroyedAt
		case !i.DeletedAt.IsZero():
			row.State, row.Ends = "deleted", i.DeletedAt
		case i.Version == p.CurrentVersion:
			row.State, row.Readable, row.Ends = "current", true, i.DeleteAt
		case i.ExpiresAt.After(p.Now):
			row.State, row.Readable = "in grace", true
		default:
			row.Readable = int64(p.CurrentVersion-i.Version) <= int64(p.Rotation.KeepVersions)
		}
		p.Versions = append(p.Versions, row)
	}
	p.Timeline = timelineOf(p.Versions, p.Now)
}

// addReaders lists the grants by which a role may read the secret, for those who may manage or audit it.
func (v *visit) addReaders(p *secretPage) error {
	if !p.May["manage"] && !p.May["audit"] {
		p.NoReaders = "Grants are shown to those who may manage or audit the name."
		return nil
	}
	all, err := v.c.vault.Grants(v.ctx(), v.caller)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.Action == "read" && core.Pattern(g.Pattern).Matches(p.Name) {
			p.Readers = append(p.Readers, g)
		}
	}
	slices.SortFunc(p.Readers, func(a, b vault.GrantInfo) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Pattern, b.Pattern))
	})
	return nil
}
