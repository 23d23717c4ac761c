package main

import (
	"archive/tar"
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
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// perlPackages make up the image: perl, a newer Math::BigInt (that of Perl 5.36
// fails at `bpi(2000)`), and the shell and tools that people expect in an image.
var perlPackages = []string{"perl", "libmath-bigint-perl", "dash", "coreutils", "base-files"}

// makePerlImage makes a stand-in for docker.io/library/perl from Debian or
// Ubuntu packages, once. Nothing is installed on this machine.
func makePerlImage(ctx context.Context, home string, ref name.Reference) error {
	if dockerHubAnswers(ctx) {
		fmt.Fprintln(os.Stderr, "docker.io answers, so clusters pull perl from there.")
		return nil
	}
	if img, err := findImage(home, ref); err != nil || img != nil {
		return err
	}
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return errors.New("docker.io is out of reach, and this is neither Debian nor Ubuntu, whose packages could stand in for the image perl")
		}
	}
	done := showProgress("making the image perl from Debian packages, as docker.io is out of reach")
	err := perlFromPackages(ctx, home, ref)
	done(err)
	return err
}

func perlFromPackages(ctx context.Context, home string, ref name.Reference) error {
	dir, err := os.MkdirTemp(filepath.Join(home, ".local"), "perl-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	debs, err := downloadPackages(ctx, dir, perlPackages)
	if err != nil {
		return err
	}
	root := newRootfs()
	for _, deb := range debs {
		if err := root.addPackage(ctx, deb); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}
	layer, err := root.layer()
	if err != nil {
		return err
	}
	img, err := layerImage(layer, v1.Config{
		Cmd: []string{"perl", "-de0"},
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	})
	if err != nil {
		return err
	}
	return storeImage(home, ref, img)
}

// downloadPackages fetches packages and all they depend on, by letting apt-get
// believe that nothing is installed.
func downloadPackages(ctx context.Context, dir string, packages []string) ([]string, error) {
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	archives := filepath.Join(dir, "archives")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return nil, err
	}
	download := func() ([]byte, error) {
		args := []string{"-o", "Dir::State::status=" + status, "-o", "Dir::Cache::archives=" + archives,
			"-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-y", "--no-install-recommends", "--download-only", "install"}
		return exec.CommandContext(ctx, "apt-get", append(args, packages...)...).CombinedOutput()
	}
	out, err := download()
	if err != nil {
		// The lists of packages may be old; only root can renew them.
		if exec.CommandContext(ctx, "apt-get", "update").Run() == nil {
			out, err = download()
		}
		if err != nil {
			return nil, fmt.Errorf("download packages: %w\n%s", err, lastLines(string(out), 10))
		}
	}
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err == nil && len(debs) == 0 {
		err = fmt.Errorf("apt-get downloaded nothing:\n%s", lastLines(string(out), 10))
	}
	slices.Sort(debs)
	return debs, err
}

// rootfs collects files for a layer.
type rootfs struct {
	headers  map[string]*tar.Header
	contents map[string][]byte
}

func newRootfs() *rootfs {
	r := &rootfs{headers: map[string]*tar.Header{}, contents: map[string][]byte{}}
	for _, dir := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		r.headers[dir] = &tar.Header{Typeflag: tar.TypeSymlink, Name: dir, Linkname: "usr/" + dir, Mode: 0o777}
		r.headers["usr/"+dir] = &tar.Header{Typeflag: tar.TypeDir, Name: "usr/" + dir + "/", Mode: 0o755}
	}
	r.headers["tmp"] = &tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}
	r.headers["usr/bin/sh"] = &tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/sh", Linkname: "dash", Mode: 0o777}
	return r
}

// addPackage adds the files of a package, at the places that a system with
// merged /usr gives them.
func (r *rootfs) addPackage(ctx context.Context, deb string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	files := tar.NewReader(bytes.NewReader(out))
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		file := mergedUsr(path.Clean(h.Name))
		if file == "." || !wanted(file) || r.headers[file] != nil {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = mergedUsr(path.Clean(h.Linkname))
		}
		content, err := io.ReadAll(files)
		if err != nil {
			return err
		}
		h.Name = file
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		r.headers[file], r.contents[file] = h, content
	}
}

func mergedUsr(file string) string {
	first, _, _ := strings.Cut(file, "/")
	if strings.Contains(file, "/") && slices.Contains([]string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}, first) {
		return "usr/" + file
	}
	return file
}

// wanted leaves out documentation, but not the licences.
func wanted(file string) bool {
	for _, dir := range []string{"usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/"} {
		if strings.HasPrefix(file, dir) {
			return false
		}
	}
	return !strings.HasPrefix(file, "usr/share/doc/") || path.Base(file) == "copyright"
}

// layer writes the collected files as a tar archive: folders and files in
// order, links to files after them, without times, so that the same packages
// give the same image.
func (r *rootfs) layer() ([]byte, error) {
	var names, links []string
	for file, h := range r.headers {
		if h.Typeflag == tar.TypeLink {
			links = append(links, file)
		} else {
			names = append(names, file)
		}
	}
	slices.Sort(names)
	slices.Sort(links)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, file := range append(names, links...) {
		h := *r.headers[file]
		h.ModTime, h.AccessTime, h.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
		h.Uname, h.Gname, h.Format, h.PAXRecords = "", "", tar.FormatUnknown, nil
		if err := w.WriteHeader(&h); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if _, err := w.Write(r.contents[file]); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := w.Close(); err != nil { // it writes the end
		return nil, err
	}
	return buf.Bytes(), nil
}
