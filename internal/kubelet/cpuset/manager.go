package cpuset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Config is the node's flags, named after the fields of a KubeletConfiguration.
type Config struct {
	Policy   string // none or static
	Reserved string // ReservedSystemCPUs: processors that are kept for the system; empty for as many, from the first, as are reserved of cpu
}

// The policies.
const (
	None   = "none"
	Static = "static"
)

// CPUs is what the node's containers have of its processors. A nil one gives nobody any for himself, and limits nobody.
type CPUs struct {
	static   bool // it gives; otherwise all are everybody's again
	machine  []Processor
	reserved Set
	file     string

	mu    sync.Mutex
	given Given
}

// kept is the form of the file, which is the kubelet's but for its checksum.
type kept struct {
	Policy  string                       `json:"policyName"`
	Default string                       `json:"defaultCpuSet"`
	Entries map[string]map[string]string `json:"entries,omitempty"`
}

// Open takes up what earlier processes gave, from file. milli is how much of cpu is reserved, in thousandths.
func Open(c Config, machine []Processor, milli int64, file string) (*CPUs, error) {
	switch c.Policy {
	case None:
		// A policy that is changed back to static must not find what has not been true for long.
		err := os.Remove(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("--cpu-manager-policy none: %w", err)
		}
		return &CPUs{machine: machine}, nil // containers of earlier processes are still where those moved them
	case Static:
	default:
		return nil, fmt.Errorf("--cpu-manager-policy %q: is not known; none and static are", c.Policy)
	}
	reserved, err := Parse(c.Reserved)
	if err != nil {
		return nil, fmt.Errorf("--reserved-cpus %w", err)
	}
	if len(reserved) == 0 {
		all := numbers(machine)
		reserved = all[:min(len(all), int((milli+999)/1000))]
	}
	if missing := reserved.without(numbers(machine)); len(missing) > 0 {
		return nil, fmt.Errorf("--reserved-cpus %s: this machine has no processor %s; it has %s", c.Reserved, missing, numbers(machine))
	}
	if len(reserved) == 0 {
		return nil, errors.New("--cpu-manager-policy static: no processor is kept for those who have none for themselves; give --reserved-cpus 0, or reserve cpu with --system-reserved or --kube-reserved")
	}
	cpus := &CPUs{static: true, machine: machine, reserved: reserved, file: file, given: Given{}}
	return cpus, cpus.load()
}

func (c *CPUs) load() error {
	b, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	for pod, containers := range k.Entries {
		for name, text := range containers {
			s, bad := Parse(text)
			if missing := s.without(numbers(c.machine)); bad == nil && len(missing) > 0 {
				bad = fmt.Errorf("this machine has no processor %s", missing)
			}
			if err = errors.Join(err, bad); bad == nil {
				c.put(pod, name, s)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s, which tells what processors containers have for themselves: %w; end the Pods of this node (kubectl drain), remove the file, and start it again", c.file, err)
	}
	return nil
}

func (c *CPUs) put(pod, container string, s Set) {
	if c.given[pod] == nil {
		c.given[pod] = map[string]Set{}
	}
	c.given[pod][container] = s
}

// save writes the file, so that a crash leaves the old content or the new; c.mu is held.
func (c *CPUs) save() error {
	k := kept{Policy: Static, Default: c.shared().String(), Entries: map[string]map[string]string{}}
	for pod, containers := range c.given {
		k.Entries[pod] = map[string]string{}
		for name, s := range containers {
			k.Entries[pod][name] = s.String()
		}
	}
	b, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(c.file+".tmp", b, 0o600)
	}
	if err == nil {
		err = os.Rename(c.file+".tmp", c.file)
	}
	if err != nil {
		return fmt.Errorf("keeping what processors containers have: %w", err)
	}
	return nil
}

func (c *CPUs) shared() Set { return numbers(c.machine).without(c.given.all()) }

// Gives says whether containers can have processors for themselves.
func (c *CPUs) Gives() bool { return c != nil && c.static }

// Admit gives a Pod the processors that it wants for itself, and says whether those of others have changed by that. A Pod that has its own keeps them.
func (c *CPUs) Admit(pod *v1.Pod) (changed bool, err error) {
	if !c.Gives() {
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given[string(pod.UID)] != nil || len(Wanted(pod)) == 0 {
		return false, nil
	}
	sets, err := Allocate(c.machine, c.reserved, c.given, pod)
	if err != nil {
		return false, err
	}
	c.given[string(pod.UID)] = sets
	if err := c.save(); err != nil {
		delete(c.given, string(pod.UID))
		return false, err
	}
	return true, nil
}

// Release takes back what a Pod had, and says whether it had anything.
func (c *CPUs) Release(uid types.UID) (changed bool, err error) {
	if c == nil {
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given[string(uid)] == nil {
		return false, nil
	}
	delete(c.given, string(uid))
	return true, c.save()
}

// Pods are those that have processors for themselves.
func (c *CPUs) Pods() []types.UID {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []types.UID
	for uid := range c.given {
		out = append(out, types.UID(uid))
	}
	return out
}

// Of gives the processors that a container may run on, as the kernel writes them; empty for any.
func (c *CPUs) Of(uid types.UID, container string) string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.given[string(uid)][container]; ok {
		return s.String()
	}
	return c.shared().String()
}

// Exclusive gives the processors that a container has for itself.
func (c *CPUs) Exclusive(uid types.UID, container string) Set {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.given[string(uid)][container]
}

// Allocatable gives those that containers can have for themselves, or have.
func (c *CPUs) Allocatable() Set {
	if !c.Gives() {
		return nil
	}
	return numbers(c.machine).without(c.reserved)
}

// Machine finds the processors of the machine that are in use: Documentation/admin-guide/cputopology.rst.
func Machine() ([]Processor, error) {
	const dir = "/sys/devices/system/cpu"
	b, err := os.ReadFile(filepath.Join(dir, "online"))
	if err != nil {
		return nil, fmt.Errorf("finding the machine's processors: %w", err)
	}
	online, err := Parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("finding the machine's processors: %s/online: %w", dir, err)
	}
	var out []Processor
	for _, id := range online {
		number := func(file string, otherwise int) int {
			b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("cpu%d", id), "topology", file))
			n, bad := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil || bad != nil {
				return otherwise // virtual machines need not tell
			}
			return n
		}
		out = append(out, Processor{ID: id, Core: number("core_id", id), Socket: number("physical_package_id", 0)})
	}
	return out, nil
}
