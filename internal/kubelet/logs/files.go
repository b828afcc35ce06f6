package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A log may be rotated at any moment while its files are being opened. The name of a rotated file is its own for good; what is called path is another file
// after a rotation. So whoever opens that looks again at which rotated files there are: if the newest one is the same as before, there was no rotation between.

// rotated lists the rotated files of a log, the oldest first.
func rotated(path string) []string {
	old, _ := filepath.Glob(path + ".*")
	slices.Sort(old)
	return old
}

// openAll opens the files of a log, the oldest first, without a gap between them. There are none before the first line was written.
func openAll(path string) (files []*os.File, err error) {
	for {
		old := rotated(path)
		for _, name := range append(old, path) {
			f, err := os.Open(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed by a rotation, or between the two steps of one
			}
			if err != nil {
				closeAll(files)
				return nil, fmt.Errorf("reading container log: %w", err)
			}
			files = append(files, f)
		}
		if newest(old) == newest(rotated(path)) {
			return files, nil
		}
		closeAll(files)
		files = nil
	}
}

// following opens the file that comes after one: nil if that is the newest. After one that has been removed, as happens to those who read more slowly than the log is written, and
// where there was none, it is the oldest.
func following(path string, after *os.File) (*os.File, error) {
	for {
		old := rotated(path)
		names := append(old, path)
		at := -1
		if after != nil {
			var err error
			if at, err = index(names, after); err != nil {
				return nil, err
			}
			if at < 0 && newest(old) != newest(rotated(path)) {
				continue // it had its new name too late for the list
			}
		}
		if at == len(names)-1 {
			return nil, nil
		}
		name := names[at+1]
		f, err := os.Open(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == path:
			return nil, nil // between the two steps of a rotation, or removed with its Pod
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("reading container log: %w", err)
		}
		if name != path || newest(old) == newest(rotated(path)) {
			return f, nil
		}
		f.Close()
	}
}

// index finds which of the names is that of an open file; -1: none.
func index(names []string, f *os.File) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	for i, name := range slices.Backward(names) { // most often it is the last
		if other, err := os.Stat(name); err == nil && os.SameFile(info, other) {
			return i, nil
		}
	}
	return -1, nil
}

func newest(old []string) string {
	if len(old) == 0 {
		return ""
	}
	return old[len(old)-1]
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
