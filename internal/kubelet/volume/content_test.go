package volume

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"golang.org/x/sys/unix"
	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/podcert"
	"github.com/gitopsd/gitopsd/internal/kubelet/trust"
)

var errAway = errors.New("connection refused")

// source holds objects in memory; while away it answers nothing.
type source struct {
	Claims
	Disks
	Drivers
	maps    map[string]*v1.ConfigMap
	secrets map[string]*v1.Secret
	away    bool
	tokens  int
	bundles []*certificatesv1.ClusterTrustBundle
	issued  int
}

func (s *source) ConfigMap(name string) (*v1.ConfigMap, error) {
	if s.away {
		return nil, errAway
	}
	if m := s.maps[name]; m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (s *source) Secret(name string) (*v1.Secret, error) {
	if s.away {
		return nil, errAway
	}
	if m := s.secrets[name]; m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func (s *source) Token(_ context.Context, pod *v1.Pod, audience string, seconds int64) (string, error) {
	if s.away {
		return "", errAway
	}
	s.tokens++
	return jwt(time.Now(), seconds), nil
}

func (s *source) TrustAnchors(_ context.Context, p *v1.ClusterTrustBundleProjection) ([]byte, error) {
	if s.away {
		return nil, errAway
	}
	chosen, err := trust.Select(s.bundles, p)
	return trust.Merge(chosen), err
}

// Credential keeps what the volume has, or gives a new one that is numbered.
func (s *source) Credential(_ context.Context, src podcert.Source, had podcert.Credential) (podcert.Credential, error) {
	if s.away {
		return podcert.Credential{}, errAway
	}
	if !had.Empty() {
		return had, nil
	}
	s.issued++
	block := func(kind string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: fmt.Appendf(nil, "%s %s %d %d", src.SignerName, src.Volume, src.Index, s.issued)})
	}
	return podcert.Credential{Key: block("PRIVATE KEY"), Chain: block("CERTIFICATE")}, nil
}

func (s *source) Away(err error) bool { return errors.Is(err, errAway) }

func jwt(issued time.Time, seconds int64) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte("{}")) + "." + enc(fmt.Appendf(nil, `{"iat":%d,"exp":%d}`, issued.Unix(), issued.Unix()+seconds)) + ".sig"
}

// TestContent plays the scripts in testdata: "configmap", "secret" and "bundle" make objects, "volume" prints the files of a volume of a Pod.
func TestContent(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		src := &source{maps: map[string]*v1.ConfigMap{}, secrets: map[string]*v1.Secret{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			load := func(to any) {
				if err := yaml.UnmarshalStrict([]byte(d.Input), to); err != nil {
					d.Fatalf(t, "%v", err)
				}
			}
			switch d.Cmd {
			case "configmap":
				m := &v1.ConfigMap{}
				load(m)
				src.maps[m.Name] = m
			case "secret":
				s := &v1.Secret{}
				load(s)
				src.secrets[s.Name] = s
			case "bundle":
				b := &certificatesv1.ClusterTrustBundle{}
				load(b)
				for _, text := range strings.Fields(b.Spec.TrustBundle) { // stands for the certificate
					b.Spec.TrustBundle += "\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}))
				}
				src.bundles = append(src.bundles, b)
			case "volume":
				pod := &v1.Pod{}
				load(pod)
				files, err := content(context.Background(), pod, &pod.Spec.Volumes[0], env.Facts{}, src, time.Now(), func(string) []byte { return nil })
				if err != nil {
					return "error: " + err.Error() + "\n"
				}
				var b strings.Builder
				for _, name := range slices.Sorted(maps.Keys(files)) {
					f := files[name]
					text := string(f.Data)
					if strings.HasSuffix(text, ".sig") {
						text = "(a token)"
					}
					if strings.HasPrefix(text, "-----BEGIN") {
						text = blocks(f.Data)
					}
					fmt.Fprintf(&b, "%s %v owner=%d %q\n", name, f.Mode, f.UID, text)
				}
				return b.String()
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			return ""
		})
	})
}

// blocks shows PEM as the kind and the content of its blocks.
func blocks(b []byte) string {
	var out []string
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return strings.Join(out, ", ")
		}
		out = append(out, block.Type+" "+string(block.Bytes))
	}
}

func TestATokenIsRenewedWhenAFifthOfItsLifeIsLeft(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		age, life time.Duration
		fresh     bool
	}{
		{0, time.Hour, true},
		{47 * time.Minute, time.Hour, true},
		{49 * time.Minute, time.Hour, false},
		{2 * time.Hour, time.Hour, false},
		{23 * time.Hour, 365 * 24 * time.Hour, true},
		{25 * time.Hour, 365 * 24 * time.Hour, false},
	} {
		if got := fresh([]byte(jwt(now.Add(-c.age), int64(c.life.Seconds()))), now); got != c.fresh {
			t.Errorf("a token %v old of %v: fresh %v, want %v", c.age, c.life, got, c.fresh)
		}
	}
	if fresh([]byte("no token"), now) {
		t.Error("something that is no token counts as fresh")
	}
}

