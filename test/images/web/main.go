package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		slog.Error("web", "err", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	delay, err := duration("START_DELAY", 0)
	if err != nil {
		return err
	}
	linger, err := duration("LINGER", time.Second)
	if err != nil {
		return err
	}
	life, err := duration("LIFE", 0)
	if err != nil {
		return err
	}
	burn, err := duration("BURN", 0)
	if err != nil {
		return err
	}
	go func() {
		for end := time.Now().Add(burn); time.Now().Before(end); {
		}
	}()
	if life > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, life)
		defer end()
	}
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}

	var ready atomic.Bool
	time.AfterFunc(delay, func() { ready.Store(ctx.Err() == nil) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, strings.TrimSpace(strings.Join([]string{hostname, os.Getenv("VERSION"), greeting()}, " ")))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /lookup", lookup)
	mux.HandleFunc("GET /dialled", dialled())
	server := &http.Server{Addr: ":" + cmp.Or(os.Getenv("PORT"), "8080"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("serving", "addr", server.Addr, "version", os.Getenv("VERSION"))
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	// Told to stop. The nodes learn of it at the same time as this process does, so for a moment longer new connections may come in:
	// they are served. Connections that are kept alive are closed after their current answer.
	ready.Store(false)
	slog.Info("stopping", "linger", linger)
	server.SetKeepAlivesEnabled(false)
	time.Sleep(linger)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// greeting is read at each request, as the file changes with its ConfigMap.
func greeting() string {
	file := os.Getenv("GREETING_FILE")
	if file == "" {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return string(text)
}

func duration(name string, otherwise time.Duration) (time.Duration, error) {
	s := os.Getenv(name)
	if s == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s=%s: want a duration such as 500ms", name, s)
	}
	return d, nil
}
