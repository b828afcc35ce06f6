package vm

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Machine is what a virtual machine has beside the test's binary.
type Machine struct {
	Modules  []string // of the kernel, loaded before the test; what they need is loaded too
	Programs []string // of this machine, with their libraries
	Disk     int64    // bytes of an empty disk, /dev/vda; none if 0
}

// Kernel is where hack/install-tools puts Debian's kernel, below the repository.
const Kernel = ".cache/kernel"

// basis is what every machine has: its disk, and the checksum that file systems ask for by a name that is no module's.
var basis = []string{"crc32c_generic", "virtio_pci", "virtio_blk"}

// atMost is how long a virtual machine may take.
const atMost = 5 * time.Minute

// Only has a test be run in a virtual machine, and says whether this is the one; elsewhere the test ends with the verdict from there. The test's TestMain begins with Main.
func Only(t *testing.T, m Machine) bool {
	t.Helper()
	if os.Getenv(variable) != "" {
		return true
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	kernel := kernelDir()
	if err != nil || kernel == "" {
		t.Skip("SKIPPED: it takes a virtual machine: `hack/install-tools test` installs QEMU and Debian's kernel")
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := build(initrd, kernel, m); err != nil {
		t.Fatal(err)
	}
	images, _ := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	args := []string{"-M", "q35,accel=tcg", "-cpu", "max", "-m", "1536", "-smp", "1", "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot", "-nic", "none",
		"-kernel", images[0], "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on " + variable + "=" + t.Name()}
	if m.Disk > 0 {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, m.Disk)); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-drive", "file="+disk+",format=raw,if=virtio,cache=unsafe")
	}
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	verdict := follow(t, out)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the virtual machine: %v (it may take %v)", err, atMost)
	}
	switch verdict {
	case passed:
	case "":
		t.Fatal("the virtual machine ended without a verdict")
	default:
		t.Fatalf("in the virtual machine: %s", verdict)
	}
	return false
}

// follow logs what the machine says, and gives the verdict in it.
func follow(t *testing.T, out io.Reader) (verdict string) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if v, ok := strings.CutPrefix(line, says); ok {
			verdict = v
			continue
		}
		t.Log(line)
	}
	return verdict
}

// kernelDir is where the kernel is; empty if it is nowhere.
func kernelDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		at := filepath.Join(dir, Kernel)
		if found, _ := filepath.Glob(filepath.Join(at, "boot", "vmlinuz-*")); len(found) == 1 {
			return at
		}
	}
	return ""
}

// build writes the machine's first file system.
func build(to, kernel string, m Machine) error {
	a := &archive{}
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "etc", "var"} {
		a.dir(dir)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	a.file("init", 0o755, self)
	order, err := a.modules(kernel, append(slices.Clone(basis), m.Modules...))
	if err != nil {
		return err
	}
	a.file(orderFile, 0o644, []byte(strings.Join(order, "\n")))
	for _, program := range m.Programs {
		if err := a.program(program); err != nil {
			return err
		}
	}
	return os.WriteFile(to, a.bytes(), 0o600)
}

// modules adds modules and what they need, and says in what order they are to be loaded.
func (a *archive) modules(kernel string, names []string) (order []string, err error) {
	files := map[string]string{}
	err = filepath.WalkDir(filepath.Join(kernel, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var add func(name string) error
	add = func(name string) error {
		path := files[strings.ReplaceAll(name, "-", "_")]
		if path == "" {
			return fmt.Errorf("kernel module %s: it is not in %s", name, kernel)
		}
		in := "modules/" + filepath.Base(path)
		if slices.Contains(order, in) {
			return nil
		}
		needs, err := needs(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		a.file(in, 0o644, b)
		order = append(order, in)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// needs names the modules that one says it needs, "depends=" in its section .modinfo.
func needs(path string) (names []string, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, line := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(line, "depends="); ok && list != "" {
			names = append(names, strings.Split(list, ",")...)
		}
	}
	return names, nil
}

// program adds a program and its libraries.
func (a *archive) program(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	files := []string{path}
	out, err := exec.Command("ldd", path).Output()
	if err != nil && !strings.Contains(string(out), "not a dynamic") {
		return fmt.Errorf("ldd %s: %w", path, err)
	}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			files = append(files, word)
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		a.file(f, 0o755, b)
	}
	return nil
}
