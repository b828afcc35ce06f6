package netpolicy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
)

// kernel keeps one family's chains and sets as they should be.
type kernel struct {
	kernelSets
	writer *iptables.Writer
	// have is what the kernel's sets are believed to hold; nil: not known.
	have map[string]members
	// look is when the sets are compared again.
	look time.Time
}

// Times of comparing sets, of whose changes the kernel tells nothing.
const (
	lookPeriod = 5 * time.Second
	// restFactor bounds the share of time that goes into it: a set may have a hundred thousand elements.
	restFactor = 20
)

func openKernel(f family) (*kernel, error) {
	w, err := iptables.NewWriter(f.Family, chainPrefix, f.jumps())
	if err != nil {
		return nil, err
	}
	sets, err := openSets(f)
	if err != nil {
		return nil, err
	}
	return &kernel{kernelSets: sets, writer: w}, nil
}

// wanted is the contents of a set.
func (k *kernel) wanted(s set, of func(peers string) map[rules.Member]bool) members {
	out := members{}
	if s.peers == "" {
		for _, a := range s.pods {
			out[rules.Member{Prefix: netip.PrefixFrom(a, a.BitLen())}] = true
		}
		return out
	}
	for m := range of(s.peers) {
		if k.has(m.Prefix.Addr()) {
			for _, e := range elements(m) {
				out[e] = true
			}
		}
	}
	return out
}

// apply brings the kernel from what it has to the Guards. changed are the Members that may be others than at the last call, of all Peers; of gives those of one.
//
// In between the kernel is never more open than before or after: sets are there, with all that they are to hold, before a chain looks at
// them, and what goes leaves them only afterwards. again says that a set which nobody needs any more could not be deleted yet.
func (k *kernel) apply(ctx context.Context, g rules.Guards, dns []netip.Addr, changed map[string]map[rules.Member]bool, of func(peers string) map[rules.Member]bool) (again bool, err error) {
	defer func() {
		if err != nil {
			k.have = nil
		}
	}()
	whole := k.have == nil
	if whole {
		if k.have, err = k.list(); err != nil {
			return false, err
		}
	}
	chains, sets := k.program(g, dns)
	type change struct {
		set string
		m   rules.Member
	}
	var gone []change
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		s := sets[name]
		have, there := k.have[name]
		if !there {
			if err := k.create(name, s.kind); err != nil {
				return false, err
			}
			have = members{}
			k.have[name] = have
		}
		want := k.difference(s, have, whole || !there || s.peers == "", changed, of)
		for m, in := range want {
			switch {
			case in && !have[m]:
				if err := k.add(name, m); err != nil {
					return false, err
				}
				have[m] = true
			case !in && have[m]:
				gone = append(gone, change{name, m})
			}
		}
	}
	if err := k.writer.Apply(ctx, chains); err != nil {
		return false, err
	}
	for _, c := range gone {
		if err := k.remove(c.set, c.m); err != nil {
			return false, err
		}
		delete(k.have[c.set], c.m)
	}
	for _, name := range slices.Sorted(maps.Keys(k.have)) {
		if _, ok := sets[name]; ok {
			continue
		}
		inUse, err := k.destroy(name)
		if err != nil {
			return false, err
		}
		if again = again || inUse; !inUse {
			delete(k.have, name)
		}
	}
	return again, nil
}

// difference lists the elements that may have to be added (true) or removed: all of them, or those that changed.
func (k *kernel) difference(s set, have members, all bool, changed map[string]map[rules.Member]bool, of func(peers string) map[rules.Member]bool) map[rules.Member]bool {
	if all {
		out := map[rules.Member]bool{}
		for m := range have {
			out[m] = false
		}
		maps.Copy(out, k.wanted(s, of))
		return out
	}
	out := map[rules.Member]bool{}
	for m, in := range changed[s.peers] {
		if k.has(m.Prefix.Addr()) {
			for _, e := range elements(m) {
				out[e] = in
			}
		}
	}
	return out
}

// heal looks at what the kernel has, and says what somebody else changed; the next apply puts the sets right.
func (k *kernel) heal(ctx context.Context) ([]string, error) {
	repaired, err := k.writer.Heal(ctx)
	began := time.Now()
	if err != nil || k.have == nil || began.Before(k.look) {
		return repaired, err
	}
	now, err := k.list()
	k.look = began.Add(max(lookPeriod, restFactor*time.Since(began)))
	if err != nil {
		return nil, err
	}
	for name, have := range k.have {
		if !maps.Equal(have, now[name]) {
			repaired = append(repaired, "set "+name)
		}
	}
	k.have = now
	slices.Sort(repaired)
	return repaired, nil
}

// Cleanup removes every chain and set of this package, for a node that leaves the cluster. Run must have ended.
func Cleanup(ctx context.Context) error {
	var errs []error
	for _, f := range families {
		k, err := openKernel(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := k.writer.Cleanup(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := k.cleanup(); err != nil {
			errs = append(errs, fmt.Errorf("sets of policies: %w", err))
		}
	}
	return errors.Join(errs...)
}
