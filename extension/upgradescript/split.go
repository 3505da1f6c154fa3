package main

import (
	"errors"
	"regexp"
	"strings"
)

var (
	errUnterminated = errors.New("a quote, a comment or a statement does not end")
	dollarTag       = regexp.MustCompile(`^\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$`)
)

// split returns the statements of a script, each with its semicolon, without the comments and psql commands between
// them. Comments inside a function's body are part of the body.
func split(script string) ([]string, error) {
	var statements []string
	for rest := script; ; {
		rest = skipBlank(rest)
		if rest == "" {
			return statements, nil
		}
		n, err := statementLen(rest)
		if err != nil {
			return nil, err
		}
		statements = append(statements, rest[:n])
		rest = rest[n:]
	}
}

// skipBlank removes blanks, comments and lines that begin with a backslash, which psql reads.
func skipBlank(s string) string {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if !strings.HasPrefix(s, "--") && !strings.HasPrefix(s, `\`) {
			return s
		}
		_, s, _ = strings.Cut(s, "\n")
	}
}

// statementLen returns the length of the first statement with its semicolon.
func statementLen(s string) (int, error) {
	for i := 0; i < len(s); {
		if s[i] == ';' {
			return i + 1, nil
		}
		n, err := tokenLen(s[i:])
		if err != nil {
			return 0, err
		}
		i += n
	}
	return 0, errUnterminated
}

// tokenLen returns the length of what begins s: a quoted text, a line comment, or one byte of anything else.
func tokenLen(s string) (int, error) {
	closing, opening := "", 1
	switch tag := dollarTag.FindString(s); {
	case strings.HasPrefix(s, "--"):
		closing = "\n"
	case s[0] == '\'' || s[0] == '"':
		closing = s[:1] // a doubled quote is two texts beside each other
	case tag != "":
		closing, opening = tag, len(tag)
	default:
		return 1, nil
	}
	end := strings.Index(s[opening:], closing)
	if end < 0 {
		return 0, errUnterminated
	}
	return opening + end + len(closing), nil
}
