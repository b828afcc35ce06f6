package userns

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Size is how many IDs a Pod has: all that 16 bits can say, which is what images use (KEP-127).
const Size = 65536

// last is the end of the IDs that are given: programs that keep IDs in signed numbers of 32 bits must not meet negative ones.
const last = 1 << 31

// subordinate is the user whose ranges in /etc/subuid and /etc/subgid are for Pods.
const subordinate = "kubelet"

// span is IDs from first on.
type span struct{ first, count uint64 }

func (s span) end() uint64          { return s.first + s.count }
func (s span) overlaps(o span) bool { return s.first < o.end() && o.first < s.end() }
func (s span) equal(o span) bool    { return s == o }
func (s span) String() string       { return fmt.Sprintf("%d:%d", s.first, s.count) }
func at(first uint64) span          { return span{first, Size} }
func compareSpans(a, b span) int    { return cmp.Compare(a.first, b.first) }
func spansOf(m map[string][]span) (out []span) {
	for _, l := range m {
		out = append(out, l...)
	}
	return out
}

// Space is where Pods' ranges are: from first up to end, but for what others have.
type Space struct {
	first, end uint64
	others     []span
}

// Decide finds the Space from the texts of /etc/subuid and /etc/subgid. The user "kubelet", if they name it, says which IDs are for Pods: one range, the same in both, of
// whole 65,536s, enough for so many Pods. Otherwise they are the first ones from 65,536 on that are nobody's.
func Decide(subuid, subgid string, pods int) (Space, error) {
	uids, err := parse("/etc/subuid", subuid)
	if err != nil {
		return Space{}, err
	}
	gids, err := parse("/etc/subgid", subgid)
	if err != nil {
		return Space{}, err
	}
	u, g := uids[subordinate], gids[subordinate]
	if len(u) == 0 && len(g) == 0 {
		others := slices.Concat(spansOf(uids), spansOf(gids))
		slices.SortFunc(others, compareSpans)
		return Space{first: Size, end: last, others: others}, nil
	}
	if !slices.EqualFunc(u, g, span.equal) || len(u) != 1 {
		return Space{}, fmt.Errorf("/etc/subuid and /etc/subgid must have one range of the user %s, the same in both, for Pods with user namespaces; they have %v and %v", subordinate, u, g)
	}
	r := u[0]
	if r.first == 0 || r.first%Size != 0 || r.count%Size != 0 || r.count < uint64(pods)*Size || r.end() > last {
		return Space{}, fmt.Errorf("/etc/subuid: %s:%s: the range must begin at a multiple of %d other than 0, and have a multiple of it of IDs, at least %d for %d Pods, none above %d",
			subordinate, r, Size, pods*Size, pods, last-1)
	}
	return Space{first: r.first, end: r.end()}, nil
}

// parse reads lines of the form user:first:count: subuid(5).
func parse(file, text string) (map[string][]span, error) {
	out := map[string][]span{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) != 3 {
			return nil, fmt.Errorf("%s:%d: must have the form user:first:count, got %q", file, n, line)
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err := cmp.Or(err1, err2); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		out[f[0]] = append(out[f[0]], span{first, count})
	}
	return out, nil
}

// Find reads the host's files and decides.
func Find(pods int) (Space, error) {
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			return "" // a host without one has given nobody any
		}
		return string(b)
	}
	return Decide(read("/etc/subuid"), read("/etc/subgid"), pods)
}

// free is the lowest range that nobody has; false if there is none.
func (s Space) free(held func(first uint64) bool) (uint64, bool) {
	for first := s.first; first+Size <= s.end; first += Size {
		if !held(first) && !slices.ContainsFunc(s.others, at(first).overlaps) {
			return first, true
		}
	}
	return 0, false
}
