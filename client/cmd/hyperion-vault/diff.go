package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) diffCommand() *cobra.Command {
	var reveal bool
	c := &cobra.Command{
		Use: "diff NAME [OLD [NEW]]", Short: "Compare two versions without showing them", Args: cobra.RangeArgs(1, 3), ValidArgsFunction: p.completeNames,
		Long: `diff says what has changed between two versions: of a JSON object which fields, and of a text which lines. Without numbers it
compares the current version with the one before it. It shows no value unless --reveal is given. Both versions must
still be readable.`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			numbers, err := p.versionsToCompare(c.Context(), cl, args)
			if err != nil {
				return err
			}
			var values [2]*client.Value
			for i, n := range numbers {
				if values[i], err = cl.GetVersion(c.Context(), args[0], n); err != nil {
					return err
				}
				defer values[i].Wipe()
			}
			changes := compare(values[0].Bytes, values[1].Bytes, reveal)
			answer := map[string]any{"name": args[0], "old": numbers[0], "new": numbers[1], "changes": changes}
			return p.one(answer, func() { p.printDiff(args[0], numbers, changes) })
		},
	}
	c.Flags().BoolVar(&reveal, "reveal", false, "show the values")
	return c
}

func (p *program) versionsToCompare(ctx context.Context, cl *client.Client, args []string) (numbers [2]int64, err error) {
	for i, text := range args[1:] {
		if numbers[i], err = strconv.ParseInt(text, 10, 64); err != nil || numbers[i] < 1 {
			return numbers, usagef("a version is a number, as \"versions\" shows it")
		}
	}
	if len(args) == 3 {
		return numbers, nil
	}
	versions, err := cl.Versions(ctx, args[0])
	if err != nil {
		return numbers, err
	}
	if len(versions) < 2 && len(args) == 1 || len(versions) == 0 {
		return numbers, failure{errNoVersions}
	}
	numbers[1] = versions[0].Version
	if len(args) == 1 {
		numbers[0] = versions[1].Version
	}
	return numbers, nil
}

// change is one difference.
type change struct {
	What string `json:"what"`          // "added", "removed" or "changed"
	At   string `json:"at"`            // "field x", "line 3" or "value"
	Old  string `json:"old,omitempty"` // only if it may be shown
	New  string `json:"new,omitempty"`
}

// compare returns the differences of two values.
func compare(a, b []byte, reveal bool) []change {
	changes := []change{}
	if bytes.Equal(a, b) {
		return changes
	}
	var before, after map[string]json.RawMessage
	if json.Unmarshal(a, &before) == nil && json.Unmarshal(b, &after) == nil && before != nil && after != nil {
		changes = compareFields(before, after)
	} else if bytes.IndexByte(a, '\n') >= 0 && bytes.IndexByte(b, '\n') >= 0 {
		changes = compareLines(strings.Split(string(a), "\n"), strings.Split(string(b), "\n"))
	} else {
		changes = append(changes, change{What: "changed", At: "value", Old: string(a), New: string(b)})
	}
	if len(changes) == 0 { // the same fields in another form
		changes = append(changes, change{What: "changed", At: "value", Old: string(a), New: string(b)})
	}
	for i := range changes {
		if !reveal {
			changes[i].Old, changes[i].New = "", ""
		}
	}
	return changes
}

func compareFields(before, after map[string]json.RawMessage) (changes []change) {
	names := slices.Collect(maps.Keys(before))
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		a, b := before[name], after[name]
		c := change{At: "field " + name, Old: string(a), New: string(b)}
		switch {
		case a == nil:
			c.What = "added"
		case b == nil:
			c.What = "removed"
		case !bytes.Equal(a, b):
			c.What = "changed"
		default:
			continue
		}
		changes = append(changes, c)
	}
	return changes
}

// compareLines compares what is between the lines that both begin with and end with.
func compareLines(a, b []string) (changes []change) {
	from := 0
	for from < min(len(a), len(b)) && a[from] == b[from] {
		from++
	}
	for len(a) > from && len(b) > from && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	for i := from; i < max(len(a), len(b)); i++ {
		c := change{At: fmt.Sprintf("line %d", i+1), What: "changed"}
		if i < len(a) {
			c.Old = a[i]
		} else {
			c.What = "added"
		}
		if i < len(b) {
			c.New = b[i]
		} else {
			c.What = "removed"
		}
		changes = append(changes, c)
	}
	return changes
}

func (p *program) printDiff(name string, numbers [2]int64, changes []change) {
	if len(changes) == 0 {
		_, _ = fmt.Fprintf(p.out, "versions %d and %d of %s are equal\n", numbers[0], numbers[1], name)
		return
	}
	table := p.rows(column{"CHANGE", 7}, column{"WHERE", 0})
	revealed := slices.ContainsFunc(changes, func(c change) bool { return c.Old+c.New != "" })
	if revealed {
		table = p.rows(column{"CHANGE", 7}, column{"WHERE", 20}, column{"OLD", 24}, column{"NEW", 0})
	}
	for _, c := range changes {
		if revealed {
			table.add(c.What, oneLine(c.At), oneLine(c.Old), oneLine(c.New))
		} else {
			table.add(c.What, oneLine(c.At))
		}
	}
}
