package logs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// rawRead reads without waiting; nothing there is 0 and no error.
func rawRead(raw syscall.RawConn, b []byte) (n int, err error) {
	cerr := raw.Control(func(fd uintptr) {
		for {
			n, err = unix.Read(int(fd), b)
			if err != unix.EINTR {
				break
			}
		}
		if err == unix.EAGAIN {
			n, err = 0, nil
		}
	})
	if cerr != nil {
		return 0, cerr
	}
	return max(n, 0), err
}
