package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) lsCommand() *cobra.Command {
	var tree, long, deleted bool
	c := &cobra.Command{
		Use: "ls [PREFIX]", Short: "List secrets", Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeNames,
		Long: `ls lists the names of secrets in byte order, page by page: the first comes at once, however many there are. A prefix is a
name (itself and every name below it) or a name and a slash (only those below it).`,
		Example: "hyperion-vault ls\nhyperion-vault ls app/ --tree\nhyperion-vault ls -l",
		RunE: func(c *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			switch {
			case deleted:
				return p.lsDeleted(c.Context(), cl, prefix)
			case tree:
				return p.lsTree(c.Context(), cl, prefix)
			}
			return p.ls(c.Context(), cl, prefix, long, func(client.Secret) bool { return true })
		},
	}
	c.Flags().BoolVar(&tree, "tree", false, "draw a tree")
	c.Flags().BoolVarP(&long, "long", "l", false, "with versions and times")
	c.Flags().BoolVar(&deleted, "deleted", false, "list deleted secrets that can be restored")
	c.MarkFlagsMutuallyExclusive("tree", "long", "deleted")
	return c
}

// buffered collects the output of f, so that a hundred thousand lines are not as many writes. What has come shows at the
// end of each page.
func (p *program) buffered(f func(flush func()) error) error {
	real := p.out
	b := bufio.NewWriterSize(real, 64<<10)
	p.out = writer{b, real}
	defer func() { p.out = real }()
	err := f(func() { _ = b.Flush() })
	if ferr := b.Flush(); err == nil {
		err = failed(ferr)
	}
	return err
}

func (p *program) ls(ctx context.Context, cl *client.Client, prefix string, long bool, wanted func(client.Secret) bool) error {
	return p.buffered(func(flush func()) error {
		out := list{p: p}
		table := p.rows(column{"VERSION", 7}, column{"KIND", 9}, column{"UPDATED", 20}, column{"NEXT ROTATION", 20}, column{"NAME", 0})
		var broken error
		n := 0
		for s, err := range cl.List(ctx, client.ListOptions{Prefix: prefix}) {
			if err != nil && s.Name == "" {
				return err
			}
			if err != nil { // a secret that cannot be shown
				broken = err
				_, _ = fmt.Fprintln(p.errOut, "error:", oneLine(err.Error()))
				continue
			}
			if wanted(s) {
				if err := out.add(s, func() { p.lsRow(table, s, long) }); err != nil {
					return err
				}
			}
			if n++; n%100 == 0 {
				flush()
			}
		}
		if err := out.end(); err != nil || broken == nil {
			return err
		}
		return exitError(exitFailed)
	})
}

func (p *program) lsRow(table *rows, s client.Secret, long bool) {
	if !long {
		table.print(s.Name)
		return
	}
	table.add(strconv.FormatInt(s.CurrentVersion, 10), s.Kind, when(&s.UpdatedAt), when(s.NextRotationAt), s.Name)
}

func (p *program) lsDeleted(ctx context.Context, cl *client.Client, prefix string) error {
	deleted, err := cl.Deleted(ctx, prefix, 1000)
	if err != nil {
		return err
	}
	out := list{p: p}
	table := p.rows(column{"DELETED", 20}, column{"RESTORABLE UNTIL", 20}, column{"NAME", 0})
	for _, d := range deleted {
		if err := out.add(d, func() { table.add(when(&d.DeletedAt), when(&d.RestorableUntil), d.Name) }); err != nil {
			return err
		}
	}
	return out.end()
}

// lsTree draws names as they come: what a line shares with the one before it is indented.
func (p *program) lsTree(ctx context.Context, cl *client.Client, prefix string) error {
	return p.buffered(func(flush func()) error {
		var last []string
		n := 0
		for s, err := range cl.List(ctx, client.ListOptions{Prefix: prefix}) {
			if err != nil && s.Name == "" {
				return err
			}
			parts := strings.Split(s.Name, "/")
			same := 0
			for same < len(parts)-1 && same < len(last)-1 && parts[same] == last[same] {
				same++
			}
			for i := same; i < len(parts); i++ {
				text := strings.Repeat("  ", i) + parts[i]
				if i < len(parts)-1 {
					text = strings.Repeat("  ", i) + p.paint("34", parts[i]+"/")
				}
				_, _ = fmt.Fprintln(p.out, text)
			}
			last = parts
			if n++; n%100 == 0 {
				flush()
			}
		}
		return nil
	})
}

func (p *program) searchCommand() *cobra.Command {
	var prefix, tag string
	var long bool
	c := &cobra.Command{
		Use: "search TEXT", Short: "Find secrets by a part of their name or description", Args: cobra.ExactArgs(1),
		Long: `search lists secrets whose name or description contains a text, in any case. --tag narrows the search to a tag, as in
team=payments or team. It reads the list of all names below the prefix, page by page, and shows what fits as it comes.`,
		Example: "hyperion-vault search password\nhyperion-vault search '' --tag team=payments",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			text := strings.ToLower(args[0])
			return p.ls(c.Context(), cl, prefix, long, func(s client.Secret) bool {
				return hasTag(s.Tags, tag) && (strings.Contains(strings.ToLower(s.Name), text) || strings.Contains(strings.ToLower(s.Description), text))
			})
		},
	}
	c.Flags().StringVar(&prefix, "prefix", "", "search below a prefix")
	c.Flags().StringVar(&tag, "tag", "", "secrets that have this tag, as in NAME or NAME=TEXT")
	c.Flags().BoolVarP(&long, "long", "l", false, "with versions and times")
	return c
}

func hasTag(tags map[string]string, wanted string) bool {
	name, text, exact := strings.Cut(wanted, "=")
	have, ok := tags[name]
	return wanted == "" || ok && (!exact || have == text)
}

const completionLimit = 200

// completeNames completes the first argument by the names of the server, one segment at a time.
func (p *program) completeNames(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault // @FILE
	}
	cl, err := p.connect()
	if err != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	found := segments(ctx, cl, typed)
	if len(found) == 1 && strings.HasSuffix(found[0], "/") {
		return found, none | cobra.ShellCompDirectiveNoSpace
	}
	return found, none
}

// segments returns the names that begin with what was typed, up to their next slash. It jumps over what is below one.
func segments(ctx context.Context, cl *client.Client, typed string) (found []string) {
	prefix := typed[:strings.LastIndexByte(typed, '/')+1]
	after := ""
	if typed != prefix { // the list is in byte order: begin just before what was typed
		after = prefix + typed[len(prefix):len(typed)-1]
	}
	for len(found) < completionLimit {
		name, ok := first(ctx, cl, prefix, strings.TrimSuffix(after, "/"))
		if !ok {
			return found
		}
		rest, below := strings.CutPrefix(name, typed)
		if !below && name > typed {
			return found
		}
		after = name
		if at := strings.IndexByte(rest, '/'); below && at >= 0 {
			name = typed + rest[:at+1]
			after = pastAll(name)
		}
		if below {
			found = append(found, name)
		}
	}
	return found
}

// pastAll returns a name that comes after every usual name below a prefix.
func pastAll(prefix string) string { return prefix + strings.Repeat("z", max(255-len(prefix), 1)) }

func first(ctx context.Context, cl *client.Client, prefix, after string) (string, bool) {
	for s, err := range cl.List(ctx, client.ListOptions{Prefix: prefix, After: after, PageSize: 1}) {
		return s.Name, err == nil || s.Name != ""
	}
	return "", false
}
