package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/test/netns"
)

// connections takes connections per second and their times, to the Service at an address and to one of its Pods.
func (b *serviceBench) connections(ctx context.Context, n int, at string) ([]string, error) {
	targets := []struct{ name, at string }{{fmt.Sprintf("a Pod's address, beside %d Services", n), b.pods[0]}, {fmt.Sprintf("a cluster IP, beside %d Services", n), at}}
	rates, middle, p99 := make([][]float64, len(targets)), make([][]time.Duration, len(targets)), make([][]time.Duration, len(targets))
	for range serviceRounds {
		for i, target := range targets { // by turns, as the machine is not equally fast all the time
			times, err := b.knock(ctx, target.at)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", target.name, err)
			}
			rates[i] = append(rates[i], float64(len(times))/serviceRound.Seconds())
			middle[i], p99[i] = append(middle[i], figure{times: times}.percentile(50)), append(p99[i], figure{times: times}.percentile(99))
		}
	}
	var lines []string
	for i, target := range targets {
		at := func(times []time.Duration) time.Duration {
			return figure{times: times}.percentile(50).Round(time.Microsecond)
		}
		lines = append(lines, fmt.Sprintf("%s\t%.0f\t%s\t%s\t", target.name, median(rates[i]), at(middle[i]), at(p99[i])))
	}
	return lines, nil
}

// knock has all clients connect for a round, and returns how long each connection took to be made.
func (b *serviceBench) knock(ctx context.Context, at string) ([]time.Duration, error) {
	to, err := netip.ParseAddrPort(at)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, serviceRound)
	defer cancel()
	times, errs := make([][]time.Duration, serviceClients), make([]error, serviceClients)
	var wg sync.WaitGroup
	for i := range serviceClients {
		wg.Go(func() {
			errs[i] = netns.Do(b.inside, func() error {
				for ctx.Err() == nil {
					took, err := connectOnce(to)
					if err != nil {
						return err
					}
					times[i] = append(times[i], took)
				}
				return nil
			})
		})
	}
	wg.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

// connectOnce makes a connection and drops it. A thread that is kept in a namespace is better off blocking than waiting as Go does, which hands it over each time.
func connectOnce(to netip.AddrPort) (took time.Duration, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return 0, err
	}
	began := time.Now()
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	return time.Since(began), err
}
