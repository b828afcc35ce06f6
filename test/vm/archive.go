package vm

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// archive is a file system for the kernel's start, in cpio's format "newc" (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	buf  bytes.Buffer
	seen []string
}

const (
	regular   = 0o100000
	directory = 0o040000
)

// file adds a file and the directories above it; one that is there is not added again.
func (a *archive) file(name string, mode fs.FileMode, content []byte) {
	a.parents(name)
	a.entry(name, regular|uint32(mode.Perm()), content)
}

func (a *archive) dir(name string) {
	a.parents(name)
	a.entry(name, directory|0o755, nil)
}

func (a *archive) parents(name string) {
	if dir := path.Dir(path.Clean("/" + name)); dir != "/" {
		a.dir(dir)
	}
}

func (a *archive) entry(name string, mode uint32, content []byte) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if slices.Contains(a.seen, name) {
		return
	}
	a.seen = append(a.seen, name)
	a.record(name, mode, len(a.seen), content)
}

func (a *archive) record(name string, mode uint32, inode int, content []byte) {
	fmt.Fprintf(&a.buf, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.buf.WriteString(name + "\x00")
	a.pad()
	a.buf.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

// bytes is the whole archive.
func (a *archive) bytes() []byte {
	a.record("TRAILER!!!", 0, 0, nil)
	return a.buf.Bytes()
}
