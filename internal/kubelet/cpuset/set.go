package cpuset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Set is processors by their numbers, ascending.
type Set []int

// Parse reads a list as the kernel writes it: 0-3,8. Empty is none.
func Parse(text string) (Set, error) {
	var out Set
	for word := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		first, last, ranged := strings.Cut(word, "-")
		from, err := strconv.Atoi(first)
		to := from
		if err == nil && ranged {
			to, err = strconv.Atoi(last)
		}
		if err != nil || from < 0 || to < from || to > maxNumber {
			return nil, fmt.Errorf("%q: must be a list of processors like 0-3,8", text)
		}
		for n := from; n <= to; n++ {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// maxNumber is far above what any kernel can be built for.
const maxNumber = 1 << 16

func (s Set) String() string {
	var out []string
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		if i == j {
			out = append(out, strconv.Itoa(s[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", s[i], s[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

func (s Set) has(n int) bool {
	_, ok := slices.BinarySearch(s, n)
	return ok
}

// without gives those of s that are not in o.
func (s Set) without(o Set) Set {
	return slices.DeleteFunc(slices.Clone(s), o.has)
}

func (s Set) with(o Set) Set {
	out := append(slices.Clone(s), o...)
	slices.Sort(out)
	return slices.Compact(out)
}
