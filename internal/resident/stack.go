package resident

// stackRoom is what most requests take.
const stackRoom = 24 << 10

// GrowStack grows the goroutine's stack once, to what a request takes, while there is little on it. The runtime would double it again and again in the depth of
// the calls, and go through all frames each time.
func GrowStack() { touch(0) }

// touch needs so much of the stack itself; its result only keeps the compiler from leaving that out.
//
//go:noinline
func touch(i int) byte {
	var room [stackRoom]byte
	return room[i]
}
