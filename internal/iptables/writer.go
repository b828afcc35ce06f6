package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"
)

// Family says whose packets the rules see.
type Family int

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// command is a program of the family, such as iptables-restore or ip6tables-restore.
func (f Family) command(suffix string) string {
	if f == IPv6 {
		return "ip6tables" + suffix
	}
	return "iptables" + suffix
}

// Jump is a rule in one of the kernel's own chains, such as PREROUTING, that leads to one of the owner's.
type Jump struct {
	From Chain
	// Rule is the whole rule, in the words of iptables-save, ending in "-j <own chain>".
	Rule string
}

// Writer owns every chain whose name starts with a prefix. All methods may be called from any goroutine; they take turns.
//
// It remembers what it wrote, so that a change costs one iptables-restore with the changed chains and no reading. What it remembers is
// dropped when a write fails, and the next Apply then starts from what the kernel has.
type Writer struct {
	family Family
	prefix string
	jumps  []Jump
	base   *goiptables.IPTables
	log    *slog.Logger

	mu   sync.Mutex
	want Chains // of the last Apply
	have Chains // what the kernel is believed to hold, each chain in the words in which it was sent; nil: not known
	// printed holds, for a chain that iptables-save prints in other words than were sent, those words.
	printed map[Chain]spelling
	written Written

	// For Heal.
	nft     bool
	checked bool      // Verify has found or made everything as wanted,
	seen    uint32    // when the rules were of this generation
	next    time.Time // before then it does not look again
}

// spelling pairs a chain's rules as sent with the same rules as iptables-save prints them.
type spelling struct{ sent, printed []string }

// NewWriter finds the iptables programs and what they can do. The prefix is at least two characters long; every chain given to Apply
// starts with it. No rule is changed before the first Apply.
func NewWriter(family Family, prefix string, jumps []Jump) (*Writer, error) {
	for _, suffix := range []string{"-restore", "-save"} {
		if _, err := exec.LookPath(family.command(suffix)); err != nil {
			return nil, fmt.Errorf("%s is needed for the rules of %s* and was not found: install the package iptables: %w", family.command(suffix), prefix, err)
		}
	}
	proto := goiptables.ProtocolIPv4
	if family == IPv6 {
		proto = goiptables.ProtocolIPv6
	}
	base, err := goiptables.New(goiptables.IPFamily(proto), goiptables.Timeout(lockSeconds))
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", family.command(""), err)
	}
	nft, err := isNFTables(family.command(""))
	if err != nil {
		return nil, err
	}
	return &Writer{
		nft: nft, family: family, prefix: prefix, jumps: jumps, base: base,
		log:     slog.With("iptables", family.command(""), "chains", prefix+"*"),
		printed: map[Chain]spelling{},
	}, nil
}

// lockSeconds is how long the legacy flavour of iptables waits for another program's lock; nf_tables has none.
const lockSeconds = 5

// HasRandomFully says whether MASQUERADE takes --random-fully, which keeps two connections that start at once from being given the same port.
func (w *Writer) HasRandomFully() bool { return w.base.HasRandomFully() }

// Apply makes the owner's chains be exactly want, and the jumps to them exist. When it returns without an error the kernel works by the new rules.
func (w *Writer) Apply(ctx context.Context, want Chains) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = want.clone()
	return w.apply(ctx)
}

// Update is Apply for a caller that knows what changed: chains in changed are written, or deleted where the rules are nil.
// It costs no comparison with the chains that stay.
func (w *Writer) Update(ctx context.Context, changed Chains) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.want == nil {
		w.want = Chains{}
	}
	known := w.have != nil
	before := Chains{}
	after := Chains{}
	for c, rules := range changed {
		if old, ok := w.have[c]; ok {
			before[c] = old
		}
		if rules == nil {
			delete(w.want, c)
			continue
		}
		after[c] = rules
		w.want[c] = rules
	}
	if !known {
		return w.apply(ctx)
	}
	if err := w.restore(ctx, Delta(before, after)); err != nil {
		w.have = nil
		return err
	}
	for c, rules := range changed {
		if rules == nil {
			delete(w.have, c)
			delete(w.printed, c)
		} else {
			w.have[c] = rules
		}
	}
	return nil
}

// apply sends what differs between the kernel and w.want.
func (w *Writer) apply(ctx context.Context) error {
	first := w.have == nil
	var snap snapshot
	if first {
		var err error
		if snap, err = w.read(ctx); err != nil {
			return err
		}
		w.have = w.believed(snap)
	}
	if err := w.restore(ctx, Delta(w.have, w.want)); err != nil {
		w.have = nil
		return err
	}
	w.have = w.want.clone()
	if first {
		if err := w.ensureJumps(snap); err != nil {
			w.have = nil
			return err
		}
	}
	return nil
}

// Times of Heal.
const (
	// HealPeriod is how often owners are to call it.
	HealPeriod = 2 * time.Second
	// legacyPeriod is the least time between two looks where nothing tells that rules have changed.
	legacyPeriod = 5 * time.Second
	// restFactor bounds the share of its time that a process spends on looks when others, or it itself, change rules all the time: reading 10,000 Services' rules takes a while.
	restFactor = 20
)

// Heal is Verify if anybody has changed any rule since the last time, which costs one question to the kernel. Own changes count: nobody can
// tell whether another came in between.
func (w *Writer) Heal(ctx context.Context) ([]string, error) {
	began := time.Now()
	w.mu.Lock()
	wait := began.Before(w.next)
	w.mu.Unlock()
	if wait {
		return nil, nil
	}
	// The generation is from before the look: a change during it is looked at the next time.
	var now uint32
	if w.nft {
		var err error
		if now, err = generation(); err != nil {
			return nil, err
		}
		w.mu.Lock()
		same := w.checked && w.seen == now
		w.mu.Unlock()
		if same {
			return nil, nil
		}
	}
	repaired, err := w.Verify(ctx)
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checked, w.seen = err == nil, now
	w.next = began.Add(restFactor * took)
	if !w.nft {
		w.next = began.Add(max(legacyPeriod, restFactor*took))
	}
	return repaired, err
}

