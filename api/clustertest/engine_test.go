package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// engine is the Docker engine that runs the nodes as containers of one compose project. It speaks the engine's own
// protocol, since the container in which the tests run has no Docker client.
type engine struct {
	project string
	http    *http.Client
}

const dockerSocket = "/var/run/docker.sock"

// stopping bounds a clean stop of a node: the API drains, then PostgreSQL shuts down.
const stopping = 2 * time.Minute

func newEngine(project string) *engine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", dockerSocket)
	}
	return &engine{project: project, http: &http.Client{Timeout: stopping + time.Minute, Transport: &http.Transport{DialContext: dial}}}
}

// call sends one request and decodes the answer into into, unless that is nil.
func (e *engine) call(method, path string, body, into any) error {
	answer, err := e.raw(method, path, body)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

func (e *engine) raw(method, path string, body any) ([]byte, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://docker/v1.41"+path, text)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified {
		err = errors.Join(err, fmt.Errorf("docker: %s %s: %s: %s", method, path, resp.Status, answer))
	}
	return answer, err
}

// container is the id of the node's container, running or not.
func (e *engine) container(n *node) (string, error) {
	filters, _ := json.Marshal(map[string][]string{
		"label": {"com.docker.compose.project=" + e.project, "com.docker.compose.service=" + n.name, "com.docker.compose.oneoff=False"},
	})
	var found []struct{ ID string }
	if err := e.call(http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(string(filters)), nil, &found); err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s has %d containers", n.name, len(found))
	}
	return found[0].ID, nil
}

// do posts one verb about the node's container.
func (e *engine) do(n *node, verb string) error {
	id, err := e.container(n)
	if err != nil {
		return err
	}
	return e.call(http.MethodPost, "/containers/"+id+"/"+verb, nil, nil)
}

func (e *engine) kill(n *node) error  { return e.do(n, "kill?signal=KILL") }
func (e *engine) start(n *node) error { return e.do(n, "start") }
func (e *engine) stop(n *node) error {
	return e.do(n, fmt.Sprintf("stop?t=%d", int(stopping.Seconds())))
}

// clusterAlias is by which name the other nodes know n.
func clusterAlias(n *node) string { return fmt.Sprintf("pg%d", n.i+1) }

// setAway takes the node off the network on which the nodes and etcd see each other, or puts it back.
func (e *engine) setAway(n *node, away bool) error {
	id, err := e.container(n)
	if err != nil {
		return err
	}
	network := "/networks/" + e.project + "_cluster"
	if away {
		return e.call(http.MethodPost, network+"/disconnect", map[string]any{"Container": id, "Force": true}, nil)
	}
	return e.call(http.MethodPost, network+"/connect", map[string]any{
		"Container": id, "EndpointConfig": map[string]any{"Aliases": []string{n.name, clusterAlias(n)}},
	}, nil)
}

// replace stops the node and starts it from another image, with the same settings, volumes and networks: what "docker
// compose up" does when the image has changed.
func (e *engine) replace(n *node, image string) error {
	id, err := e.container(n)
	if err != nil {
		return err
	}
	var was struct {
		Name       string
		Config     map[string]any
		HostConfig map[string]any
	}
	if err := e.call(http.MethodGet, "/containers/"+id+"/json", nil, &was); err != nil {
		return err
	}
	if err := errors.Join(e.stop(n), e.call(http.MethodDelete, "/containers/"+id, nil, nil)); err != nil {
		return err
	}
	create := was.Config
	create["Image"], create["HostConfig"] = image, was.HostConfig
	for _, ofImage := range []string{"Entrypoint", "Cmd", "Healthcheck", "Hostname"} {
		delete(create, ofImage)
	}
	create["NetworkingConfig"] = map[string]any{"EndpointsConfig": map[string]any{
		e.project + "_clients": map[string]any{"Aliases": []string{n.name}},
	}}
	if err := e.call(http.MethodPost, "/containers/create?name="+url.QueryEscape(was.Name), create, nil); err != nil {
		return err
	}
	if err := e.setAway(n, false); err != nil {
		return err
	}
	return e.start(n)
}

// run executes a command in the node's container, and returns its output.
func (e *engine) run(n *node, argv ...string) (string, error) {
	id, err := e.container(n)
	if err != nil {
		return "", err
	}
	var made struct{ ID string }
	// With a terminal the output comes as it is, not in frames.
	body := map[string]any{"Cmd": argv, "AttachStdout": true, "AttachStderr": true, "Tty": true}
	if err := e.call(http.MethodPost, "/containers/"+id+"/exec", body, &made); err != nil {
		return "", err
	}
	out, err := e.raw(http.MethodPost, "/exec/"+made.ID+"/start", map[string]any{"Tty": true})
	return string(out), err
}

// keepLogs writes what the nodes have printed to dir.
func (e *engine) keepLogs(nodes []*node, dir string) error {
	var errs []error
	for _, n := range nodes {
		id, err := e.container(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		log, err := e.raw(http.MethodGet, "/containers/"+id+"/logs?stdout=1&stderr=1&timestamps=1", nil)
		errs = append(errs, err, os.WriteFile(filepath.Join(dir, n.name+".log"), log, 0o600))
	}
	return errors.Join(errs...)
}
