package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hyperiondb/hyperion-vault/client"
)

// settingFlags are the settings of a secret as flags.
type settingFlags struct {
	description, interval, schedule, zone, window, grace, deleteAfter, exclude, jsonField string
	tags, untags                                                                          []string
	paused, cas, symbols, weak                                                            bool
	keep, length                                                                          int
}

func (s *settingFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&s.description, "description", "", "what the secret is for")
	f.StringArrayVar(&s.tags, "tag", nil, "set a tag, as in team=payments; may be repeated")
	f.StringArrayVar(&s.untags, "untag", nil, "remove a tag; may be repeated")
	f.StringVar(&s.interval, "interval", "", "rotate so often, as in 30d")
	f.StringVar(&s.schedule, "schedule", "", "rotate at these times: minute hour day month weekday")
	f.StringVar(&s.zone, "time-zone", "", "of the schedule, as in Europe/Berlin")
	f.StringVar(&s.window, "window", "", "how late a rotation may be made; 0s is any time")
	f.BoolVar(&s.paused, "paused", false, "rotate nothing by itself; --paused=false goes on")
	f.StringVar(&s.grace, "grace", "", "how long a superseded version stays valid, as in 1h")
	f.IntVar(&s.keep, "keep-versions", 0, "superseded versions that can be read after their grace")
	f.BoolVar(&s.cas, "cas-required", false, "an update must name the version that it replaces")
	f.StringVar(&s.deleteAfter, "delete-version-after", "", "delete new versions by themselves after this time; 0s is never")
	f.IntVar(&s.length, "length", 0, "of generated values")
	f.BoolVar(&s.symbols, "symbols", false, "symbols in generated values")
	f.StringVar(&s.exclude, "exclude", "", "characters that generated values do not have")
	f.StringVar(&s.jsonField, "json-field", "", "the field of a JSON value that a rotation replaces")
	f.BoolVar(&s.weak, "allow-weak", false, "allow generated values of fewer than 64 bits, such as a PIN")
}

// change returns what the flags that were given set.
func (s *settingFlags) change(f *pflag.FlagSet) (client.SettingsChange, error) {
	var c client.SettingsChange
	for _, t := range []struct {
		flag string
		text string
		to   **int64
	}{
		{"interval", s.interval, &c.RotationIntervalSecs}, {"window", s.window, &c.RotationWindowSecs},
		{"grace", s.grace, &c.GracePeriodSecs}, {"delete-version-after", s.deleteAfter, &c.DeleteVersionAfterSecs},
	} {
		if f.Changed(t.flag) {
			secs, err := seconds(t.flag, t.text)
			if err != nil {
				return c, err
			}
			*t.to = &secs
		}
	}
	if f.Changed("interval") && f.Changed("schedule") {
		return c, usagef("a secret rotates by --interval or by --schedule, not by both")
	}
	given(f, "description", &c.Description, s.description)
	given(f, "schedule", &c.RotationSchedule, s.schedule)
	given(f, "time-zone", &c.RotationTimeZone, s.zone)
	given(f, "paused", &c.RotationPaused, s.paused)
	given(f, "keep-versions", &c.KeepVersions, s.keep)
	given(f, "cas-required", &c.CASRequired, s.cas)
	s.policy(f, &c)
	return c, s.patch(&c)
}

// anySet reports whether a change changes something.
func anySet(c client.SettingsChange) bool {
	return !reflect.ValueOf(c).IsZero()
}

func given[T any](f *pflag.FlagSet, flag string, to **T, value T) {
	if f.Changed(flag) {
		*to = &value
	}
}

func (s *settingFlags) policy(f *pflag.FlagSet, c *client.SettingsChange) {
	if !slices.ContainsFunc([]string{"length", "symbols", "exclude", "json-field", "allow-weak"}, f.Changed) {
		return
	}
	c.GeneratePolicy = &client.GeneratePolicy{Length: s.length, Exclude: s.exclude, JSONField: s.jsonField, AllowWeak: s.weak}
	given(f, "symbols", &c.GeneratePolicy.Symbols, s.symbols)
	if s.symbols { // the classes that are named replace the default ones
		c.GeneratePolicy.Lower, c.GeneratePolicy.Upper, c.GeneratePolicy.Digits = new(true), new(true), new(true)
	}
}

func (s *settingFlags) patch(c *client.SettingsChange) error {
	if len(s.tags)+len(s.untags) == 0 {
		return nil
	}
	c.TagsPatch = map[string]*string{}
	for _, tag := range s.tags {
		name, text, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return usagef("--tag is like NAME=TEXT")
		}
		c.TagsPatch[name] = &text
	}
	for _, name := range s.untags {
		c.TagsPatch[name] = nil
	}
	return nil
}

