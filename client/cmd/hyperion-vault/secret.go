package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) getCommand() *cobra.Command {
	var number int64
	c := &cobra.Command{
		Use: "get NAME", Short: "Print a value", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		Long: `get prints the value of a secret. Elsewhere than on a terminal, and with -o raw, it prints exactly the bytes of the
value. --field prints one field of a value that is a JSON object.`,
		Example: "hyperion-vault get db/password\nhyperion-vault get db/login --field username\nhyperion-vault get tls/key -o raw > key.pem",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			var v *client.Value
			if number > 0 {
				v, err = cl.GetVersion(c.Context(), args[0], number)
			} else {
				v, err = cl.Get(c.Context(), args[0])
			}
			if err != nil {
				return err
			}
			defer v.Wipe()
			return p.printValue(v)
		},
	}
	c.Flags().Int64Var(&number, "version", 0, "a version other than the current one")
	return c
}

func (p *program) printValue(v *client.Value) error {
	if p.flags.field != "" {
		text, err := client.JSONField(v.Bytes, p.flags.field)
		if err != nil {
			return failure{err}
		}
		v.Wipe()
		v.Bytes = text
	}
	if p.flags.output == "json" || p.flags.output == "yaml" {
		return p.printText(valueText(v))
	}
	if isTerminal(p.out) && p.flags.output != "raw" {
		if !utf8.Valid(v.Bytes) {
			return usagef("the value is not text; print it with -o raw, into a file")
		}
		v.Bytes = append(v.Bytes, '\n')
	}
	_, err := v.WriteTo(p.out)
	return failed(err)
}

// valueText is a value as the API answers it.
func valueText(v *client.Value) []byte {
	fields := struct {
		*client.Value
		Text   *string `json:"value,omitempty"`
		Base64 []byte  `json:"value_base64,omitempty"`
	}{Value: v}
	if utf8.Valid(v.Bytes) {
		fields.Text = new(string(v.Bytes))
	} else {
		fields.Base64 = v.Bytes
	}
	text, _ := json.Marshal(fields) // of these types it cannot fail
	return text
}

func (p *program) putCommand() *cobra.Command {
	var o putOptions
	c := &cobra.Command{
		Use: "put NAME [@FILE|-]", Short: "Create a secret, or store a new version", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: p.completeNames,
		Long: `put stores a value: a new version of the secret, or the first one. It reads the value from a file (@FILE), from the
standard input (-), or at a prompt that does not show it. Settings that are given hold from now on.`,
		Example: "hyperion-vault put db/password\nhyperion-vault put tls/key @key.pem --if-version 3\nopenssl rand -hex 32 | hyperion-vault put api/key --trim\n" +
			"hyperion-vault put api/key --automatic --interval 30d --grace 1h",
		RunE: func(c *cobra.Command, args []string) error { return p.put(c, args, &o) },
	}
	f := c.Flags()
	f.BoolVar(&o.create, "create", false, "fail if the secret exists")
	f.Int64Var(&o.ifVersion, "if-version", -1, "fail unless this version is the current one")
	f.BoolVar(&o.automatic, "automatic", false, "create an automatic secret, whose values the vault makes")
	f.StringVar(&o.contentType, "content-type", "", "of a new secret; text/plain or application/octet-stream without it")
	f.BoolVar(&o.trim, "trim", false, "leave out a line break at the end of the value")
	f.StringVar(&o.argument, "insecure-value", "", "the value itself, although others can read arguments")
	o.settings.bind(f)
	return c
}

type putOptions struct {
	create, automatic, trim bool
	ifVersion               int64
	contentType, argument   string
	settings                settingFlags
}

func (p *program) put(c *cobra.Command, args []string, o *putOptions) error {
	change, err := o.settings.change(c.Flags())
	if err != nil {
		return err
	}
	cl, err := p.connect()
	if err != nil {
		return err
	}
	n := client.NewSecret{Name: args[0], Kind: "manual", ContentType: o.contentType, Settings: change.Settings}
	for tag, text := range change.TagsPatch {
		if n.Tags == nil {
			n.Tags = map[string]string{}
		}
		if text != nil {
			n.Tags[tag] = *text
		}
	}
	if o.automatic {
		n.Kind = "automatic"
		s, err := cl.Create(c.Context(), n)
		return p.stored(s, err)
	}
	if n.Value, err = p.newValue(c, args, o); err != nil {
		return err
	}
	defer clear(n.Value)
	if n.ContentType == "" && !utf8.Valid(n.Value) {
		n.ContentType = "application/octet-stream"
	}
	if o.create {
		s, err := cl.Create(c.Context(), n)
		return p.stored(s, err)
	}
	s, err := p.replace(c, cl, n, o)
	if err == nil && anySet(change) && s.CurrentVersion != s.FirstVersion {
		s, err = cl.Configure(c.Context(), n.Name, client.Any, change)
	}
	return p.stored(s, err)
}

