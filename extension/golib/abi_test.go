package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

// abiHash is of what HV_ABI_VERSION numbers, without comments and blanks.
const abiHash = "2 7795ae3fd6f2d813"

// A border that changed under the same number would be called wrongly by a server that has not been restarted since
// the package was upgraded.
func TestABIVersionNumbersTheBorder(t *testing.T) {
	border := read(t, "../shim/abi.h")
	_, calls, found := strings.Cut(read(t, "../shim/golib.h"), "typedef struct HvGoCalls")
	if !found {
		t.Fatal("golib.h has no HvGoCalls")
	}
	calls, _, _ = strings.Cut(calls, "HvGoCalls;")
	number := regexp.MustCompile(`#define HV_ABI_VERSION (\d+)`).FindStringSubmatch(border)
	if number == nil {
		t.Fatal("abi.h has no HV_ABI_VERSION")
	}
	text := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(border+calls, "")
	sum := sha256.Sum256([]byte(strings.Join(strings.Fields(text), " ")))
	if got := number[1] + " " + hex.EncodeToString(sum[:8]); got != abiHash {
		t.Errorf("the border is %q now: raise HV_ABI_VERSION if it changed since the last release, and note it here", got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
