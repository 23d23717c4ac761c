// Package release makes a release twice, sees that it is the same, and that it holds what it should.
package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	root    = "../.."
	version = "v0.1.0"
	image   = "ghcr.io/batchrun/batchrun:" + version
	epoch   = 1750000000
)

// platforms are those of the plugin that are built, and what it is packed in: this machine's, and one that is another in
// each way.
var platforms = map[string]string{runtime.GOOS + "-" + runtime.GOARCH: ".tar.gz", "windows-arm64": ".zip"}

// TestRelease makes the releases, which all the rest reads: in folders of different names, by people of different umasks
// and time zones, from files of different age.
func TestRelease(t *testing.T) {
	first := makeRelease(t, "first", "022", "UTC", time.Now())
	second := makeRelease(t, "the second", "077", "Asia/Tokyo", time.Unix(epoch, 0).AddDate(-10, 0, 0))
	if a, b := slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(second)); !slices.Equal(a, b) {
		t.Fatalf("the releases have other files: %v, %v", a, b)
	}
	for name, data := range first {
		if !bytes.Equal(data, second[name]) {
			t.Errorf("%s is not the same in both releases", name)
		}
	}
	t.Run("names", func(t *testing.T) { names(t, first) })
	t.Run("checksums", func(t *testing.T) { checksums(t, first) })
	t.Run("manifests", func(t *testing.T) { manifests(t, first) })
	t.Run("chart", func(t *testing.T) { chart(t, first) })
	t.Run("image", func(t *testing.T) { images(t, first) })
	t.Run("plugin", func(t *testing.T) { plugins(t, first) })
	t.Run("krew", func(t *testing.T) { krew(t, first) })
	t.Run("bills of materials", func(t *testing.T) { bills(t, first) })
}

// makeRelease returns what `make release` writes from a copy of the checkout.
func makeRelease(t *testing.T, folder, umask, zone string, modified time.Time) map[string][]byte {
	t.Helper()
	checkout := filepath.Join(t.TempDir(), folder)
	list := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) { // deleted and not committed yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(checkout, name)
		if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, data, info.Mode()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(copied, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "umask "+umask+" && make release VERSION="+version+
		" PLATFORMS='"+runtime.GOOS+"/"+runtime.GOARCH+" windows/arm64'")
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), "TZ="+zone, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch))
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s was made in %s", folder, time.Since(start).Round(time.Second))
	files := map[string][]byte{}
	dist := filepath.Join(checkout, "dist")
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(dist, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func names(t *testing.T, release map[string][]byte) {
	t.Helper()
	want := []string{"SHA256SUMS", "batchrun-0.1.0.tgz", "batchrun-image.tar", "batchrun-operator-linux-amd64.cdx.json",
		"batchrun-operator-linux-arm64.cdx.json", "crds.yaml", "install-compat.yaml", "install.yaml", "krew.yaml"}
	for platform, packed := range platforms {
		want = append(want, "kubectl-batchrun-"+platform+packed, "kubectl-batchrun-"+platform+".cdx.json")
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(release)); !slices.Equal(got, want) {
		t.Errorf("the release has %v; want %v", got, want)
	}
}

func checksums(t *testing.T, release map[string][]byte) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(release["SHA256SUMS"]), "\n"), "\n")
	if len(lines) != len(release)-1 {
		t.Errorf("%d checksums for %d files", len(lines), len(release)-1)
	}
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		if sum != checksum(release[name]) {
			t.Errorf("wrong checksum of %q", name)
		}
	}
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func manifests(t *testing.T, release map[string][]byte) {
	t.Helper()
	for name, policies := range map[string]int{"install.yaml": 1, "install-compat.yaml": 0, "crds.yaml": 0} {
		text := string(release[name])
		if got := strings.Count(text, "kind: CustomResourceDefinition\n"); got != 1 {
			t.Errorf("%s has %d CRDs", name, got)
		}
		if got := strings.Count(text, "kind: MutatingAdmissionPolicy\n"); got != policies {
			t.Errorf("%s has %d policies", name, got)
		}
		deployed := strings.Count(text, "image: "+image+"\n")
		if strings.Contains(text, ":latest") || (deployed == 1) != (name != "crds.yaml") {
			t.Errorf("%s names the image of this version %d times", name, deployed)
		}
	}
}

func chart(t *testing.T, release map[string][]byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "chart.tgz")
	if err := os.WriteFile(file, release["batchrun-0.1.0.tgz"], 0o600); err != nil {
		t.Fatal(err)
	}
	modfile, err := filepath.Abs(filepath.Join(root, "hack", "tools", "helm", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"template", "show"} {
		args := []string{"tool", "-modfile=" + modfile, "helm", command, "batchrun", file, "--namespace", "batchrun-system"}
		want := "image: " + image + "\n"
		if command == "show" {
			args, want = append(args[:4], "chart", file), "version: 0.1.0\n"
		}
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !strings.Contains(string(out), want) {
			t.Errorf("helm %s of the chart does not say %q", command, want)
		}
	}
}

// member is a file of an archive.
type member struct {
	mode fs.FileMode
	data []byte
}

func untar(t *testing.T, from io.Reader) map[string]member {
	t.Helper()
	members := map[string]member{}
	for archive := tar.NewReader(from); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.ModTime.Unix() != epoch {
			t.Errorf("%s tells who made it, or when: %+v", header.Name, header)
		}
		members[header.Name] = member{header.FileInfo().Mode(), data}
	}
}

func unpack(t *testing.T, name string, packed []byte) map[string]member {
	t.Helper()
	if strings.HasSuffix(name, ".zip") {
		archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
		if err != nil {
			t.Fatal(err)
		}
		members := map[string]member{}
		for _, file := range archive.File {
			content, err := file.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(content)
			if err != nil {
				t.Fatal(err)
			}
			members[file.Name] = member{file.Mode(), data}
		}
		return members
	}
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	return untar(t, plain)
}