func (p *program) settingsCommand() *cobra.Command {
	var s settingFlags
	c := &cobra.Command{
		Use: "settings NAME", Short: "Show or change the settings of a secret", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		Long: `settings shows what is set on a secret. Flags change it; what is not given stays. An interval replaces a schedule and the
other way round.`,
		Example: "hyperion-vault settings db/password\nhyperion-vault settings db/password --interval 30d --grace 1h --tag team=payments",
		RunE: func(c *cobra.Command, args []string) error {
			change, err := s.change(c.Flags())
			if err != nil {
				return err
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			secret, err := cl.Describe(c.Context(), args[0])
			if err == nil && anySet(change) {
				secret, err = cl.Configure(c.Context(), args[0], client.IfUnchanged(*secret), change)
			}
			if err != nil {
				return err
			}
			return p.one(secret, func() { p.printSettings(secret) })
		},
	}
	s.bind(c.Flags())
	return c
}

func (p *program) printSettings(s *client.Secret) {
	table := p.rows(column{"SETTING", 20}, column{"VALUE", 0})
	add := func(name, value string) {
		if value != "" && value != "0s" && value != "0" {
			table.add(name, value)
		}
	}
	add("name", s.Name)
	add("kind", s.Kind)
	add("content type", s.ContentType)
	add("description", oneLine(s.Description))
	for _, tag := range slices.Sorted(maps.Keys(s.Tags)) {
		add("tag", oneLine(tag+"="+s.Tags[tag]))
	}
	add("version", strconv.FormatInt(s.CurrentVersion, 10))
	add("interval", span(s.RotationIntervalSecs))
	add("schedule", strings.TrimSpace(s.RotationSchedule+" "+s.RotationTimeZone))
	add("window", span(s.RotationWindowSecs))
	if s.RotationPaused {
		add("paused", "true")
	}
	if s.NextRotationAt != nil {
		add("next rotation", when(s.NextRotationAt))
	}
	add("grace", span(s.GracePeriodSecs))
	add("keep versions", strconv.Itoa(s.KeepVersions))
	if s.CASRequired {
		add("cas required", "true")
	}
	add("delete version after", span(s.DeleteVersionAfterSecs))
	if g := s.GeneratePolicy; g != nil && g.Length > 0 {
		add("generated length", strconv.Itoa(g.Length))
	}
	add("created", when(&s.CreatedAt))
	add("updated", when(&s.UpdatedAt))
}

func (p *program) whoMayCommand() *cobra.Command {
	var role string
	var me bool
	c := &cobra.Command{
		Use: "who-may NAME", Short: "Explain who may do what with a name", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		Long: `who-may lists the grants that reach a name, which need not exist. It shows those on patterns on which you have the action
manage or audit. A role also has what roles that it is a member of are granted: --role explains one role, and --me
yourself.`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			if me || role != "" {
				access, err := cl.ExplainAccess(c.Context(), args[0], role)
				if err != nil {
					return err
				}
				return p.one(access, func() { p.printAccess(access) })
			}
			grants, err := cl.Grants(c.Context())
			if err != nil {
				return err
			}
			return p.printGrants(slices.DeleteFunc(grants, func(g client.Granted) bool { return !reaches(g.Pattern, args[0]) }))
		},
	}
	c.Flags().StringVar(&role, "role", "", "explain what this role may do")
	c.Flags().BoolVar(&me, "me", false, "explain what you may do")
	c.MarkFlagsMutuallyExclusive("role", "me")
	return c
}

// reaches reports whether the pattern of a grant selects a name.
func reaches(pattern, name string) bool {
	if base, below := strings.CutSuffix(pattern, "/*"); below {
		rest, ok := strings.CutPrefix(name, base+"/")
		return ok && rest != ""
	}
	return pattern == "*" || pattern == name
}

func (p *program) printAccess(a *client.Access) {
	table := p.rows(column{"ACTION", 8}, column{"ALLOWED", 7}, column{"WHY", 0})
	for _, x := range a.Actions {
		why := "no grant allows it"
		switch {
		case x.How == "superuser":
			why = a.Role + " is a superuser"
		case x.Allowed:
			why = fmt.Sprintf("%s to %s on %s", x.How, x.Grantee, x.Pattern)
		case x.Cause == "scope":
			why = "the scope of the token does not have it"
		}
		table.add(x.Action, map[bool]string{true: "yes", false: "no"}[x.Allowed], why)
	}
}

func (p *program) printGrants(grants []client.Granted) error {
	out := list{p: p}
	table := p.rows(column{"ROLE", 20}, column{"ACTION", 8}, column{"PATTERN", 24}, column{"GRANTED", 0})
	for _, g := range grants {
		err := out.add(g, func() { table.add(g.Role, g.Action, g.Pattern, when(&g.GrantedAt)+" by "+g.GrantedBy) })
		if err != nil {
			return err
		}
	}
	return out.end()
}

func (p *program) grantCommand() *cobra.Command {
	return &cobra.Command{
		Use: "grant ROLE PATTERN ACTION...", Short: "Let a role do actions on a name or prefix", Args: cobra.MinimumNArgs(3),
		Long: `grant lets a role of PostgreSQL do actions on a name, on every name below a prefix (a/b/*), or on every name (*). The
actions are read, create, update, delete, rotate, verify, manage and audit.`,
		Example: "hyperion-vault grant app 'app/*' read verify",
		RunE:    func(c *cobra.Command, args []string) error { return p.changeGrant(c, args, true) },
	}
}

func (p *program) revokeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ROLE PATTERN ACTION...", Short: "Take back what was granted", Args: cobra.MinimumNArgs(3),
		RunE: func(c *cobra.Command, args []string) error { return p.changeGrant(c, args, false) },
	}
}

func (p *program) changeGrant(c *cobra.Command, args []string, allow bool) error {
	cl, err := p.connect()
	if err != nil {
		return err
	}
	change, word := cl.Grant, "granted to"
	if !allow {
		change, word = cl.RevokeGrant, "revoked from"
	}
	if err := change(c.Context(), args[0], args[1], args[2:]...); err != nil {
		return err
	}
	answer := map[string]any{"role": args[0], "pattern": args[1], "actions": args[2:]}
	return p.one(answer, func() {
		_, _ = fmt.Fprintf(p.out, "%s on %s is %s %s\n", strings.Join(args[2:], ", "), args[1], word, args[0])
	})
}
