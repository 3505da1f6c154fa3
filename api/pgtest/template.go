package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// templates are data directories of stopped clusters. Copying one takes a fraction of the time of initdb.
var templates struct {
	mu   sync.Mutex
	dirs map[template]string
}

// template is what a data directory was made by, and the database that it has beside PostgreSQL's own, if any.
type template struct{ bin, database string }

// copyTemplate makes a data directory, as initdb would.
func (i *installation) copyTemplate(database, data string) error {
	templates.mu.Lock()
	defer templates.mu.Unlock()
	key := template{i.bin, database}
	if templates.dirs[key] == "" {
		dir, err := i.makeTemplate(database)
		if err != nil {
			return err
		}
		if templates.dirs == nil {
			templates.dirs = map[template]string{}
		}
		templates.dirs[key] = dir
	}
	if out, err := i.run("cp", "-a", filepath.Join(templates.dirs[key], "data"), data).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

func (i *installation) makeTemplate(database string) (string, error) {
	dir, err := i.mkdir()
	if err != nil {
		return "", err
	}
	initdb := i.command("initdb", "--no-sync", "-A", "trust", "-U", Superuser, "-E", "UTF8", "--locale=C", "-D", filepath.Join(dir, "data"))
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(dir))
	}
	if database == "" {
		return dir, nil
	}
	if err := i.addDatabase(dir, database); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// addDatabase starts the server in dir, makes a database with the extension and the service role, and stops it.
func (i *installation) addDatabase(dir, database string) error {
	c := &Cluster{i: i, dir: dir}
	if err := c.configure("listen_addresses = ''", "unix_socket_directories = '"+dir+"'", "fsync = off"); err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	return errors.Join(
		c.execute("postgres", "CREATE ROLE "+ServiceRole+" LOGIN", "CREATE DATABASE "+database),
		c.execute(database, "CREATE EXTENSION hyperion_vault", "SELECT vault.grant_service_role('"+ServiceRole+"')"),
		c.stop(syscall.SIGINT), os.Remove(c.LogFile()))
}

// removeTemplates is the end of the templates.
func removeTemplates() (err error) {
	templates.mu.Lock()
	defer templates.mu.Unlock()
	for _, dir := range templates.dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	templates.dirs = nil
	return err
}
