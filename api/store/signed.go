package store

import (
	"fmt"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// signedText is the text of a change that its author signs: one that takes the audit's origin as it is, and one that decides
// about the author and makes the origin of what it found.
type signedText struct{ stated, decided string }

// signed makes a signedText of a text in which ORIGIN stands for the origin, and which takes n arguments of its own.
func signed(text string, n int) signedText {
	return signedText{
		stated:  strings.ReplaceAll(text, "ORIGIN", fill("ROW($%d::text, $%d::text, $%d::text, $%d::inet, $%d::text)::vault.audit_origin", n, 5)),
		decided: strings.ReplaceAll(text, "ORIGIN", fill("vault.admit($%d::bytea, $%d::inet, $%d::jsonb, $%d::text, $%d::text, $%d::text, $%d::text)", n, 7)),
	}
}

func fill(format string, after, count int) string {
	numbers := make([]any, count)
	for i := range numbers {
		numbers[i] = after + i + 1
	}
	return fmt.Sprintf(format, numbers...)
}

// by returns what a change asks for its text: the right is one on the name.
func (t signedText) by(author vault.Author, right, name string, args []any) func(legacy bool) (string, []any, error) {
	return func(legacy bool) (string, []any, error) {
		all := args[:len(args):len(args)]
		if legacy || author.By.IsItself() {
			return t.stated, append(all, originArgs(author.Origin)...), nil
		}
		return t.decided, append(append(all, credentialArgs(author.By)...), right, orNull(name), author.Node, orNull(author.RequestID)), nil
	}
}

// refusalTo turns what a change is refused into what its author is told.
func refusalTo(author vault.Author, right string) func(error) error {
	return func(err error) error { return refusal(author.By, right, err) }
}
