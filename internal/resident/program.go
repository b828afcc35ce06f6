package resident

import (
	"bufio"
	"bytes"
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
//
// A program that is linked when it starts, as one with the race detector is, has private pages that cannot be written and differ from the file all the same: the linker has written addresses into them.
// Of such a program only text is given back, and what is shared.
func releaseFiles() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	linked := bytes.Contains(maps, []byte(".so"))
	for s := bufio.NewScanner(bytes.NewReader(maps)); s.Scan(); {
		var from, to uintptr
		var access string
		if !strings.Contains(s.Text(), " /") {
			continue // no file
		}
		if _, err := fmt.Sscanf(s.Text(), "%x-%x %s", &from, &to, &access); err != nil || strings.Contains(access, "w") || linked && !strings.ContainsAny(access, "xs") {
			continue // what may have been written is not in the file
		}
		// By system call: the package's own function wants a slice, which no part of the program's text can be.
		unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
	}
}
