package logs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"
)

// Stop ends the collector of a directory, if there is one; it is for taking a node off its host.
func Stop(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := dial(ctx, dir)
	if err != nil {
		return nil // there is none
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	if err := ask(conn, in, "hello (none)"); err == nil {
		return fmt.Errorf("the log collector of %s did not end", dir)
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	io.Copy(io.Discard, in) // until its end of the connection closes
	return nil
}
