package nodecheck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkJournal checks whether the service can write its audit journal. It leaves the journal alone: a running service has it.
func (n *node) checkJournal(context.Context) Report {
	dir := n.cfg.Audit.Dir
	create := fmt.Sprintf("install -d -m 700 -o %s -g %d %s", quote(n.service.name), n.service.gid, quote(dir))
	var info fs.FileInfo
	err := asUser(n.service, func() (err error) {
		if info, err = os.Stat(dir); err != nil {
			return err
		}
		return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return finding(fmt.Sprintf("the audit journal's directory %s does not exist", dir), create)
	case err == nil && !info.IsDir():
		return finding(fmt.Sprintf("%s is to be the audit journal's directory, and is a file", dir), "mv "+quote(dir)+" "+quote(dir+".old"), create)
	case errors.Is(err, unix.EROFS):
		return finding(fmt.Sprintf("the audit journal's directory %s is on a file system that is mounted read-only", dir), "mount -o remount,rw "+quote(dir))
	case err != nil:
		return finding(fmt.Sprintf("user %s cannot write to the audit journal's directory %s: %v", n.service.name, dir, err),
			fmt.Sprintf("chown -R %s:%d %s", quote(n.service.name), n.service.gid, quote(dir)), "chmod 700 "+quote(dir))
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != n.service.uid || info.Mode().Perm()&0o077 != 0 {
		return finding(fmt.Sprintf("the audit journal's directory %s is to be of user %s alone, and its mode is %04o", dir, n.service.name, info.Mode().Perm()),
			fmt.Sprintf("chown -R %s:%d %s", quote(n.service.name), n.service.gid, quote(dir)), "chmod 700 "+quote(dir))
	}
	return n.checkSpace(dir)
}

// spare is how many bytes must be free: some thousand records.
const spare = 1 << 20

func (n *node) checkSpace(dir string) Report {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail*uint64(st.Bsize) >= spare {
		return Report{}
	}
	return finding(fmt.Sprintf("the disk of the audit journal's directory %s is full", dir), "df -h "+quote(dir))
}

// checkAllowed warns of a list that allows no client.
func (n *node) checkAllowed(context.Context) Report {
	if n.cfg.AllowedIPs.Len() > 0 {
		return Report{}
	}
	return finding("VAULT_ALLOWED_IPS is empty: every read of a secret over REST is denied", "echo VAULT_ALLOWED_IPS=127.0.0.1,::1 >>"+quote(n.o.SettingsFile))
}
