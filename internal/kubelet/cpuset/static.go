package cpuset

import (
	"cmp"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// Processor is one of the machine's, and where it is: processors of one core share its units, cores of one socket share its caches.
type Processor struct{ ID, Core, Socket int }

// Given is the processors that containers have for themselves, by Pod and container.
type Given map[string]map[string]Set

// all is every processor that somebody has for himself.
func (g Given) all() Set {
	var out Set
	for _, containers := range g {
		for _, s := range containers {
			out = out.with(s)
		}
	}
	return out
}

// Wanted gives how many processors the containers of a Pod want for themselves, by name. Only those of Guaranteed Pods get any, and only whole ones.
func Wanted(pod *v1.Pod) map[string]int {
	out := map[string]int{}
	if lifecycle.QOS(&pod.Spec) != v1.PodQOSGuaranteed {
		return out
	}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if milli := list[i].Resources.Limits.Cpu().MilliValue(); milli > 0 && milli%1000 == 0 {
				out[list[i].Name] = int(milli / 1000)
			}
		}
	}
	return out
}

// Allocate chooses processors for a Pod. Init containers that end before the others start use the same ones as those.
func Allocate(machine []Processor, reserved Set, given Given, pod *v1.Pod) (map[string]Set, error) {
	wanted := Wanted(pod)
	out := map[string]Set{}
	taken := given.all().with(reserved)
	take := func(name string, from Set) error {
		s, ok := choose(machine, from, wanted[name])
		if !ok {
			return fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", wanted[name], len(from))
		}
		out[name] = s
		return nil
	}
	free := func() Set { return numbers(machine).without(taken) }
	own := Set{} // of those that run side by side
	var early []string
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if wanted[c.Name] == 0 {
			continue
		}
		if c.RestartPolicy == nil || *c.RestartPolicy != v1.ContainerRestartPolicyAlways {
			early = append(early, c.Name)
			continue
		}
		if err := take(c.Name, free()); err != nil {
			return nil, err
		}
		taken = taken.with(out[c.Name])
	}
	for i := range pod.Spec.Containers {
		name := pod.Spec.Containers[i].Name
		if wanted[name] == 0 {
			continue
		}
		if err := take(name, free()); err != nil {
			return nil, err
		}
		taken, own = taken.with(out[name]), own.with(out[name])
	}
	for _, name := range early {
		from := own
		if len(own) < wanted[name] { // more than those that come after it
			rest, ok := choose(machine, free(), wanted[name]-len(own))
			if !ok {
				return nil, fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", wanted[name], len(own)+len(free()))
			}
			from = own.with(rest)
		}
		if err := take(name, from); err != nil {
			return nil, err
		}
		taken = taken.with(out[name])
		own = own.with(out[name])
	}
	return out, nil
}

// choose takes n processors that are near to one another: of one socket if one has as many, whole cores before parts of them. Of two sockets that will do
// it is the one with less left, so that larger requests fit later.
func choose(machine []Processor, free Set, n int) (Set, bool) {
	if n > len(free) {
		return nil, false
	}
	type core struct{ socket, id int }
	cores, sockets := map[core]Set{}, map[int]int{}
	size := map[core]int{}
	for _, p := range machine {
		c := core{p.Socket, p.Core}
		size[c]++
		if free.has(p.ID) {
			cores[c] = append(cores[c], p.ID)
			sockets[p.Socket]++
		}
	}
	whole := func(c core) bool { return len(cores[c]) == size[c] }
	// Sockets in which all fit come first, the fullest of them before the others; then the emptiest.
	fits := func(socket int) bool { return sockets[socket] >= n }
	order := make([]core, 0, len(cores))
	for c := range cores {
		order = append(order, c)
	}
	slices.SortFunc(order, func(a, b core) int {
		if a.socket != b.socket {
			switch x, y := fits(a.socket), fits(b.socket); {
			case x != y:
				return yesFirst(x)
			case x:
				return cmp.Or(cmp.Compare(sockets[a.socket], sockets[b.socket]), cmp.Compare(a.socket, b.socket))
			}
			return cmp.Or(cmp.Compare(sockets[b.socket], sockets[a.socket]), cmp.Compare(a.socket, b.socket))
		}
		return cmp.Compare(a.id, b.id)
	})
	var out Set
	took := func(want func(core) bool) {
		for _, c := range order {
			if left := n - len(out); left > 0 && want(c) {
				out = out.with(cores[c][:min(left, len(cores[c]))])
				cores[c] = cores[c][min(left, len(cores[c])):]
			}
		}
	}
	took(func(c core) bool { return len(cores[c]) > 0 && whole(c) && n-len(out) >= size[c] }) // cores that are used up
	took(func(c core) bool { return len(cores[c]) > 0 && !whole(c) })                         // the rest from cores that others have begun
	took(func(c core) bool { return len(cores[c]) > 0 })
	return out, true
}

func yesFirst(yes bool) int {
	if yes {
		return -1
	}
	return 1
}

func numbers(machine []Processor) Set {
	var out Set
	for _, p := range machine {
		out = append(out, p.ID)
	}
	slices.Sort(out)
	return out
}
