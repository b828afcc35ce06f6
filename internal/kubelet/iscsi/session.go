package iscsi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/durable"
)

// suffix of a record's name; no volume's name has a dot.
const suffix = ".iscsi"

const (
	appearsWithin = 15 * time.Second // a disk, after the login
	lookEvery     = 100 * time.Millisecond
	endsWithin    = 2 * time.Minute // a logout
)

// sessions are those that a call is about, by target: calls for one exclude each other.
var sessions sync.Map

func hold(iqn string) (release func()) {
	mu, _ := sessions.LoadOrStore(iqn, &sync.Mutex{})
	mu.(*sync.Mutex).Lock()
	return mu.(*sync.Mutex).Unlock
}

// Connect gives the device of a target's disk, for the volume at a path, and logs in to the target unless this node is.
func Connect(ctx context.Context, path string, t Target, secret map[string]string) (string, error) {
	if err := t.check(secret); err != nil {
		return "", err
	}
	defer hold(t.IQN)()
	if known, err := load(path + suffix); err == nil && known.IQN == t.IQN && known.LUN == t.LUN {
		if found := disks(sysfs, t); len(found) > 0 {
			return found[0], nil
		}
	}
	program, err := exec.LookPath("iscsiadm")
	if err != nil {
		return "", errors.New("this host has no iSCSI initiator (iscsiadm): install the package open-iscsi (iscsi-initiator-utils) on it")
	}
	// First: whoever finds the record ends the session.
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o711), t.save(path+suffix)); err != nil {
		return "", err
	}
	if err := all(ctx, program, t.prepare()); err != nil {
		return "", err
	}
	var bad error
	reached := 0
	for _, w := range t.Ways {
		err := all(ctx, program, t.login(w, secret))
		if err == nil {
			reached++
		}
		bad = errors.Join(bad, err)
	}
	if reached == 0 {
		return "", bad
	}
	if bad != nil {
		slog.Warn("an iSCSI target cannot be reached by all its portals", "target", t.IQN, "err", bad)
	}
	return t.appeared(ctx)
}

// appeared waits for the disk, which the kernel finds after the login.
func (t Target) appeared(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, appearsWithin)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if found := disks(sysfs, t); len(found) > 0 {
			return found[0], nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("target %s has no disk with the lun %d for this node, of its sessions since %v: correct the lun, or let the node have it at the target", t.IQN, t.LUN, appearsWithin)
		case <-tick.C:
		}
	}
}

// Disconnect ends the sessions of the volumes in a Pod's directory that no other Pod's volume needs. Nothing in it is mounted any more. Other Pods' directories are beside it: ../POD/NAME.
func Disconnect(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return err
	}
	for _, record := range found {
		t, err := load(record)
		if err == nil {
			err = t.disconnect(record)
		}
		if err != nil {
			return fmt.Errorf("letting go of the iSCSI disk of %s: %w", strings.TrimSuffix(record, suffix), err)
		}
	}
	return nil
}

func (t Target) disconnect(record string) error {
	defer hold(t.IQN)()
	others, err := filepath.Glob(filepath.Join(filepath.Dir(record), "..", "..", "*", filepath.Base(filepath.Dir(record)), "*"+suffix))
	if err != nil {
		return err
	}
	left := "" // another volume's record of the target
	for _, other := range others {
		o, err := load(other)
		if err != nil {
			return err
		}
		if filepath.Clean(other) == record || o.IQN != t.IQN {
			continue
		}
		if left = other; o.LUN == t.LUN {
			break
		}
	}
	if left != "" {
		return t.leave(record, left)
	}
	for _, device := range disks(sysfs, t) {
		if err := settled(device); err != nil {
			return err
		}
	}
	program, err := exec.LookPath("iscsiadm")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), endsWithin)
	defer cancel()
	for _, w := range t.Ways {
		if err := all(ctx, program, t.logout(w)); err != nil {
			return err
		}
	}
	return os.Remove(record)
}

// leave has another volume of the target end the sessions that this one may have begun.
func (t Target) leave(record, to string) error {
	o, err := load(to)
	if err != nil {
		return err
	}
	if o.LUN != t.LUN {
		for _, device := range disks(sysfs, t) {
			if err := settled(device); err != nil {
				return err
			}
		}
	}
	o.Ways = with(o.Ways, t.Ways...)
	if err := o.save(to); err != nil {
		return err
	}
	return os.Remove(record)
}

// settled has all that was written to a disk be on it, and fails while somebody has it mounted, also where that cannot be seen.
func settled(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EROFS) {
		f, err = os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
	}
	if err != nil {
		return fmt.Errorf("it is still in use: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

func (t Target) save(record string) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return durable.Replace(record, b)
}

func load(record string) (Target, error) {
	var t Target
	b, err := os.ReadFile(record)
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("%s: %w", record, err)
	}
	return t, nil
}

func all(ctx context.Context, program string, commands []command) error {
	for _, c := range commands {
		if err := c.run(ctx, program); err != nil {
			return err
		}
	}
	return nil
}

func (c command) run(ctx context.Context, program string) error {
	out, err := exec.CommandContext(ctx, program, c.args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && slices.Contains(c.fine, exit.ExitCode()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%v: %w: %s", c, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// sysfs is where the kernel tells of its sessions and devices.
const sysfs = "/sys"

// disks are the devices of a target's disk, one for each session, the first one first. Of a disk that is reached by several ways, and that the host's multipathd has made one of, it is that.
func disks(sysfs string, t Target) (devices []string) {
	names, _ := filepath.Glob(filepath.Join(sysfs, "class/iscsi_session/session*/targetname"))
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }) // by their numbers
	for _, name := range names {
		if b, err := os.ReadFile(name); err != nil || strings.TrimSpace(string(b)) != t.IQN {
			continue
		}
		// HOST:CHANNEL:TARGET:LUN, below the session.
		found, _ := filepath.Glob(filepath.Join(filepath.Dir(name), fmt.Sprintf("device/target*/*:*:*:%d/block/*", t.LUN)))
		for _, d := range found {
			if path := multipath(d); path != "" {
				return []string{"/dev/" + path}
			}
			devices = append(devices, "/dev/"+filepath.Base(d))
		}
	}
	return devices
}

// multipath is the device that multipathd has made of a disk's ways; empty: none. What LVM or dm-crypt has made of a disk's content is not the disk, though the host may have brought it up by itself.
func multipath(disk string) string {
	holders, _ := filepath.Glob(filepath.Join(disk, "holders/dm-*"))
	for _, h := range holders {
		if uuid, err := os.ReadFile(filepath.Join(h, "dm/uuid")); err == nil && strings.HasPrefix(string(uuid), "mpath-") {
			return filepath.Base(h)
		}
	}
	return ""
}
