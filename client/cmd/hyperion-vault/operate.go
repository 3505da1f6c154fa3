package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) auditCommand() *cobra.Command {
	var o auditOptions
	c := &cobra.Command{
		Use: "audit", Short: "Read the audit", Args: cobra.NoArgs,
		Long: `audit prints audit records in the order in which they arrived. With -o json each is one line of JSON, as the server sends
it. --follow goes on with new ones. The filters are applied here: every record after --after is read. To go on later, give
the id of the last record as --after.`,
		Example: "hyperion-vault audit --name db/ --since 1h\nhyperion-vault audit --follow --outcome denied -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if o.sinceText != "" {
				secs, err := seconds("since", o.sinceText)
				if err != nil {
					return err
				}
				o.since = time.Now().Add(-time.Duration(secs) * time.Second)
			}
			if _, err := strconv.ParseUint(o.after, 10, 63); o.after != "" && err != nil {
				return usagef("--after is the id of an audit record, a number")
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			return p.audit(c.Context(), cl, &o)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with new records")
	f.StringVar(&o.after, "after", "", "begin behind the record of this id")
	f.Int64Var(&o.limit, "limit", 0, "end after so many records that fit")
	f.StringVar(&o.sinceText, "since", "", "records of the last time, as in 1h")
	f.StringVar(&o.name, "name", "", "records of a secret, or of all below a prefix that ends with a slash")
	f.StringVar(&o.actor, "actor", "", "records of an actor, as in token:ci or role:app")
	f.StringVar(&o.action, "action", "", "records of an action, as in read")
	f.StringVar(&o.outcome, "outcome", "", "records of an outcome: ok, denied or failed")
	return c
}

type auditOptions struct {
	follow                       bool
	after, sinceText             string
	limit                        int64
	since                        time.Time
	name, actor, action, outcome string
}

func (o *auditOptions) fits(r client.AuditRecord) bool {
	switch {
	case o.name != "" && r.Name != o.name && (!strings.HasSuffix(o.name, "/") || !strings.HasPrefix(r.Name, o.name)):
	case o.actor != "" && r.Actor != o.actor:
	case o.action != "" && r.Action != o.action:
	case o.outcome != "" && r.Outcome != o.outcome:
	case r.At != nil && r.At.Before(o.since):
	default:
		return true
	}
	return false
}

const auditPoll = time.Second

func (p *program) audit(ctx context.Context, cl *client.Client, o *auditOptions) error {
	table := p.rows(column{"AT", 20}, column{"NODE", 10}, column{"ACTOR", 20}, column{"ACTION", 10}, column{"OUTCOME", 7}, column{"NAME", 0})
	var shown int64
	for {
		err := p.buffered(func(func()) error {
			for r, err := range cl.Audit(ctx, o.after, 0) {
				if err != nil {
					return err
				}
				o.after = r.ID
				if !o.fits(r) {
					continue
				}
				if err := p.printAudit(table, r); err != nil {
					return err
				}
				if shown++; shown == o.limit {
					return nil
				}
			}
			return nil
		})
		if err != nil || !o.follow || shown > 0 && shown == o.limit {
			return interrupted(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(auditPoll):
		}
	}
}

// interrupted makes an end that the user wants no failure.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (p *program) printAudit(table *rows, r client.AuditRecord) error {
	switch {
	case p.flags.field != "":
		return p.printField(r.Line)
	case p.flags.output == "yaml":
		_, _ = fmt.Fprintln(p.out, "---")
		return p.printText(r.Line)
	case p.flags.output == "json" || p.flags.output == "raw":
		_, err := p.out.Write(append(r.Line, '\n'))
		return failed(err)
	}
	name := oneLine(r.Name)
	if r.Version > 0 {
		name += " v" + strconv.FormatInt(r.Version, 10)
	}
	outcome := r.Outcome
	if r.Code != "" {
		outcome += " " + r.Code
	}
	table.add(when(r.At), r.Node, oneLine(r.Actor), r.Action, outcome, name)
	return nil
}

func (p *program) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the state of the vault", Args: cobra.NoArgs,
		Long: "status shows the state of the node that answers. It exits with 2 if the node is not ready.",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			ready, err := cl.Ready(c.Context())
			if err != nil {
				return err
			}
			st, err := cl.Status(c.Context())
			if err != nil {
				return err
			}
			answer := struct {
				Ready string `json:"ready"`
				*client.Status
			}{ready.Status, st}
			if err := p.one(answer, func() { p.printStatus(cl, ready, st) }); err != nil {
				return err
			}
			if ready.Status == "unavailable" {
				return exitError(exitFailed)
			}
			return nil
		},
	}
}

func (p *program) printStatus(cl *client.Client, ready *client.Probe, st *client.Status) {
	table := p.rows(column{"WHAT", 12}, column{"STATE", 0})
	state := ready.Status
	switch state {
	case "ok", "ready":
		state = p.paint("32", state)
	default:
		state = p.paint("31", state)
	}
	table.add("address", cl.Address())
	table.add("readiness", state)
	table.add("node", map[bool]string{true: "standby", false: "primary"}[st.InRecovery])
	table.add("version", st.Version)
	table.add("secrets", fmt.Sprintf("%d, of which %d rotate by themselves", st.Secrets, st.Automatic))
	table.add("rotations", fmt.Sprintf("%d due, %d failing, %d missed", st.Due, st.Failing, st.Missed))
	if st.Audit != nil {
		table.add("audit", fmt.Sprintf("%d records on their way", st.Audit.Pending))
	}
	for _, f := range st.Failures {
		table.add("failing", f.Name+": "+oneLine(f.Reason))
	}
	for _, c := range st.Conditions {
		table.add(c.Severity, c.Name+": "+oneLine(c.Reason))
	}
	for _, w := range st.Warnings {
		table.add("warning", w.Code+": "+oneLine(w.Detail))
	}
}

func (p *program) watchCommand() *cobra.Command {
	var after string
	c := &cobra.Command{
		Use: "watch [PREFIX]", Short: "Follow changes as they are committed", Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeNames,
		Long: `watch prints each change of a secret, and never a value. With -o json each is one line of JSON. It goes on when the
connection breaks. "reset" means that changes may have been missed.`,
		RunE: func(c *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			table := p.rows(column{"AT", 20}, column{"ACTION", 16}, column{"NAME", 0})
			o := client.WatchOptions{Prefix: prefix, After: after, OnDisconnect: func(err error) {
				_, _ = fmt.Fprintln(p.errOut, "note: trying again:", oneLine(err.Error()))
			}}
			for e, err := range cl.Watch(c.Context(), o) {
				if err != nil {
					return err
				}
				if err := p.printEvent(table, e); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&after, "after", "", "begin behind the event of this id, which -o json shows")
	return c
}

func (p *program) printEvent(table *rows, e client.Event) error {
	if p.flags.output != "" && p.flags.output != "table" || p.flags.field != "" {
		return p.printLine(e)
	}
	if e.Reset {
		table.add(when(new(time.Now())), "reset", "-")
		return nil
	}
	table.add(when(&e.At), e.Action, e.Name+" v"+strconv.FormatInt(e.Version, 10))
	return nil
}
