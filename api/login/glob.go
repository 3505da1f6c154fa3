package login

import "strings"

// glob reports whether text matches pattern, in which * stands for any bytes, also none and also '/'. There is no
// escape. It needs at most len(pattern) searches, so no pattern makes it slow.
func glob(pattern, text string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(text, part)
		}
		_, after, found := strings.Cut(text, part) // the leftmost place leaves the most for what follows
		if !found {
			return false
		}
		text, rest = after, more
	}
}
