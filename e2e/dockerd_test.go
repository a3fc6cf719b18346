//go:build linux

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// engine is a Docker daemon of our own: its data, socket and bridge are in nobody's way, and other daemons of the machine
// are not in its. It knows one image, of e2e/emit alone, under several names: there is no registry.
type engine struct {
	dir    string // short: the path of a socket is at most 108 bytes long
	bridge string
	socket string // for LOOKOUT_DOCKER and docker -H
	log    logBuffer
	cmd    *exec.Cmd
	done   chan error
}

// The names of the image. shop's tag is a version; sickly has a health check.
const (
	image       = "emit:latest"
	imageShop   = "shop:1.4.2"
	imageSickly = "sickly:latest"
)

var sharedEngine struct {
	sync.Once
	engine *engine
	err    error
}

// docker returns the daemon that the tests of this package share; TestMain stops it.
func docker(t *testing.T) *engine {
	t.Helper()
	const mend = "run make setup as root on Debian or Ubuntu"
	need(t, "dockerd", mend+" (docker.io)")
	need(t, "docker", mend+" (docker.io)")
	need(t, "ip", mend+" (iproute2)")
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("a Docker daemon needs root")
		}
		t.Skip("left out, a Docker daemon needs root")
	}
	sharedEngine.Do(func() {
		end := func() {
			if sharedEngine.engine != nil {
				sharedEngine.engine.end()
			}
		}
		atEnd = append(atEnd, end)
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
		go func() { // Ctrl-C
			<-interrupted
			end()
			os.Exit(1)
		}()
		sharedEngine.err = errors.New("it did not start in the first test that uses it")
		sharedEngine.engine, sharedEngine.err = startEngine()
	})
	if sharedEngine.err != nil {
		t.Fatalf("a Docker daemon of our own: %v", sharedEngine.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dockerd's log:\n%s", last(sharedEngine.engine.log.String(), 4000))
		}
	})
	return sharedEngine.engine
}

func startEngine() (*engine, error) {
	dir, err := os.MkdirTemp("/tmp", "lkd")
	if err != nil {
		return nil, err
	}
	e := &engine{dir: dir, bridge: "lkd" + strconv.Itoa(os.Getpid()), socket: "unix://" + dir + "/d.sock"}
	// The machine's own daemon.json is not ours.
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		return e, err
	}
	// A bridge of our own: the default one is shared by all daemons of a machine, and --bip or --bridge=none takes it from the others.
	pid := os.Getpid()
	address := fmt.Sprintf("10.%d.%d.1/24", 200+pid%50, pid/50%250)
	for _, args := range [][]string{{"link", "add", e.bridge, "type", "bridge"}, {"addr", "add", address, "dev", e.bridge}, {"link", "set", e.bridge, "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return e, fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	if err := e.start(); err != nil {
		return e, err
	}
	return e, e.images()
}

// start starts the daemon and waits until it answers. It gives its containerd no more than 15 s to start, which a machine that is
// slow or has just been started may not keep: then it is started again, and finds more of it in memory.
func (e *engine) start() error {
	deadline := time.Now().Add(patience * 30 * time.Second)
	for {
		said := len(e.log.String())
		err := e.startOnce(deadline)
		if err == nil || time.Now().After(deadline) || !strings.Contains(e.log.String()[said:], "timeout waiting for containerd to start") {
			return err
		}
	}
}

