package http1

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gonePause is how often it is looked whether a client that waits for an answer is still there.
const gonePause = 250 * time.Millisecond

// gone notices that a client has left while its request is answered. Reading would tell, at the price of a second goroutine for every request; instead the
// socket is asked, and only of requests that take long: a timer runs on from one request to the next and is set again at most once in each gonePause.

// attend has the client looked after while a request is under way.
func (c *conn) attend() {
	if c.armed.CompareAndSwap(false, true) {
		c.timer.Reset(gonePause)
	}
}

// look is called by the timer.
func (c *conn) look() {
	if c.state.Load() == active && c.left() {
		c.leave()
		return
	}
	c.armed.Store(false)
	if c.state.Load() == active {
		c.attend()
	}
}

// left asks the socket whether the other end has closed it, or its half. While a body comes in, its reader learns that.
func (c *conn) left() bool {
	if b := c.body.Load(); c.raw == nil || b != nil && !b.ended.Load() {
		return false
	}
	closed := false
	err := c.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		closed = err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || closed
}

// leave ends what is done for the client.
func (c *conn) leave() {
	c.cancel(context.Canceled)
	c.goneMu.Lock()
	f := c.onGone
	c.onGone, c.gone = nil, true
	c.goneMu.Unlock()
	if f != nil {
		f()
	}
}

func (c *conn) whenGone(f func()) (stop func() bool) {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	if c.gone {
		go f()
		return func() bool { return false }
	}
	c.onGone = f
	return c.stopGone
}

// forget undoes whenGone.
func (c *conn) forget() bool {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	had := c.onGone != nil
	c.onGone = nil
	return had
}

// rawOf finds the socket below a connection.
func rawOf(nc net.Conn) syscall.RawConn {
	for {
		switch c := nc.(type) {
		case syscall.Conn:
			raw, err := c.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}
