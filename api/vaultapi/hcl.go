package vaultapi

import (
	"strconv"
	"strings"
)

// rule is one block of a policy: path "…" { capabilities = ["…", …] }.
type rule struct {
	path         string
	capabilities []string
}

const (
	maxPolicy = 64 << 10
	maxRules  = 1000
)

// parsePolicy reads a policy in HCL. What it does not know, it refuses: a limit that is left out would grant more than the
// policy says.
func parsePolicy(text string) ([]rule, error) {
	if len(text) > maxPolicy {
		return nil, invalid("a policy has at most %d bytes", maxPolicy)
	}
	p := &policyReader{rest: text, line: 1}
	var rules []rule
	for p.skip(); p.rest != ""; p.skip() {
		r, ok := p.rule()
		if !ok || len(rules) == maxRules {
			return nil, invalid(`failed to parse policy: line %d is not of the form path "secret/data/app/*" { capabilities = ["read"] }, which is all that is supported`, p.line)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

type policyReader struct {
	rest string
	line int
}

// skip passes over blanks and comments.
func (p *policyReader) skip() {
	for {
		trimmed := strings.TrimLeft(p.rest, " \t\r\n")
		p.take(len(p.rest) - len(trimmed))
		switch {
		case strings.HasPrefix(p.rest, "#"), strings.HasPrefix(p.rest, "//"):
			end := strings.IndexByte(p.rest, '\n')
			if end < 0 {
				end = len(p.rest)
			}
			p.take(end)
		case strings.HasPrefix(p.rest, "/*"):
			end := strings.Index(p.rest, "*/")
			if end < 0 {
				return // a comment without an end is no rule
			}
			p.take(end + 2)
		default:
			return
		}
	}
}

func (p *policyReader) take(n int) {
	p.line += strings.Count(p.rest[:n], "\n")
	p.rest = p.rest[n:]
}

// next takes one of the texts away, after blanks and comments.
func (p *policyReader) next(text string) bool {
	if p.skip(); !strings.HasPrefix(p.rest, text) {
		return false
	}
	p.take(len(text))
	return true
}

// quoted takes a text in quotes, which has no escapes and no templates.
func (p *policyReader) quoted() (string, bool) {
	if !p.next(`"`) {
		return "", false
	}
	end := strings.IndexAny(p.rest, "\"\\\n{}")
	if end < 0 || p.rest[end] != '"' {
		return "", false
	}
	text := p.rest[:end]
	p.take(end + 1)
	return text, true
}

func (p *policyReader) rule() (r rule, ok bool) {
	if !p.next("path") {
		return r, false
	}
	if r.path, ok = p.quoted(); !ok || !p.next("{") || !p.next("capabilities") || !p.next("=") || !p.next("[") {
		return r, false
	}
	for !p.next("]") {
		c, ok := p.quoted()
		if !ok {
			return r, false
		}
		if r.capabilities = append(r.capabilities, c); !p.next(",") {
			if !p.next("]") {
				return r, false
			}
			break
		}
	}
	return r, p.next("}")
}

// appendRule writes a rule as parsePolicy reads it.
func appendRule(b *strings.Builder, path string, capabilities []string) {
	if len(capabilities) == 0 {
		return
	}
	b.WriteString("path " + strconv.Quote(path) + " {\n  capabilities = [")
	for i, c := range capabilities {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(c))
	}
	b.WriteString("]\n}\n")
}
