package generate

import (
	"math/big"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MinBits is the least entropy of a generated value that is not called weak: the number of texts that the policy allows
// is at least two to this power.
const MinBits = 64

// Bits returns the entropy of a value that Generate makes, rounded down, or 0 for a policy that Validate refuses. All
// texts that have a character of each class are equally likely, so it is the logarithm of their number, which
// inclusion and exclusion over the classes counts.
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

// CheckStrength returns an Invalid error that names the number unless values of p have MinBits, or p allows weak ones.
// It is for policies that somebody sets. One that is stored already keeps working: a weak rotation is better than none.
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
