package step

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Resolver writes the files that tell containers how to resolve names: hostname and resolv.conf.
type Resolver struct {
	ClusterDNS func(context.Context) []string // addresses of the cluster's DNS; none while there is none
	Domain     string
	HostFile   string // the node's own resolv.conf
}

var _ Step = Resolver{}

// Name is how other steps refer to it.
func (Resolver) Name() string { return "resolver" }

// Needs the host name, which the namespaces have.
func (Resolver) Needs() []string { return []string{"namespaces"} }

// Setup writes the files. They are written in place: containers have them mounted by inode.
func (r Resolver) Setup(ctx context.Context, s *Sandbox) error {
	host, err := os.ReadFile(r.HostFile)
	if err != nil {
		host = nil // a node without one has no resolver to offer
	}
	if err := rewrite(s.Etc("hostname"), s.Hostname+"\n"); err != nil {
		return err
	}
	var cluster []string
	if usesCluster(s.Pod) {
		cluster = r.ClusterDNS(ctx)
	}
	if err := rewrite(s.Etc("resolv.conf"), resolvConf(s.Pod, string(host), cluster, r.Domain)); err != nil {
		return err
	}
	if _, err := os.Stat(s.Etc("hosts")); err != nil { // to be mounted before the addresses are known
		return rewrite(s.Etc("hosts"), "")
	}
	return nil
}

// Teardown leaves the files to the directory step.
func (Resolver) Teardown(context.Context, *Sandbox) error { return nil }

// Hosts writes /etc/hosts once the Pod has its addresses.
type Hosts struct{}

// HostsName is the name of the late step that writes /etc/hosts.
const HostsName = "hosts"

var _ Step = Hosts{}

// Name is how other steps refer to it.
func (Hosts) Name() string { return HostsName }

// Needs the addresses, and the file.
func (Hosts) Needs() []string { return []string{NetworkName, "resolver"} }

// Setup writes the file.
func (Hosts) Setup(_ context.Context, s *Sandbox) error {
	if s.Pod.Spec.HostNetwork {
		own, err := os.ReadFile("/etc/hosts")
		if err != nil {
			own = nil
		}
		return rewrite(s.Etc("hosts"), "# Kubernetes-managed hosts file (host network).\n"+string(own)+aliases(s.Pod))
	}
	return rewrite(s.Etc("hosts"), hosts(s))
}

// Teardown leaves the file to the directory step.
func (Hosts) Teardown(context.Context, *Sandbox) error { return nil }

// rewrite changes a file's content and keeps its inode; it leaves alone what is right already.
func rewrite(path, text string) error {
	if b, err := os.ReadFile(path); err == nil && string(b) == text {
		return nil
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the Pod's %s: %w", path, err)
	}
	return nil
}

// hosts begins with the line by which tools know that the file may be replaced at any time.
func hosts(s *Sandbox) string {
	var b strings.Builder
	b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	for _, ip := range s.IPs {
		if s.FQDN != "" {
			fmt.Fprintf(&b, "%s\t%s\t%s\n", ip, s.FQDN, s.Hostname)
		} else {
			fmt.Fprintf(&b, "%s\t%s\n", ip, s.Hostname)
		}
	}
	b.WriteString(aliases(s.Pod))
	return b.String()
}

func aliases(pod *v1.Pod) string {
	if len(pod.Spec.HostAliases) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n# Entries added by HostAliases.\n")
	for _, a := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	return b.String()
}

// maxSearch and maxServers bound what resolvers read: resolv.conf(5).
const (
	maxServers = 3
	maxSearch  = 32
)

// usesCluster says whether a Pod asks the cluster's DNS: those on the host's network only if they ask for it.
func usesCluster(pod *v1.Pod) bool {
	switch pod.Spec.DNSPolicy {
	case v1.DNSClusterFirstWithHostNet:
		return true
	case v1.DNSClusterFirst, "":
		return !pod.Spec.HostNetwork
	}
	return false
}

// resolvConf combines the node's file or the cluster's DNS, as dnsPolicy says, with dnsConfig.
func resolvConf(pod *v1.Pod, host string, cluster []string, domain string) string {
	var servers, search, options []string
	if pod.Spec.DNSPolicy != v1.DNSNone {
		for line := range strings.Lines(host) {
			f := strings.Fields(line)
			switch {
			case len(f) < 2:
			case f[0] == "nameserver":
				servers = append(servers, f[1])
			case f[0] == "search", f[0] == "domain":
				search = f[1:]
			case f[0] == "options":
				options = append(options, f[1:]...)
			}
		}
	}
	if len(cluster) > 0 && usesCluster(pod) {
		servers = slices.Clone(cluster)
		search = append([]string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}, search...)
		options = []string{"ndots:5"}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		servers = append(servers, c.Nameservers...)
		search = append(search, c.Searches...)
		for _, o := range c.Options {
			text := o.Name
			if o.Value != nil && *o.Value != "" {
				text += ":" + *o.Value
			}
			options = slices.DeleteFunc(options, func(have string) bool { n, _, _ := strings.Cut(have, ":"); return n == o.Name })
			options = append(options, text)
		}
	}
	var b strings.Builder
	if search = unique(search); len(search) > 0 {
		b.WriteString("search " + strings.Join(search[:min(len(search), maxSearch)], " ") + "\n")
	}
	servers = unique(servers)
	for _, s := range servers[:min(len(servers), maxServers)] {
		b.WriteString("nameserver " + s + "\n")
	}
	if options = unique(options); len(options) > 0 {
		b.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	return b.String()
}

func unique(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