func TestACredentialInAVolumeIsHandedBackToWhoRenewsIt(t *testing.T) {
	whole, key, chain := "all.pem", "tls.key", "tls.crt"
	for _, paths := range [][3]string{{whole, "", ""}, {"", key, chain}, {whole, key, chain}} {
		p := &v1.PodCertificateProjection{SignerName: "example.com/s", CredentialBundlePath: paths[0], KeyPath: paths[1], CertificateChainPath: paths[2]}
		pod := &v1.Pod{}
		v := &v1.Volume{Name: "v", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{{PodCertificate: p}}}}}
		src := &source{}
		var have Files
		had := func(path string) []byte { return have[path].Data }
		for range 2 {
			var err error
			if have, err = content(t.Context(), pod, v, env.Facts{}, src, time.Now(), had); err != nil {
				t.Fatal(err)
			}
		}
		if src.issued != 1 {
			t.Errorf("paths %q: %d credentials were made, want the first to be kept", paths, src.issued)
		}
	}
}

func needsMounts(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting volumes needs root")
	}
}

func TestAVolumeKeepsItsContentWhileTheAPIIsAway(t *testing.T) {
	needsMounts(t)
	dir := t.TempDir()
	src := &source{maps: map[string]*v1.ConfigMap{"cm": {Data: map[string]string{"k": "1"}}}}
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}}}}}}
	t.Cleanup(func() {
		if err := Teardown(dir); err != nil {
			t.Error(err)
		}
	})
	up := func() error {
		_, err := Setup(context.Background(), dir, pod, env.Facts{}, src)
		return err
	}
	src.away = true
	if err := up(); err == nil {
		t.Fatal("a volume that was never filled was set up without the API")
	}
	src.away = false
	if err := up(); err != nil {
		t.Fatal(err)
	}
	src.away = true
	if err := up(); err != nil {
		t.Errorf("a volume that was filled before fails while the API is away: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "v", "k")); err != nil || string(b) != "1" {
		t.Errorf("its content is %q, %v", b, err)
	}
	src.away = false
	src.maps["cm"].Data["k"] = "2"
	if err := up(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "v", "k")); string(b) != "2" {
		t.Errorf("after a refresh its content is %q, want 2", b)
	}
}

func TestSettingUpAgainLeavesWhatContainersWrote(t *testing.T) {
	needsMounts(t)
	dir := t.TempDir()
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{
		{Name: "disk", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
		{Name: "mem", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}},
	}}}
	up := func() map[string]Volume {
		made, err := Setup(context.Background(), dir, pod, env.Facts{}, &source{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	made := up()
	for _, v := range made {
		if err := os.WriteFile(filepath.Join(v.Path, "x"), []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(v.Path, 0o700); err != nil { // the container's own choice
			t.Fatal(err)
		}
	}
	up()
	for name, v := range made {
		if b, err := os.ReadFile(filepath.Join(v.Path, "x")); err != nil || string(b) != "kept" {
			t.Errorf("volume %s: %q, %v", name, b, err)
		}
		if info, err := os.Stat(v.Path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("volume %s: its mode was changed back", name)
		}
	}
	for range 2 {
		if err := Teardown(dir); err != nil {
			t.Fatal(err)
		}
	}
	if exists(dir) {
		t.Error("the directory is still there after a teardown")
	}
}

func TestHostPathTypesAreChecked(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		kind v1.HostPathType
		ok   bool
	}{
		{file, v1.HostPathFile, true},
		{file, v1.HostPathDirectory, false},
		{dir, v1.HostPathDirectory, true},
		{dir, v1.HostPathFile, false},
		{filepath.Join(dir, "none"), v1.HostPathFile, false},
		{filepath.Join(dir, "made"), v1.HostPathDirectoryOrCreate, true},
		{filepath.Join(dir, "touched"), v1.HostPathFileOrCreate, true},
		{"/dev/null", v1.HostPathCharDev, true},
		{"/dev/null", v1.HostPathBlockDev, false},
		{file, v1.HostPathSocket, false},
	} {
		if err := hostPath(&v1.HostPathVolumeSource{Path: c.path, Type: &c.kind}); (err == nil) != c.ok {
			t.Errorf("%s as %s: %v", c.path, c.kind, err)
		}
	}
}

func TestASubPathCannotLeadOutOfItsVolume(t *testing.T) {
	needsMounts(t)
	dir := t.TempDir()
	vol, target := filepath.Join(dir, "vol"), filepath.Join(dir, "subpaths", "c", "0")
	secret := filepath.Join(dir, "secret")
	for _, d := range []string{vol, secret} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"abs": secret, "rel": "../secret", "in": "real"} {
		if err := os.Symlink(to, filepath.Join(vol, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := UnmountAll(filepath.Join(dir, "subpaths")); err != nil {
			t.Error(err)
		}
	})
	for _, sub := range []string{"abs", "rel", "abs/x", "../secret", "/etc", ".."} {
		if err := SubPath(vol, sub, target, true); err == nil || !strings.Contains(err.Error(), "leads out of the volume") && !strings.Contains(err.Error(), `without ".."`) {
			t.Errorf("subPath %q: %v", sub, err)
		}
	}
	if entries, _ := os.ReadDir(secret); len(entries) > 0 {
		t.Errorf("something was made outside the volume: %v", entries)
	}
	for _, sub := range []string{"real", "in", "deep/er"} {
		for range 2 {
			if err := SubPath(vol, sub, target, true); err != nil {
				t.Errorf("subPath %q: %v", sub, err)
			}
		}
	}
	var a, b unix.Stat_t
	if unix.Stat(filepath.Join(vol, "deep/er"), &a) != nil || unix.Stat(target, &b) != nil || a.Ino != b.Ino {
		t.Error("what is mounted is not what the volume holds")
	}
}
