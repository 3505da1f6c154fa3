package config

import (
	"errors"
	"strconv"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/quota"
)

func seconds(least, most int, set func(*Config, time.Duration)) func(*Config, string) error {
	return number(least, most, func(c *Config, n int) { set(c, time.Duration(n)*time.Second) })
}

const wantRate = "want a whole number up to 1000000, with /s, /m or /h after it if not for each second; 0 is no limit"

func rate(set func(*Config, quota.Rate)) func(*Config, string) error {
	return func(c *Config, v string) error {
		r, err := quota.Parse(v)
		if err != nil {
			return errWant
		}
		set(c, r)
		return nil
	}
}

// number reads digits only: no sign, no space, no unit, no underscore.
func number(least, most int, set func(*Config, int)) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return errWant
		}
		if int(n) < least {
			return errWant
		}
		if int(n) > most {
			return errors.New("at most " + strconv.Itoa(most))
		}
		set(c, int(n))
		return nil
	}
}

// choice reads one of two words, and sets whether it is the second.
func choice(first, second string, set func(*Config, bool)) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v != first && v != second {
			return errWant
		}
		set(c, v == second)
		return nil
	}
}
