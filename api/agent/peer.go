package agent

import (
	"errors"
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/core"
)

// peers is who may connect.
type peers struct {
	uids  map[uint32]bool
	group int // primary group of the first peer, which the socket is given to; -1 = not known
}

// resolvePeers looks the users up once: a user made later needs a restart. Every one that is missing is named. A
// numeric id needs no entry in the user database.
func resolvePeers(names []string) (peers, error) {
	p := peers{uids: map[uint32]bool{}, group: -1}
	var problems []error
	for i, name := range names {
		uid, gid, err := lookup(name)
		if err != nil {
			problems = append(problems, core.Wrap(core.Invalid, err,
				"VAULT_AGENT_PEERS: there is no OS user %q here (VAULT_AGENT_SOCKET=off runs without a key agent)", name))
			continue
		}
		p.uids[uid] = true
		if i == 0 {
			p.group = gid
		}
	}
	if len(names) == 0 {
		problems = append(problems, core.Errorf(core.Invalid, "the key agent needs at least one OS user that may connect"))
	}
	return p, errors.Join(problems...)
}

// lookup returns the ids of a user; gid -1 when only the numeric uid is known.
func lookup(name string) (uid uint32, gid int, err error) {
	if n, perr := strconv.ParseUint(name, 10, 32); perr == nil {
		u, err := user.LookupId(name)
		if err != nil {
			return uint32(n), -1, nil
		}
		gid, err = strconv.Atoi(u.Gid)
		return uint32(n), gid, err
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, -1, err
	}
	n, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, -1, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uint32(n), gid, err
}

// peerOf asks the kernel who connected: the user at the time of connect, which the peer cannot forge.
func peerOf(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, cerr
}
