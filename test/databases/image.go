package databases

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gitopsd/gitopsd/test/images"
)

// imageName is the image of both databases, as the manifests have it.
const imageName = "registry.example/databases:v1"

// packages are Debian's that the image is made of, beside the libraries that they depend on.
var packages = []string{"postgresql-15", "postgresql-client-15", "redis-server", "redis-tools", "busybox-static", "tzdata"}

// Archive makes the image's archive in a folder unless it is there, and gives its path. Packages come by apt, as the machine is configured, and are not installed.
func Archive(ctx context.Context, dir string) (string, error) {
	archive := filepath.Join(dir, "databases.tar")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	debs := filepath.Join(dir, "debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return "", err
	}
	if err := download(ctx, debs); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return "", err
	}
	var layer bytes.Buffer
	if err := pack(ctx, &layer, found); err != nil {
		return "", err
	}
	img, err := images.FromLayer(layer.Bytes(), images.Config{User: "999:999", Env: []string{"PATH=/usr/bin:/bin"}})
	if err != nil {
		return "", err
	}
	if err := images.Save(archive, map[string]v1.Image{imageName: img}); err != nil {
		return "", err
	}
	return archive, os.RemoveAll(debs)
}

// download gets the packages and the libraries that they depend on. Lists of packages that are missing or out of date are fetched first.
func download(ctx context.Context, dir string) error {
	err := downloadListed(ctx, dir)
	if err != nil && ctx.Err() == nil {
		if out, bad := exec.CommandContext(ctx, "apt-get", "update", "-qq").CombinedOutput(); bad != nil {
			return errors.Join(err, fmt.Errorf("apt-get update: %w: %s", bad, bytes.TrimSpace(out)))
		}
		err = downloadListed(ctx, dir)
	}
	return err
}

func downloadListed(ctx context.Context, dir string) error {
	names, err := closure(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-qq"}, names...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// closure names the packages and all libraries that they depend on, but for those of what is not used here: compiling queries, and scripts in Perl.
func closure(ctx context.Context) ([]string, error) {
	args := []string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}
	out, err := exec.CommandContext(ctx, "apt-cache", append(args, packages...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache depends: %w", err)
	}
	names := slices.Clone(packages)
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		name := s.Text()
		library := strings.HasPrefix(name, "lib") || name == "zlib1g"
		if !library || strings.Contains(name, "perl") || strings.Contains(name, ":") || strings.HasPrefix(name, "libllvm") || strings.HasPrefix(name, "libz3") {
			continue // a dependency is indented, and some are of another architecture
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// unused is what of the packages no database needs, and is most of them.
var unused = []string{"usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/lib/postgresql/15/lib/bitcode/", "usr/lib/postgresql/15/lib/llvmjit"}

// pack writes the files of packages as one layer, with the links that Debian's base system has, and the little that programs look for.
func pack(ctx context.Context, layer io.Writer, debs []string) error {
	w, seen := tar.NewWriter(layer), map[string]bool{}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		seen[dir] = true
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeSymlink, Linkname: "usr/" + dir, Mode: 0o777}); err != nil {
			return err
		}
	}
	for _, deb := range debs {
		if err := unpack(ctx, w, deb, seen); err != nil {
			return fmt.Errorf("%s: %w", deb, err)
		}
	}
	for _, applet := range []string{"sh", "mv", "rm"} {
		if err := w.WriteHeader(&tar.Header{Name: "usr/bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return err
	}
	passwd := "root:x:0:0::/root:/bin/sh\ndatabase:x:999:999::/data:/bin/sh\n"
	if err := w.WriteHeader(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(passwd))}); err != nil {
		return err
	}
	if _, err := io.WriteString(w, passwd); err != nil {
		return err
	}
	return w.Close()
}

// unpack adds the files of a package.
func unpack(ctx context.Context, w *tar.Writer, deb string, seen map[string]bool) error {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb).Output()
	if err != nil {
		return err
	}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		// Packages still name what base-files has moved.
		if first, rest, ok := strings.Cut(name, "/"); ok && slices.Contains([]string{"bin", "sbin", "lib", "lib64"}, first) {
			name = "usr/" + first + "/" + rest
		}
		if name == "" || seen[name] || slices.ContainsFunc(unused, func(u string) bool { return strings.HasPrefix(name+"/", u) || strings.HasPrefix(name, u) }) {
			continue
		}
		seen[name] = true
		h.Name, h.Format = name, tar.FormatUnknown
		if h.Typeflag == tar.TypeLink {
			h.Linkname = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
	}
}
