package stats

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk says how many bytes of disk a directory and all below it take, and how many inodes, without what is mounted there. A file with several names
// counts once. What goes away meanwhile counts or does not.
func Disk(dir string) (bytes, inodes int64) {
	var top unix.Stat_t
	if unix.Lstat(dir, &top) != nil {
		return 0, 0
	}
	seen := map[uint64]bool{}
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone, most likely
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		if st.Dev != top.Dev {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		bytes += st.Blocks * blockSize
		inodes++
		return nil
	})
	return bytes, inodes
}

// blockSize is the unit of st_blocks, whatever the file system's own: inode(7).
const blockSize = 512