// Verify compares the kernel's rules with those of the last Apply, and repairs what somebody else changed. It returns the names of the
// chains that it repaired. It costs one iptables-save of the whole rule set.
func (w *Writer) Verify(ctx context.Context) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.want == nil {
		return nil, nil
	}
	snap, err := w.read(ctx)
	if err != nil {
		return nil, err
	}
	w.have = w.believed(snap)
	repaired := differing(w.have, w.want)
	if err := w.restore(ctx, Delta(w.have, w.want)); err != nil {
		w.have = nil
		return nil, err
	}
	w.have = w.want.clone()
	if err := w.ensureJumps(snap); err != nil {
		return nil, err
	}
	if len(repaired) == 0 {
		return nil, nil
	}

	// What still reads differently right after it was written is only spelled differently by this version of iptables: remember the spelling.
	if snap, err = w.read(ctx); err != nil {
		return nil, err
	}
	edited := repaired[:0:0]
	after := w.believed(snap)
	for _, c := range repaired {
		sent, ok := w.want[c]
		if got, there := after[c]; ok && there && !slices.Equal(got, sent) {
			w.printed[c] = spelling{sent: sent, printed: snap.chains[c]}
			continue
		}
		edited = append(edited, c)
	}
	names := make([]string, len(edited))
	for i, c := range edited {
		names[i] = string(c.Table) + "/" + c.Name
	}
	slices.Sort(names)
	return names, nil
}

// Respelled lists the chains that iptables-save was found to print in other words than were sent.
func (w *Writer) Respelled() []Chain {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.printed))
}

// Cleanup removes the jumps and every chain of the owner's.
func (w *Writer) Cleanup(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	snap, err := w.read(ctx)
	if err != nil {
		return err
	}
	for from, rules := range snap.jumps {
		for _, rule := range rules {
			if e := w.base.Delete(string(from.Table), from.Name, fields(rule)...); e != nil {
				err = errors.Join(err, fmt.Errorf("remove the jump %q from %s: %w", rule, from.Name, e))
			}
		}
	}
	w.want, w.have = nil, nil
	return errors.Join(err, w.restore(ctx, Delta(snap.chains, nil)))
}

// believed is what the kernel holds, in the words in which it was sent where only the spelling differs.
func (w *Writer) believed(s snapshot) Chains {
	have := s.chains.clone()
	for c, sp := range w.printed {
		if slices.Equal(have[c], sp.printed) {
			have[c] = sp.sent
		}
	}
	return have
}

// differing lists the chains that are missing, superfluous or not as wanted.
func differing(have, want Chains) []Chain {
	var d []Chain
	for c, rules := range want {
		if old, ok := have[c]; !ok || !slices.Equal(old, rules) {
			d = append(d, c)
		}
	}
	for c := range have {
		if _, ok := want[c]; !ok {
			d = append(d, c)
		}
	}
	return d
}

// ensureJumps puts back jumps that are missing, in front of the rules of others: a rule of a container engine that accepts or
// translates a packet first would hide ours.
func (w *Writer) ensureJumps(s snapshot) error {
	for _, j := range w.jumps {
		if slices.Contains(s.jumps[j.From], j.Rule) {
			continue
		}
		if err := w.base.InsertUnique(string(j.From.Table), j.From.Name, 1, fields(j.Rule)...); err != nil {
			return fmt.Errorf("insert the jump %q into %s: %w", j.Rule, j.From.Name, err)
		}
	}
	return nil
}

func (w *Writer) read(ctx context.Context) (snapshot, error) {
	cmd := exec.CommandContext(ctx, w.family.command("-save"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return snapshot{}, fmt.Errorf("%s: %w: %s", cmd.Path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return parseSave(out, w.prefix)
}

// restore gives input to iptables-restore; empty input is no work.
func (w *Writer) restore(ctx context.Context, input string) error {
	if input == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, w.family.command("-restore"), "--noflush", "--wait", strconv.Itoa(lockSeconds))
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s%s", cmd.Path, err, bytes.TrimSpace(out), lineAt(out, input))
	}
	w.written.count(input)
	return nil
}

var failedLine = regexp.MustCompile(`line:? (\d+)`)

// lineAt quotes the line of input that iptables-restore complains about.
func lineAt(complaint []byte, input string) string {
	m := failedLine.FindSubmatch(complaint)
	if m == nil {
		return ""
	}
	n, err := strconv.Atoi(string(m[1]))
	lines := strings.Split(input, "\n")
	if err != nil || n < 1 || n > len(lines) {
		return ""
	}
	return fmt.Sprintf(" (that line is %q)", lines[n-1])
}

// fields splits a rule into arguments; double quotes hold one together.
func fields(rule string) []string {
	var out []string
	var cur strings.Builder
	quoted, started := false, false
	for i := 0; i < len(rule); i++ {
		switch c := rule[i]; {
		case c == '\\' && quoted && i+1 < len(rule):
			i++
			cur.WriteByte(rule[i])
		case c == '"':
			quoted, started = !quoted, true
		case c == ' ' && !quoted:
			if started {
				out = append(out, cur.String())
				cur.Reset()
				started = false
			}
		default:
			cur.WriteByte(c)
			started = true
		}
	}
	if started {
		out = append(out, cur.String())
	}
	return out
}
