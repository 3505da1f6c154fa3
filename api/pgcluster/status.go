package pgcluster

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// Current returns the host that was connected to last, nil before the first.
func (p *Pool) Current() *Host { return p.hosts.current() }

// Timeline returns that of the newest primary seen, 0 before the first.
func (p *Pool) Timeline() uint32 { return p.hosts.timeline() }

// TimelineOf returns the timeline that the server had when a connection was made to it; 0 = not asked.
func TimelineOf(c *pgx.Conn) uint32 { return stateOf(c).timeline }

// Reported returns the LSN at which the last change of this connection's session ends, as the server has reported it with the
// answer. It is no LSN before the first, and where the server does not report it.
func Reported(c *pgx.Conn) string { return c.PgConn().ParameterStatus(positionSetting) }

// IsOutdated reports whether a connection is to a primary of an older timeline than one that was seen.
func (p *Pool) IsOutdated(c *pgx.Conn) bool { return p.hosts.isOutdated(TimelineOf(c)) }

// Disconnect closes the socket of a connection at once.
func Disconnect(c *pgx.Conn) { stateOf(c).cut() }

// NoPrimary returns since when every server has answered and refused changes, and how; nil when one may take them.
func (p *Pool) NoPrimary() (since time.Time, err error) { return p.hosts.noPrimary() }

// Refusal returns why servers that answer are not taken, ErrInRecovery for example, when the others cannot be connected to. It
// is nil as long as one of them may be the primary.
func (p *Pool) Refusal() error { return p.hosts.refusal() }

// FirstLeftBehind returns the name of the first host that was a primary which was left behind when it last answered.
func (p *Pool) FirstLeftBehind() string { return p.hosts.firstLeftBehind() }

// Away returns the name of the first host while reads go to another one, and why they did not come back when they last
// tried to; nil = they have not tried.
func (p *Pool) Away() (home string, why error) { return p.hosts.away() }

// Survey checks whether a host beside the current one is a primary, at most once a second.
func (p *Pool) Survey() { p.survey(p.hosts.current()) }

// IsClosing reports whether the pool was closed.
func (p *Pool) IsClosing() bool { return p.background.Err() != nil }

// Servers returns the servers of the pool, in the order of the settings. Their settings must not be changed.
func (p *Pool) Servers() []Server {
	var out []Server
	for _, x := range p.hosts.all {
		out = append(out, Server{Name: x.Name, Conn: x.conn})
	}
	return out
}
