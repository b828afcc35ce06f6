package unit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Options say what is installed where.
type Options struct {
	Root    string // / but for an image of a host
	Program string
	Flags   []string
}

// Where things go, below the root.
const (
	Program = "usr/local/bin/node-gitopsd"
	Service = "gitopsd-node.service"
	unitDir = "etc/systemd/system"
	wanted  = "multi-user.target.wants"
)

// Unit is the text of the unit file for a program and its flags.
//
// KillMode=process: containers, their shims, containerd and the log collector outlive the daemon. Delegate: the control groups of Pods are the daemon's to make.
func Unit(program string, flags []string) string {
	command := []string{program}
	for _, f := range flags {
		command = append(command, quote(f))
	}
	return `[Unit]
Description=Node daemon of gitopsd
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=` + strings.Join(command, " ") + `
Restart=always
RestartSec=1
KillMode=process
Delegate=yes
OOMScoreAdjust=-999
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`
}

// quote writes an argument as systemd.service(5) reads it back: specifiers and variables are not meant.
func quote(s string) string {
	s = strings.NewReplacer("%", "%%", "$", "$$").Replace(s)
	if s != "" && !strings.ContainsAny(s, " \t\n\"'\\;") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// Install puts the program and its unit in place, and has systemd start it. What was done is given, also if it was not all.
func Install(ctx context.Context, o Options) (done []string, err error) {
	program := filepath.Join(o.Root, Program)
	if err := place(o.Program, program); err != nil {
		return nil, fmt.Errorf("installing the program: %w", err)
	}
	done = append(done, "wrote "+program)
	file := filepath.Join(o.Root, unitDir, Service)
	if err := os.MkdirAll(filepath.Join(filepath.Dir(file), wanted), 0o755); err != nil {
		return done, err
	}
	if err := replace(file, strings.NewReader(Unit("/"+Program, o.Flags)), 0o644); err != nil {
		return done, fmt.Errorf("writing the unit: %w", err)
	}
	done = append(done, "wrote "+file)
	if !running(o.Root) {
		// What `systemctl enable` would do: whoever boots this root starts the daemon.
		link := filepath.Join(o.Root, unitDir, wanted, Service)
		if err := os.Symlink("../"+Service, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return done, err
		}
		return append(done, "linked "+link, "systemd does not run here: the daemon starts when this system is booted"), nil
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", Service}, {"restart", Service}} {
		if err := systemctl(ctx, args...); err != nil {
			return done, err
		}
		done = append(done, "systemctl "+strings.Join(args, " "))
	}
	return done, nil
}

// Uninstall takes back what Install did. It may be repeated.
func Uninstall(ctx context.Context, o Options) (done []string, err error) {
	file := filepath.Join(o.Root, unitDir, Service)
	if _, err := os.Stat(file); err == nil && running(o.Root) {
		if err := systemctl(ctx, "disable", "--now", Service); err != nil {
			return nil, err
		}
		done = append(done, "systemctl disable --now "+Service)
	}
	for _, path := range []string{filepath.Join(o.Root, unitDir, wanted, Service), file, filepath.Join(o.Root, Program)} {
		switch err := os.Remove(path); {
		case err == nil:
			done = append(done, "removed "+path)
		case !errors.Is(err, fs.ErrNotExist):
			return done, err
		}
	}
	if len(done) > 0 && running(o.Root) {
		if err := systemctl(ctx, "daemon-reload"); err != nil {
			return done, err
		}
	}
	return done, nil
}

// running says whether systemd is this system's first process, as sd_booted(3) finds out, and the root is that system's.
func running(root string) bool {
	info, err := os.Stat("/run/systemd/system")
	return root == "/" && err == nil && info.IsDir()
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s; `journalctl -u %s` says more", strings.Join(args, " "), err, bytes.TrimSpace(out), Service)
	}
	return nil
}

// place copies a program; one that runs from the place itself stays.
func place(from, to string) error {
	a, err := os.Stat(from)
	if err != nil {
		return err
	}
	if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
		return nil
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return replace(to, f, 0o755)
}

// replace writes a file so that whoever reads or executes it meanwhile has the old one or the new.
func replace(path string, from io.Reader, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, from)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
