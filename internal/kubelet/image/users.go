package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

// Users are the accounts that an image defines.
type Users struct {
	passwd []account
	group  []account
}

type account struct {
	name    string
	id, gid uint32
	members []string
}

type usersOnce struct {
	sync.Mutex
	done  bool
	users Users
}

// Users reads the image's /etc/passwd and /etc/group, once.
func (s *Store) Users(ctx context.Context, img *Image) (Users, error) {
	img.users.Lock()
	defer img.users.Unlock()
	if img.users.done {
		return img.users.users, nil
	}
	layers, err := layers(ctx, s.client, img.Chain)
	if err != nil {
		return Users{}, fmt.Errorf("image %q: finding its users: %w", img.Ref, err)
	}
	img.users.users = Users{
		passwd: parseAccounts(readLayered(layers, "etc/passwd"), 3),
		group:  parseAccounts(readLayered(layers, "etc/group"), -1),
	}
	img.users.done = true
	return img.users.users, nil
}

// layers gives the directories that an image is stacked from, the uppermost first. Reading them directly spares a mount.
func layers(ctx context.Context, c *client.Client, chain string) ([]string, error) {
	sn := c.SnapshotService(Snapshotter)
	key := "view-" + chain
	mounts, err := sn.View(ctx, key, chain)
	if errdefs.IsAlreadyExists(err) {
		mounts, err = sn.Mounts(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	defer sn.Remove(ctx, key)
	return lowers(mounts), nil
}

func lowers(mounts []mount.Mount) []string {
	for _, m := range mounts {
		if m.Type == "bind" {
			return []string{m.Source}
		}
		for _, o := range m.Options {
			if v, ok := strings.CutPrefix(o, "lowerdir="); ok {
				return strings.Split(v, ":")
			}
		}
	}
	return nil
}

// maxAccountFile bounds what is read of an image's account files; real ones have a few kilobytes.
const maxAccountFile = 1 << 20

// readLayered reads a file of the image as the uppermost layer that has it defines it. Each layer is opened as a root, so a symbolic link in it cannot lead out.
func readLayered(layers []string, name string) string {
	for _, dir := range layers {
		root, err := os.OpenRoot(dir)
		if err != nil {
			continue
		}
		info, err := root.Lstat(name)
		if err != nil {
			// A whole directory removed or replaced by an upper layer hides what lies below.
			hidden := false
			if parent, err := root.Lstat(path.Dir(name)); err == nil && parent.Mode()&fs.ModeCharDevice != 0 {
				hidden = true
			}
			root.Close()
			if hidden {
				return ""
			}
			continue
		}
		if info.Mode()&fs.ModeCharDevice != 0 { // overlayfs's mark for a removed file
			root.Close()
			return ""
		}
		f, err := root.Open(name)
		if err != nil || info.Size() > maxAccountFile {
			root.Close()
			return ""
		}
		b := make([]byte, maxAccountFile)
		n, _ := f.Read(b)
		f.Close()
		root.Close()
		return string(b[:n])
	}
	return ""
}

// parseAccounts reads passwd(5) (gidField 3) or group(5) (gidField -1); lines that make no sense are skipped, as the C library does.
func parseAccounts(text string, gidField int) []account {
	var out []account
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		f := strings.Split(strings.TrimSpace(s.Text()), ":")
		if len(f) < 3 || strings.HasPrefix(f[0], "#") {
			continue
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		a := account{name: f[0], id: uint32(id)}
		if gidField > 0 && len(f) > gidField {
			gid, err := strconv.ParseUint(f[gidField], 10, 32)
			if err != nil {
				continue
			}
			a.gid = uint32(gid)
		}
		if gidField < 0 && len(f) > 3 && f[3] != "" {
			a.members = strings.Split(f[3], ",")
		}
		out = append(out, a)
	}
	return out
}

// User is who a container's process runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
	Name     string // of the account, for HOME and the like; may be empty
}

// ErrNoUser says that an image does not define an account it is to run as.
var ErrNoUser = errors.New("no such account in the image")

// Resolve finds who "user[:group]", as images and Pods write it, is. Names are looked up in the image, numbers need not be there.
func (u Users) Resolve(spec string) (User, error) {
	name, group, _ := strings.Cut(spec, ":")
	out := User{}
	if name == "" {
		name = "0"
	}
	i := slices.IndexFunc(u.passwd, func(a account) bool { return a.name == name })
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && i < 0 {
		out.UID = uint32(n)
		i = slices.IndexFunc(u.passwd, func(a account) bool { return uint64(a.id) == n })
	} else if i < 0 {
		return out, fmt.Errorf("user %q: %w: it is not in /etc/passwd; use a number", name, ErrNoUser)
	}
	if i >= 0 {
		out.UID, out.GID, out.Name = u.passwd[i].id, u.passwd[i].gid, u.passwd[i].name
	}
	if group != "" {
		g := slices.IndexFunc(u.group, func(a account) bool { return a.name == group })
		if n, err := strconv.ParseUint(group, 10, 32); err == nil && g < 0 {
			out.GID = uint32(n)
		} else if g < 0 {
			return out, fmt.Errorf("group %q: %w: it is not in /etc/group; use a number", group, ErrNoUser)
		} else {
			out.GID = u.group[g].id
		}
	}
	for _, g := range u.group {
		if out.Name != "" && slices.Contains(g.members, out.Name) && g.id != out.GID {
			out.Groups = append(out.Groups, g.id)
		}
	}
	return out, nil
}
