package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the kernel's unit of a process's times, the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// part is whose CPU time it is.
type part int

const (
	partDatabase part = iota // PostgreSQL, all of its processes
	partAPI                  // the API, and the second process of this program
	partClient               // this process, which makes the load
	partMachine              // everything on this machine, the parts before included
	parts
)

// process is one process of a part.
type process struct {
	part part
	pid  int
}

// cpuMeter adds up the CPU time of everything that takes part: a machine with other work on it takes a share of the
// rate away, and little of this.
type cpuMeter struct {
	postmaster int
	others     []process
}

// newCPUMeter finds the servers on this machine: PostgreSQL, the process that listens on addr, and the second process.
func newCPUMeter(ctx context.Context, db *database, addr string, second int) (*cpuMeter, error) {
	var backend int
	if err := db.pool.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return nil, err
	}
	f, err := statOf(backend)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL is not on this machine: %w", err)
	}
	api, err := listener(addr)
	if err != nil {
		return nil, err
	}
	return &cpuMeter{postmaster: f.parent, others: []process{{partAPI, api}, {partAPI, second}, {partClient, os.Getpid()}}}, nil
}

// times returns the CPU time of every process so far.
func (m *cpuMeter) times() map[process]time.Duration {
	all := map[process]time.Duration{}
	for _, p := range m.others {
		if f, err := statOf(p.pid); err == nil {
			all[p] = f.cpu
		}
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if f, err := statOf(pid); err == nil && f.parent == m.postmaster {
			all[process{partDatabase, pid}] = f.cpu
		}
	}
	if f, err := statOf(m.postmaster); err == nil {
		all[process{partDatabase, m.postmaster}] = f.cpu + f.ended
	}
	all[process{partMachine, 0}] = machineTime()
	return all
}

// used is what each part spent between two looks; of a process that has ended, nothing.
func used(from, to map[process]time.Duration) (sum [parts]time.Duration) {
	for p, t := range to {
		sum[p.part] += t - from[p]
	}
	return sum
}

// foreign is the share of the machine's CPU that processes took which have no part in it. What the hypervisor gave to other
// machines counts as theirs.
func foreign(sum [parts]time.Duration, elapsed time.Duration) float64 {
	rest := sum[partMachine] - sum[partDatabase] - sum[partAPI] - sum[partClient]
	return max(0, rest.Seconds()/(elapsed.Seconds()*float64(runtime.NumCPU())))
}

// machineTime is how long the CPUs of this machine have worked so far, for whomever; 0 where that is not known.
func machineTime() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		if i < len(f) {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * tick
}

type processStat struct {
	parent int
	cpu    time.Duration
	ended  time.Duration // that of its children which have ended
}

// statOf reads what proc(5) says of a process: the fields behind its name, which may hold anything.
func statOf(pid int) (processStat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 15 {
		return processStat{}, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	var n [15]int64
	for _, i := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return processStat{}, fmt.Errorf("/proc/%d/stat is not understood", pid)
		}
	}
	return processStat{int(n[1]), time.Duration(n[11]+n[12]) * tick, time.Duration(n[13]+n[14]) * tick}, nil
}

// listener returns the process that listens on the port of addr.
func listener(addr string) (int, error) {
	_, port, _ := strings.Cut(addr, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0, fmt.Errorf("no port in %q", addr)
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(table)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
				return owner("socket:[" + f[9] + "]")
			}
		}
	}
	return 0, fmt.Errorf("no process listens on %s on this machine", addr)
}

// owner returns a process that has a socket open.
func owner(socket string) (int, error) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == socket {
			return strconv.Atoi(strings.Split(fd, "/")[2])
		}
	}
	return 0, fmt.Errorf("the process with %s is not to be seen", socket)
}
