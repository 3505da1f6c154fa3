package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

func newPasswordCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use: "password MOUNT USER", Short: "Set the password of a user of a userpass method", Args: cobra.ExactArgs(2),
		Long: "Set the password of a user of a userpass method. The password is the first line of standard input, which is no terminal.",
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := passwordFrom(os.Stdin)
			defer envelope.Wipe(text)
			if err != nil {
				return err
			}
			return p.logins(cmd.Context(), func(ctx context.Context, l vault.LoginAdmin) error {
				_, err := l.SetPassword(ctx, args[0], args[1], text)
				return p.say(err, "password of user %s of %s set", core.Quote(args[1]), core.Quote(args[0]))
			})
		},
	}
}

// passwordFrom reads the one line of a file that is no terminal, which would show it.
func passwordFrom(in *os.File) ([]byte, error) {
	if info, err := in.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 {
		return nil, fmt.Errorf("give the password on standard input, by a pipe or from a file")
	}
	buffer := make([]byte, password.MaxLen+2)
	n, err := io.ReadFull(in, buffer)
	if err == nil {
		envelope.Wipe(buffer)
		return nil, fmt.Errorf("a password has at most %d bytes", password.MaxLen)
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return buffer, err
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(buffer[:n], []byte("\n")), []byte("\r"))
	if bytes.IndexByte(line, '\n') >= 0 {
		return buffer, fmt.Errorf("the password is one line")
	}
	return line, nil
}
