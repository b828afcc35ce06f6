package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseProgram gives back the resident pages of the program's own file. What is needed again is read again from the page cache;
// of a small process that shares a large program with the daemon that is a fraction. A kernel that refuses costs only memory.
func releaseProgram() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		var from, to uintptr
		var access string
		if !strings.HasSuffix(line, self) {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil || strings.Contains(access, "w") {
			continue // what may have been written is not in the file
		}
		// By system call: the package's own function wants a slice, which no part of the program's text can be.
		unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
	}
}
