package nodecheck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// agentLimit bounds one conversation with the key agent.
const agentLimit = 2 * time.Second

var errNotServed = errors.New("the key agent does not serve this user")

// checkAgent connects to the key agent as PostgreSQL's backends do: as the first user of VAULT_AGENT_PEERS.
func (n *node) checkAgent(ctx context.Context) Report {
	socket := n.cfg.Agent.Socket
	if socket == "" {
		return Report{Notes: []string{"VAULT_AGENT_SOCKET=off: SQL callers get no keys from this service"}}
	}
	peer, err := lookUp(n.cfg.Agent.Peers[0])
	if err != nil {
		return finding(fmt.Sprintf("VAULT_AGENT_PEERS names the OS user %s, who does not exist here", n.cfg.Agent.Peers[0]), edit(n.o))
	}
	if !n.root && peer.uid != os.Geteuid() {
		return Report{Notes: []string{fmt.Sprintf("the key agent's socket is checked as user %s, which takes root", peer.name)}}
	}
	err = asUser(peer, func() error { return knock(ctx, socket) })
	return n.judgeAgent(socket, peer, err)
}

func (n *node) judgeAgent(socket string, peer account, err error) Report {
	switch {
	case err == nil:
		return Report{}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return finding(fmt.Sprintf("no key agent listens on %s: the service does not run", socket), "systemctl start "+quote(n.o.Unit))
	case errors.Is(err, fs.ErrPermission):
		return n.judgeWay(socket, peer)
	case errors.Is(err, errNotServed):
		return finding(fmt.Sprintf("the key agent on %s does not serve user %s, so it runs with other settings", socket, peer.name), "systemctl restart "+quote(n.o.Unit))
	}
	return finding(fmt.Sprintf("the key agent on %s does not answer: %v", socket, err), "systemctl restart "+quote(n.o.Unit))
}

// judgeWay finds what keeps peer from the socket: a directory on the way, or the socket's own mode.
func (n *node) judgeWay(socket string, peer account) Report {
	dir := ""
	for _, name := range strings.Split(strings.Trim(filepath.Dir(socket), "/"), "/") {
		dir += "/" + name
		if asUser(peer, func() error { return unix.Access(dir, unix.X_OK) }) != nil {
			return finding(fmt.Sprintf("user %s cannot reach the key agent's socket: the directory %s is closed to others", peer.name, dir), "chmod o+x "+quote(dir))
		}
	}
	return finding(fmt.Sprintf("user %s may not use the key agent's socket %s", peer.name, socket),
		fmt.Sprintf("chgrp %d %s", peer.gid, quote(socket)), "chmod 660 "+quote(socket))
}

// knock sends a truncated frame. A key agent refuses it with another code than it refuses a user that it does not serve. It
// neither logs nor records the frame.
func knock(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(agentLimit)); err != nil {
		return err
	}
	if u, ok := c.(*net.UnixConn); ok { // what is refused at once may be closed already, and its answer is still to be read
		_, _ = u.Write([]byte{0})
		_ = u.CloseWrite()
	}
	body, err := frame.ReadBody(c, nil)
	if err != nil {
		return err
	}
	answer, err := frame.ParseResponse(body)
	if err != nil {
		return err
	}
	if answer.Code == core.Denied {
		return errNotServed
	}
	return nil
}
