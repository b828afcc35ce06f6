package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// dialled connects to what DIAL names, at once and only once, and answers with what came of it: what a Pod may do in the first moment of its life.
func dialled() http.HandlerFunc {
	to := os.Getenv("DIAL")
	said := "DIAL names nobody"
	if to != "" {
		said = "connected"
		c, err := net.DialTimeout("tcp", to, 2*time.Second)
		if err != nil {
			said = err.Error()
		} else {
			c.Close()
		}
	}
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, said) }
}
