package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestBig(t *testing.T) {
	e := newExporter(t)
	var b strings.Builder
	b.WriteString("{")
	for i := range 20000 {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `"team%d/app%d/secret-%d":{"username":"u","password":"%s-%040d"}`, i%20, i%400, i, marker, i)
	}
	b.WriteString("}")
	in := private(t, b.String())
	file := filepath.Join(t.TempDir(), "x")
	step := func(what string, args ...string) {
		start := time.Now()
		p := launch(t, e.env, args...)
		<-p.exited
		ru := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
		fmt.Println(what, p.cmd.ProcessState.ExitCode(), time.Since(start).Round(time.Millisecond), "rss", ru.Maxrss/1024, "MB", "cpu", p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime())
		fmt.Println(strings.Split(p.stdout.String()+"\n", "\n")[0])
	}
	src := []string{"--address", e.source.URL, "--token-file", private(t, e.source.AdminToken)}
	tgt := []string{"--address", e.target.URL, "--token-file", private(t, e.target.AdminToken)}
	step("import json", append([]string{"import", "--from", "json", in}, src...)...)
	step("export sealed", append([]string{"export", "--to", "json", "--recipient", e.recipient, "--output", file}, src...)...)
	info, _ := os.Stat(file)
	fmt.Println(info.Size())
	step("import sealed", append([]string{"import", "--from", "json", "--identity", e.identity, file}, tgt...)...)
	step("again", append([]string{"import", "--from", "json", "--identity", e.identity, file}, tgt...)...)
	e.env = []string{"VAULT_ADDR=" + e.source.URL, "VAULT_TOKEN=" + e.source.AdminToken}
	step("import vault", append([]string{"import", "--from", "vault"}, tgt...)...)
}
