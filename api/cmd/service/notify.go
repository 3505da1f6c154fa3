package service

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the service manager what the process is doing, by the protocol of sd_notify(3). Without a manager,
// which is without NOTIFY_SOCKET, it does nothing. It may be used concurrently.
type notifier struct {
	log  *slog.Logger
	once sync.Once // a manager that cannot be reached is logged once

	stop chan struct{} // closed to end the watchdog
	done sync.WaitGroup
}

func newNotifier(log *slog.Logger) *notifier { return &notifier{log: log, stop: make(chan struct{})} }

func (n *notifier) send(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		n.once.Do(func() {
			n.log.Warn("the service manager cannot be notified (NOTIFY_SOCKET)", "error", err.Error())
		})
	}
}

// ready says that the sockets are open. The database need not be there: status tells of it.
func (n *notifier) ready() { n.send(daemon.SdNotifyReady) }

// reloading says that a reload begins; ready ends it.
func (n *notifier) reloading() {
	n.send(daemon.SdNotifyReloading, strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n"))
}

func (n *notifier) stopping() { n.send(daemon.SdNotifyStopping, "STATUS=finishing what is in flight") }

// status is one line that the manager shows. text holds no secret.
func (n *notifier) status(text string) { n.send("STATUS=" + strings.ReplaceAll(text, "\n", " ")) }

// startWatchdog shows the manager a sign of life at twice the rate that it wants, until close.
func (n *notifier) startWatchdog() {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("the watchdog of the service manager is not served", "error", err.Error())
	}
	if every <= 0 {
		return
	}
	n.done.Go(func() {
		tick := time.NewTicker(max(every/2, time.Millisecond))
		defer tick.Stop()
		for {
			n.send(daemon.SdNotifyWatchdog)
			select {
			case <-tick.C:
			case <-n.stop:
				return
			}
		}
	})
}

func (n *notifier) close() {
	close(n.stop)
	n.done.Wait()
}
