package iptables

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// The file testdata/delta shows what is sent to turn one set of chains, as iptables-save prints it, into another.
func TestDelta(t *testing.T) {
	datadriven.RunTest(t, "testdata/delta", func(t *testing.T, d *datadriven.TestData) string {
		have, want, _ := strings.Cut(d.Input, "becomes\n")
		parse := func(s string) Chains {
			snap, err := parseSave([]byte(s), "GITOPSD-")
			if err != nil {
				t.Fatalf("%s: %v", d.Pos, err)
			}
			return snap.chains
		}
		if out := Delta(parse(have), parse(want)); out != "" {
			return out
		}
		return "nothing is sent\n"
	})
}

func TestReadingKeepsOwnChainsAndTheJumpsToThem(t *testing.T) {
	save, err := os.ReadFile("testdata/save")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseSave(save, "GITOPSD-N-")
	if err != nil {
		t.Fatal(err)
	}
	want := snapshot{
		chains: Chains{
			{NAT, "GITOPSD-N-MASQUERADE"}: {"-s 10.42.0.0/24 -d 10.42.0.0/16 -j RETURN", "-s 10.42.0.0/24 -j MASQUERADE --random-fully"},
			{NAT, "GITOPSD-N-HOSTPORTS"}:  nil,
		},
		jumps: map[Chain][]string{
			{NAT, "POSTROUTING"}: {"-j GITOPSD-N-MASQUERADE"},
			{NAT, "OUTPUT"}:      {`-m comment --comment "said by -j ACCEPT" -j GITOPSD-N-HOSTPORTS`},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(snapshot{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzReadingRulesNeverFails(f *testing.F) {
	save, err := os.ReadFile("testdata/save")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(save)
	f.Add([]byte("*nat\n:X\n-A\n-A X\nCOMMIT"))
	f.Fuzz(func(t *testing.T, data []byte) {
		snap, err := parseSave(data, "GITOPSD-")
		if err != nil {
			return
		}
		for c := range snap.chains {
			if !strings.HasPrefix(c.Name, "GITOPSD-") {
				t.Errorf("kept %v, which is somebody else's", c)
			}
		}
	})
}

func FuzzQuotedTextIsReadBackAsOneArgument(f *testing.F) {
	for _, s := range []string{"plain", "shop/web:http", `with "quotes" and \`, "", "it's"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\n\x00") {
			return // not within one line
		}
		if got := fields("-m comment --comment " + Quote(s) + " -j X"); !slices.Equal(got, []string{"-m", "comment", "--comment", s, "-j", "X"}) {
			t.Errorf("%q was read back as %q", s, got)
		}
	})
}

const prefix = "GITOPSD-T-"

func newWriter(t *testing.T) *Writer {
	t.Helper()
	w, err := NewWriter(IPv4, prefix, []Jump{{From: Chain{NAT, "OUTPUT"}, Rule: "-j " + prefix + "A"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Cleanup(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return w
}

func chainA(rules ...string) Chains { return Chains{{NAT, prefix + "A"}: rules} }

func TestRulesSpelledOtherwiseAreWrittenOnceAndThenLeftAlone(t *testing.T) {
	w := newWriter(t)
	// iptables-save prints this as "-d 10.43.0.1/32 -p tcp -m tcp --dport 80 -j RETURN".
	if err := w.Apply(t.Context(), chainA("--protocol tcp --destination 10.43.0.1 --dport 80 -j RETURN")); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		repaired, err := w.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(repaired) > 0 {
			t.Errorf("look %d: repaired %v, though nobody changed a rule", i, repaired)
		}
	}
	if got := w.Respelled(); len(got) != 1 {
		t.Errorf("chains known to be spelled otherwise: %v, want one", got)
	}
	if out, err := exec.Command("iptables", "-t", "nat", "-F", prefix+"A").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if repaired, err := w.Verify(t.Context()); err != nil || !slices.Equal(repaired, []string{"nat/" + prefix + "A"}) {
		t.Errorf("after an edit: repaired %v, %v", repaired, err)
	}
}

func TestHealingReadsTheRulesOnlyWhenSomebodyChangedSome(t *testing.T) {
	w := newWriter(t)
	if !w.nft {
		t.Skip("the legacy flavour tells nobody of changes")
	}
	if err := w.Apply(t.Context(), chainA("-j RETURN")); err != nil {
		t.Fatal(err)
	}
	heal := func(wantLook bool, what string, want ...string) {
		t.Helper()
		w.next = time.Time{} // as if it had rested
		before := w.seen
		repaired, err := w.Heal(t.Context())
		if err != nil || !slices.Equal(repaired, want) {
			t.Errorf("%s: repaired %v, %v; want %v", what, repaired, err, want)
		}
		if looked := w.seen != before; looked != wantLook {
			t.Errorf("%s: the rules were read: %v, want %v", what, looked, wantLook)
		}
	}
	heal(true, "after a write of its own")
	heal(false, "when nobody has changed a rule")
	if out, err := exec.Command("iptables", "-t", "nat", "-F", prefix+"A").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	heal(true, "after an edit", "nat/"+prefix+"A")
	heal(true, "after its own repair")
	heal(false, "when all is well again")
}

func TestRulesOfOthersAreNotTouched(t *testing.T) {
	script := "*nat\n:OTHERS - [0:0]\n-A OTHERS -s 192.0.2.1/32 -j RETURN\n-A OUTPUT -j OTHERS\nCOMMIT\n"
	cmd := exec.Command("iptables-restore", "--noflush")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	others := func() []byte {
		out, err := exec.Command("iptables", "-t", "nat", "-S", "OTHERS").Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := others()
	w := newWriter(t)
	for _, want := range []Chains{chainA("-j RETURN"), chainA(), {{NAT, prefix + "A"}: {"-j " + prefix + "B"}, {NAT, prefix + "B"}: {}}} {
		if err := w.Apply(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := others(); !bytes.Equal(before, after) {
		t.Errorf("rules of others before and after:\n%s\n%s", before, after)
	}
	if out, err := exec.Command("iptables-save").Output(); err != nil || bytes.Contains(out, []byte(prefix)) {
		t.Errorf("left behind: %s %v", out, err)
	}
}

func TestWrongRuleIsQuotedInTheError(t *testing.T) {
	w := newWriter(t)
	err := w.Apply(t.Context(), chainA("-j RETURN", "-m nosuchmatch -j RETURN"))
	if err == nil || !strings.Contains(err.Error(), "-A "+prefix+"A -m nosuchmatch") {
		t.Errorf("error %v, want one that quotes the rule", err)
	}
	if err := w.Apply(t.Context(), chainA("-j RETURN")); err != nil {
		t.Errorf("after the rule was put right: %v", err)
	}
}