func (e *engine) startOnce(deadline time.Time) error {
	e.cmd = exec.Command("dockerd", "--config-file", e.dir+"/daemon.json", "--data-root", e.dir+"/root", "--exec-root", e.dir+"/exec", "-H", e.socket, "--pidfile", e.dir+"/pid",
		"--containerd-namespace", e.bridge, "--containerd-plugins-namespace", e.bridge+"p", "--bridge", e.bridge,
		// Nothing that other daemons of the machine would notice. Without iptables, ports are published by docker-proxy.
		"--iptables=false", "--ip-masq=false", "--ip-forward=false", "--shutdown-timeout", "60")
	e.cmd.Stdout, e.cmd.Stderr = &e.log, &e.log
	// It ends with this process, whatever ends that. The signal is tied to the thread that starts it, so that one stays.
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	e.done = make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := e.cmd.Start()
		started <- err
		if err == nil {
			e.done <- e.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	late := time.After(time.Until(deadline))
	for {
		if _, err := e.cli("version", "--format", "{{.Server.Version}}"); err == nil {
			return nil
		}
		select {
		case err := <-e.done:
			e.done <- err
			return fmt.Errorf("dockerd ended: %w\n%s", err, last(e.log.String(), 3000))
		case <-late:
			return fmt.Errorf("dockerd does not answer\n%s", last(e.log.String(), 3000))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// images makes the image without a registry: a tar of one file.
func (e *engine) images() error {
	program := filepath.Join(e.dir, "emit")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./emit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building emit: %w\n%s", err, out)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := w.WriteHeader(&tar.Header{Name: "emit", Mode: 0o755, Size: int64(len(b))}); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"import", "--change", `ENTRYPOINT ["/emit"]`, "-", image},
		{"import", "--change", `ENTRYPOINT ["/emit"]`, "--change", `HEALTHCHECK --interval=300ms --timeout=10s --retries=2 CMD ["/emit", "health"]`, "-", imageSickly},
		{"tag", image, imageShop},
	} {
		cmd := e.command(context.Background(), args...)
		cmd.Stdin = bytes.NewReader(content.Bytes())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.socket, "DOCKER_CONFIG="+e.dir+"/cli", "DOCKER_CONTEXT=")
	return cmd
}

func (e *engine) cli(args ...string) (string, error) {
	out, err := e.command(context.Background(), args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// docker runs the command line client.
func (e *engine) docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.cli(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// run starts a container in the background; it is removed with the test. args are options, image and command.
func (e *engine) run(t *testing.T, name string, args ...string) {
	t.Helper()
	t.Cleanup(func() { _, _ = e.cli("rm", "-f", "-v", name) }) // it may be gone
	e.docker(t, append([]string{"run", "-d", "--name", name}, args...)...)
}

// signal sends the daemon a signal and waits for its end.
func (e *engine) signal(sig syscall.Signal) error {
	if err := e.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case err := <-e.done:
		e.done <- err
		return nil
	case <-time.After(patience * 30 * time.Second):
		return fmt.Errorf("dockerd does not end after %v", sig)
	}
}

// restart ends the daemon, its containers with it, and starts it again.
func (e *engine) restart(t *testing.T) {
	t.Helper()
	if err := e.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
}

// end stops the daemon and leaves nothing behind: not after a test that failed, nor after a daemon that hangs.
func (e *engine) end() {
	warn := func(err error) {
		if err != nil {
			fmt.Fprintf(os.Stderr, "ending the Docker daemon: %v\n", err)
		}
	}
	if e.cmd != nil && e.cmd.Process != nil {
		if err := e.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			warn(err)
			warn(e.cmd.Process.Kill())
		}
	}
	// Shims, and containerd when the daemon was killed: whoever has our folder in its command line.
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	warn(err)
	for _, p := range processes {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if b, readErr := os.ReadFile(p); err == nil && readErr == nil && pid != os.Getpid() && bytes.Contains(b, []byte(e.dir+"/")) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	warn(err)
	var ours []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], e.dir+"/") {
			ours = append(ours, f[4])
		}
	}
	slices.Reverse(ours)
	for _, m := range ours {
		warn(syscall.Unmount(m, syscall.MNT_DETACH))
	}
	if out, err := exec.Command("ip", "link", "del", e.bridge).CombinedOutput(); err != nil {
		warn(fmt.Errorf("ip link del %s: %w: %s", e.bridge, err, out))
	}
	warn(os.RemoveAll(e.dir))
}
