package service

import "syscall"

const (
	// mostConns is how many REST connections are open at a time where the process may have enough files.
	mostConns = 4096
	// ownFiles is what is kept of the process's open files for the database, the key service, the agent and the journal.
	ownFiles = 512
)

// maxConns returns how many REST connections the process can have open: at its limit of open files it could accept none,
// reach neither database nor key service, and write no journal.
func (s *Service) maxConns() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return mostConns
	}
	n := connsWithin(limit.Cur)
	if n < mostConns {
		s.log.Warn("the limit of open files (RLIMIT_NOFILE, systemd: LimitNOFILE) bounds the connections of the REST API",
			"open_files", limit.Cur, "connections", n, "wanted", mostConns+ownFiles)
	}
	return n
}

// connsWithin keeps ownFiles of the files, or half of them where there are few.
func connsWithin(files uint64) int {
	return int(min(mostConns, files-min(files/2, ownFiles)))
}
