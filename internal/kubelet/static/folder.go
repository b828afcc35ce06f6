package static

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxManifest bounds what is read of a file.
const maxManifest = 10 << 20

// Folder is where the manifests are. One that has become unreadable counts with what it said last: a slip of the editor must not end what runs.
type Folder struct {
	Path string
	Node string // name of this node

	last map[string]*Manifest // by file
	// told is what was wrong with each file when it was read last, so that it is told once.
	told map[string]string
}

// Read gives the Pods of the folder and what was newly found wrong with it. kept are files whose Pods are to stay as they are, though it is not known what they are.
func (f *Folder) Read(now time.Time) (pods []*Manifest, kept map[string]bool, bad []error) {
	kept = map[string]bool{}
	if f.Path == "" {
		return nil, kept, nil
	}
	entries, err := os.ReadDir(f.Path)
	if err != nil {
		for _, m := range f.last {
			pods = append(pods, m)
		}
		return pods, kept, []error{fmt.Errorf("--pod-manifest-path: %w; the static Pods that run go on", err)}
	}
	found, wrong := map[string]*Manifest{}, map[string]error{}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), "~") {
			continue
		}
		file := filepath.Join(f.Path, e.Name())
		m, err := f.one(file, now)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went since the folder was read
		}
		if err == nil {
			found[file] = m
			continue
		}
		wrong[file] = err
		if m := f.last[file]; m != nil {
			found[file] = m
		} else {
			kept[file] = true
		}
	}
	f.last = found
	for _, m := range found {
		pods = append(pods, m)
	}
	slices.SortFunc(pods, func(a, b *Manifest) int { return cmp.Compare(a.File, b.File) })
	pods, twice := distinct(pods)
	maps.Copy(wrong, twice)
	told := map[string]string{}
	for _, file := range slices.Sorted(maps.Keys(wrong)) {
		told[file] = wrong[file].Error()
		if f.told[file] != told[file] {
			bad = append(bad, wrong[file])
		}
	}
	f.told = told
	return pods, kept, bad
}

func (f *Folder) one(file string, now time.Time) (*Manifest, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxManifest {
		return nil, fmt.Errorf("%s: is no regular file of at most %d MiB", file, maxManifest>>20)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m, err := Parse(file, data, f.Node, now)
	if err != nil {
		return nil, err
	}
	if before := f.last[file]; before != nil && before.Pod.UID == m.Pod.UID {
		return before, nil // first seen then
	}
	return m, nil
}

// distinct leaves out the files whose Pod has the name of another's; the first file, by its name, has it.
func distinct(pods []*Manifest) (out []*Manifest, twice map[string]error) {
	first, twice := map[string]string{}, map[string]error{}
	for _, m := range pods {
		name := m.Pod.Namespace + "/" + m.Pod.Name
		if other, ok := first[name]; ok {
			twice[m.File] = fmt.Errorf("%s:%d: metadata.name: the Pod %s is that of %s already; give it another name", m.File, m.Line("metadata.name"), name, other)
			continue
		}
		first[name] = m.File
		out = append(out, m)
	}
	return out, twice
}
