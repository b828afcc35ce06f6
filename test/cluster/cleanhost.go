package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/gitopsd/gitopsd/test/netns"
)

// removeTimeout bounds the wait for the kernel to let go of something whose processes are dead.
const removeTimeout = 10 * time.Second

// ownName is what namespaces and cgroups of clusters are called: the cluster's id and, of a host's namespace, the host.
var ownName = regexp.MustCompile("^" + prefix + "([0-9a-f]{6})(-[a-z0-9]+)?$")

// CleanHost removes what killed runs have left on this machine, and says what it removed. Clusters that are in use are left alone,
// unless all is set: those that were started and handed over (make cluster) and of which a process still lives, and those whose test or
// demo still runs.
func CleanHost(all bool) (removed []string, err error) {
	list, err := recorded()
	if err != nil {
		return nil, err
	}
	var errs []error
	known := map[string]bool{}
	for _, r := range list {
		if !all && inUse(r) {
			known[r.ID] = true
			continue
		}
		c := &Cluster{rec: r}
		if err := c.Down(); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, "cluster "+r.ID+" in "+r.Dir)
	}
	// What has our name but no record: the record was removed by hand.
	orphans := map[string][]Host{}
	paths, err := filepath.Glob(netns.Path(prefix + "*"))
	errs = append(errs, err)
	for _, path := range paths {
		if m := ownName.FindStringSubmatch(filepath.Base(path)); m != nil && !known[m[1]] {
			orphans[m[1]] = append(orphans[m[1]], Host{NetNS: m[0]})
		}
	}
	for _, mount := range cgroupMounts() {
		paths, err := filepath.Glob(filepath.Join(mount, prefix+"*"))
		errs = append(errs, err)
		for _, path := range paths {
			if m := ownName.FindStringSubmatch(filepath.Base(path)); m != nil && !known[m[1]] && orphans[m[1]] == nil {
				orphans[m[1]] = []Host{}
			}
		}
	}
	for id, hosts := range orphans {
		c := &Cluster{rec: record{ID: id, Hosts: hosts}}
		if err := c.Down(); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, "namespaces and cgroups named "+prefix+id)
	}
	return removed, errors.Join(errs...)
}

// inUse says whether somebody still has a use for the cluster.
func inUse(r record) bool {
	if r.Owner != nil {
		return r.Owner.Alive()
	}
	if _, err := os.Stat(r.Dir); err != nil {
		return false
	}
	for _, p := range r.Processes {
		if p.Alive() {
			return true
		}
	}
	return false
}
