package generate

import (
	"math/big"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MinBits is the least entropy, in bits, of a generated value that is not weak. The policy then allows at least two to
// this power of different texts.
const MinBits = 64

// Bits returns the entropy in bits of a value that Generate makes, rounded down. It is 0 for a policy that Validate
// refuses. All texts with a character of each class are equally likely, so the entropy is the logarithm of their number.
// Inclusion and exclusion over the classes counts them.
func (p Policy) Bits() int {
	if p.Validate() != nil {
		return 0
	}
	classes := p.classes()
	texts := new(big.Int)
	length := big.NewInt(int64(p.Length))
	for missing := range 1 << len(classes) {
		alphabet, sign := 0, 1
		for i, c := range classes {
			if missing&(1<<i) == 0 {
				alphabet += len(c.chars)
			} else {
				sign = -sign
			}
		}
		n := new(big.Int).Exp(big.NewInt(int64(alphabet)), length, nil)
		if sign < 0 {
			n.Neg(n)
		}
		texts.Add(texts, n)
	}
	return max(0, texts.BitLen()-1)
}

// CheckStrength returns an Invalid error with the number of bits unless values of p have MinBits or p allows weak
// values. A policy that Validate refuses gets that error. CheckStrength is for policies that a caller sets. A stored
// policy keeps working, because a weak rotation is better than none.
func (p Policy) CheckStrength() error {
	if err := p.Validate(); err != nil {
		return err
	}
	if bits := p.Bits(); bits < MinBits && !p.AllowWeak {
		return core.Errorf(core.Invalid, "generate policy: its values have %d bits of entropy, at least %d are needed; "+
			"make them longer, enable more classes, or set allow_weak to true", bits, MinBits)
	}
	return nil
}