func (p *program) newValue(c *cobra.Command, args []string, o *putOptions) (value []byte, err error) {
	source := ""
	if len(args) == 2 {
		source = args[1]
	}
	switch {
	case c.Flags().Changed("insecure-value") && source != "":
		return nil, usagef("there are two values")
	case c.Flags().Changed("insecure-value"):
		value = []byte(o.argument)
	default:
		value, err = p.secretInput(source, "Value of "+args[0], true)
	}
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(string(value[max(len(value)-1, 0):]), "\n") {
		if o.trim {
			value = value[:len(value)-1]
		} else if isTerminal(p.errOut) {
			_, _ = fmt.Fprintln(p.errOut, "note: the value ends with a line break; --trim leaves it out")
		}
	}
	if len(value) == 0 {
		return nil, usagef("the value is empty")
	}
	return value, nil
}

// replace stores a new version, or the first one if there is none and no version is named.
func (p *program) replace(c *cobra.Command, cl *client.Client, n client.NewSecret, o *putOptions) (*client.Secret, error) {
	m := client.Any
	if o.ifVersion >= 0 {
		m = client.IfVersion(o.ifVersion)
	}
	s, err := cl.Update(c.Context(), n.Name, m, client.Update{Value: n.Value})
	code := client.CodeOf(err)
	if o.ifVersion >= 0 || code != client.NotFound && code != client.Denied {
		return s, err
	}
	made, cerr := cl.Create(c.Context(), n)
	if code == client.Denied && cerr != nil {
		return nil, err
	}
	return made, cerr
}

// stored prints a secret after a change of its value.
func (p *program) stored(s *client.Secret, err error) error {
	if err != nil {
		return err
	}
	return p.one(s, func() { _, _ = fmt.Fprintf(p.out, "%s has version %d\n", s.Name, s.CurrentVersion) })
}

func (p *program) rmCommand() *cobra.Command {
	var destroy, yes bool
	var ifVersion int64
	var versions []int64
	c := &cobra.Command{
		Use: "rm NAME", Short: "Delete a secret, or some of its versions", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		Long: `rm deletes a secret with all of its versions. It can be restored with "undelete" if the server keeps deleted
secrets. With --version it deletes single versions, which can be undeleted while they would still be kept. --destroy
lets neither be undone.`,
		Example: "hyperion-vault rm old/password\nhyperion-vault rm db/password --version 3 --yes",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			if len(versions) > 0 {
				return p.rmVersions(c, cl, args[0], versions, destroy, yes)
			}
			m := client.Any
			if ifVersion >= 0 {
				m = client.IfVersion(ifVersion)
			}
			return p.rmSecret(c, cl, args[0], m, destroy, yes)
		},
	}
	f := c.Flags()
	f.Int64SliceVar(&versions, "version", nil, "versions to delete, as in 2,3; without it the whole secret")
	f.BoolVar(&destroy, "destroy", false, "permanently")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	f.Int64Var(&ifVersion, "if-version", -1, "fail unless this version is the current one")
	return c
}

func (p *program) rmSecret(c *cobra.Command, cl *client.Client, name string, m client.Match, destroy, yes bool) error {
	question := fmt.Sprintf("This deletes %s with all of its versions.", name)
	if destroy {
		question = fmt.Sprintf("This destroys %s with all of its versions, permanently.", name)
	}
	if err := p.confirm(question, yes); err != nil {
		return err
	}
	if err := cl.Delete(c.Context(), name, m, destroy); err != nil {
		return err
	}
	return p.one(map[string]any{"name": name, "deleted": true}, func() { _, _ = fmt.Fprintf(p.out, "%s is deleted\n", name) })
}

func (p *program) rotateCommand() *cobra.Command {
	var ifVersion int64
	var reschedule bool
	c := &cobra.Command{
		Use: "rotate NAME", Short: "Store a generated value as a new version", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			var m client.Match
			if ifVersion >= 0 {
				m = client.IfVersion(ifVersion)
			}
			s, err := cl.Rotate(c.Context(), args[0], m, reschedule)
			return p.stored(s, err)
		},
	}
	c.Flags().Int64Var(&ifVersion, "if-version", -1, "fail unless this version is the current one")
	c.Flags().BoolVar(&reschedule, "reschedule", false, "count the next rotation from now")
	return c
}

var errNoVersions = errors.New("there are no two versions to compare")