// images checks the layout: each blob is what its name says, and there is an image for each platform.
func images(t *testing.T, release map[string][]byte) {
	t.Helper()
	layout := untar(t, bytes.NewReader(release["batchrun-image.tar"]))
	for name, file := range layout {
		if digest, isBlob := strings.CutPrefix(name, "blobs/sha256/"); isBlob && checksum(file.data) != digest {
			t.Errorf("%s is something else", name)
		}
	}
	type index struct {
		Manifests []struct {
			Digest      string            `json:"digest"`
			Annotations map[string]string `json:"annotations"`
			Platform    struct {
				OS           string `json:"os"`
				Architecture string `json:"architecture"`
			} `json:"platform"`
		} `json:"manifests"`
	}
	var outer, inner index
	if err := json.Unmarshal(layout["index.json"].data, &outer); err != nil || len(outer.Manifests) != 1 {
		t.Fatalf("index.json: %v, %+v", err, outer)
	}
	if got := outer.Manifests[0].Annotations["io.containerd.image.name"]; got != image {
		t.Errorf("the image is called %q", got)
	}
	blob := layout["blobs/sha256/"+strings.TrimPrefix(outer.Manifests[0].Digest, "sha256:")]
	if err := json.Unmarshal(blob.data, &inner); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, manifest := range inner.Manifests {
		got = append(got, manifest.Platform.OS+"/"+manifest.Platform.Architecture)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(got, want) {
		t.Errorf("images for %v; want %v", got, want)
	}
}

func plugins(t *testing.T, release map[string][]byte) {
	t.Helper()
	for platform, packed := range platforms {
		name := "kubectl-batchrun-" + platform + packed
		members := unpack(t, name, release[name])
		want := []string{"LICENSE", "kubectl-batchrun", "kubectl_complete-batchrun"}
		if packed == ".zip" {
			want = []string{"LICENSE", "kubectl-batchrun.exe"}
		}
		if got := slices.Sorted(maps.Keys(members)); !slices.Equal(got, want) {
			t.Errorf("%s has %v; want %v", name, got, want)
		}
		if platform != runtime.GOOS+"-"+runtime.GOARCH {
			continue
		}
		program := members["kubectl-batchrun"]
		if program.mode != 0o755 {
			t.Errorf("the plugin has the mode %s", program.mode)
		}
		file := filepath.Join(t.TempDir(), "kubectl-batchrun")
		if err := os.WriteFile(file, program.data, program.mode); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), file, "version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "kubectl-batchrun "+version+" ") {
			t.Errorf("the plugin's version: %v, %s", err, out)
		}
	}
}

func krew(t *testing.T, release map[string][]byte) {
	t.Helper()
	var manifest struct {
		Spec struct {
			Version   string `json:"version"`
			Platforms []struct {
				URI      string `json:"uri"`
				SHA256   string `json:"sha256"`
				Bin      string `json:"bin"`
				Selector struct {
					MatchLabels map[string]string `json:"matchLabels"`
				} `json:"selector"`
			} `json:"platforms"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(release["krew.yaml"], &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Spec.Version != version || len(manifest.Spec.Platforms) != len(platforms) {
		t.Errorf("the manifest is of %s, with %d platforms", manifest.Spec.Version, len(manifest.Spec.Platforms))
	}
	for _, p := range manifest.Spec.Platforms {
		platform := p.Selector.MatchLabels["os"] + "-" + p.Selector.MatchLabels["arch"]
		name := "kubectl-batchrun-" + platform + platforms[platform]
		if p.URI != "https://github.com/batchrun/batchrun/releases/download/"+version+"/"+name {
			t.Errorf("%s is at %s", platform, p.URI)
		}
		if p.SHA256 != checksum(release[name]) {
			t.Errorf("wrong checksum of %s", platform)
		}
		if _, found := unpack(t, name, release[name])[p.Bin]; !found {
			t.Errorf("%s has no %s", platform, p.Bin)
		}
	}
}

// bills checks that each bill of materials tells of what it is, of which modules and Go release it is made, and not when
// it was written.
func bills(t *testing.T, release map[string][]byte) {
	t.Helper()
	for name, data := range release {
		if !strings.HasSuffix(name, ".cdx.json") {
			continue
		}
		var bill struct {
			Format   string `json:"bomFormat"`
			Serial   string `json:"serialNumber"`
			Metadata struct {
				Timestamp string `json:"timestamp"`
				Component struct {
					Version string `json:"version"`
				} `json:"component"`
			} `json:"metadata"`
			Components []struct {
				Name    string `json:"name"`
				Version string `json:"version"`
				Hashes  []any  `json:"hashes"`
			} `json:"components"`
		}
		if err := json.Unmarshal(data, &bill); err != nil {
			t.Fatal(err)
		}
		if bill.Format != "CycloneDX" || bill.Metadata.Component.Version != version || bill.Serial+bill.Metadata.Timestamp != "" {
			t.Errorf("%s: %+v", name, bill.Metadata)
		}
		versions, hashed := map[string]string{}, 0
		for _, component := range bill.Components {
			versions[component.Name] = component.Version
			hashed += len(component.Hashes)
		}
		if versions["k8s.io/client-go"] == "" || versions["std"] == "" {
			t.Errorf("%s does not tell of client-go or the standard library", name)
		}
		if hashed < len(bill.Components)-1 { // the standard library has none
			t.Errorf("%s has %d hashes for %d modules", name, hashed, len(bill.Components))
		}
	}
}
