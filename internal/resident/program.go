package resident

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseProgram gives back free heap and the resident pages of files.
func ReleaseProgram() {
	debug.FreeOSMemory()
	releaseFiles()
}

// releaseFiles gives back the resident pages of files that are mapped to be read: the program's own, most of which was touched only once, while its libraries were
// initialized, and etcd's database. What is needed again is there again from the page cache, a thousand faults or so. A kernel that refuses costs only memory.
func releaseFiles() {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var from, to uintptr
		var access string
		if !strings.Contains(s.Text(), " /") {
			continue // no file
		}
		if _, err := fmt.Sscanf(s.Text(), "%x-%x %s", &from, &to, &access); err != nil || strings.Contains(access, "w") {
			continue // what may have been written is not in the file
		}
		// By system call: the package's own function wants a slice, which no part of the program's text can be.
		unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
	}
}
