package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// explainUsage makes every wrong call of root and of its commands an error that names what is wanted. The library's own
// help command prints the help of a parent for a command that does not exist, and reports success.
func explainUsage(root *cobra.Command) {
	root.SetHelpCommand(&cobra.Command{
		Use: "help [COMMAND...]", Short: "Show the usage of a command",
		RunE: func(_ *cobra.Command, args []string) error { return helpOn(root, args) },
	})
	root.InitDefaultHelpCmd()
	nameArguments(root)
}

// helpOn prints the help of the command that args name.
func helpOn(root *cobra.Command, args []string) error {
	c := root
	for _, name := range args {
		next := childOf(c, name)
		if next == nil {
			return fmt.Errorf("unknown command %q for %q", name, c.CommandPath())
		}
		c = next
	}
	c.InitDefaultHelpFlag()
	return failed(c.Help())
}

func childOf(c *cobra.Command, name string) *cobra.Command {
	for _, child := range c.Commands() {
		if child.Name() == name || child.HasAlias(name) {
			return child
		}
	}
	return nil
}

// nameArguments makes c and its commands say which arguments they take, where the library counts them.
func nameArguments(c *cobra.Command) {
	if check := c.Args; check != nil && !c.HasSubCommands() {
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) == nil {
				return nil
			}
			_, wanted, _ := strings.Cut(strings.TrimSuffix(c.Use, " [flags]"), " ")
			if wanted == "" {
				wanted = "no argument"
			}
			return fmt.Errorf("%q takes %s, and was given %s", c.CommandPath(), wanted, counted(len(args)))
		}
	}
	for _, child := range c.Commands() {
		nameArguments(child)
	}
}

func counted(n int) string {
	switch n {
	case 0:
		return "no argument"
	case 1:
		return "one argument"
	}
	return fmt.Sprintf("%d arguments", n)
}
