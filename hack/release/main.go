// Command release writes everything that a release consists of into a folder, and sends nothing anywhere. The same source,
// version and Go release give the same bits. `make release` builds the image first and then calls it.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	image  = "ghcr.io/batchrun/batchrun"
	plugin = "kubectl-batchrun"
	cli    = "github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/cli"
	sums   = "SHA256SUMS"
)

const allPlatforms = "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64"

// platform is one that the plugin is built for.
type platform struct{ system, architecture string }

// program is the name of the plugin for it, without an extension.
func (p platform) program() string { return plugin + "-" + p.system + "-" + p.architecture }

// archive is what the plugin is packed in for it.
func (p platform) archive() string {
	if p.system == "windows" {
		return p.program() + ".zip"
	}
	return p.program() + ".tar.gz"
}

// release is what is being made, in the root of the checkout.
type release struct {
	version   string // v1.2.3
	platforms []platform
	at        time.Time // what files in archives say of their age
	out       string
	scratch   string
	built     map[string][]byte // what is in out, by name
}

func main() {
	r := release{built: map[string][]byte{}}
	flag.StringVar(&r.version, "version", "", "version of the release, such as v1.2.3")
	flag.StringVar(&r.out, "out", "dist", "folder for what is written; it must not exist")
	names := flag.String("platforms", allPlatforms, "platforms of the plugin; a release has all")
	flag.Parse()
	for name := range strings.FieldsSeq(*names) {
		system, architecture, _ := strings.Cut(name, "/")
		r.platforms = append(r.platforms, platform{system, architecture})
	}
	if err := r.make(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

var semantic = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

func (r *release) make(ctx context.Context) (err error) {
	if !semantic.MatchString(r.version) {
		return fmt.Errorf("-version %q: must be one such as v1.2.3 or v1.2.3-rc.1", r.version)
	}
	if r.at, err = commitTime(ctx); err != nil {
		return err
	}
	if r.scratch, err = os.MkdirTemp("", "release-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.scratch)) }()
	if err := os.Mkdir(r.out, 0o755); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.manifests, r.chart, r.image, r.plugins, r.krew, r.checksums} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// commitTime is SOURCE_DATE_EPOCH, or else when the commit was made.
func commitTime(ctx context.Context) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("when the commit was made: %w; outside of a clone set SOURCE_DATE_EPOCH", err)
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0), nil
}

// write puts a file into the release.
func (r *release) write(name string, data []byte) error {
	fmt.Fprintf(os.Stderr, "%8.1f MiB  %s\n", float64(len(data))/(1<<20), name)
	r.built[name] = data
	return os.WriteFile(filepath.Join(r.out, name), data, 0o644)
}

// run runs a command with these variables and shows what it complains of.
func run(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// tool runs a tool of hack/tools.
func tool(ctx context.Context, module, name string, args ...string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	modfile := "-modfile=" + filepath.Join(root, "hack", "tools", module, "go.mod")
	return run(ctx, nil, "go", append([]string{"tool", modfile, name}, args...)...)
}

// manifests are what `kubectl apply -f` installs.
func (r *release) manifests(context.Context) error {
	for name, folder := range map[string]string{"install.yaml": "default", "install-compat.yaml": "compat", "crds.yaml": "crd"} {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("config", folder))
		if err != nil {
			return err
		}
		manifests, err := built.AsYaml()
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(manifests), image+":latest", image+":"+r.version)
		if folder != "crd" && !strings.Contains(text, "image: "+image+":"+r.version+"\n") {
			return fmt.Errorf("config/%s does not name the image %s:latest", folder, image)
		}
		if err := r.write(name, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// chart is what `helm package` makes of the chart, without the time at which it does.
func (r *release) chart(ctx context.Context) error {
	version := strings.TrimPrefix(r.version, "v")
	err := tool(ctx, "helm", "helm", "package", filepath.Join("config", "chart"), "--destination", r.scratch,
		"--version", version, "--app-version", r.version)
	if err != nil {
		return err
	}
	name := "batchrun-" + version + ".tgz"
	packaged, err := os.ReadFile(filepath.Join(r.scratch, name))
	if err != nil {
		return err
	}
	members, err := untarGz(packaged)
	if err != nil {
		return err
	}
	packaged, err = tarGz(members, r.at)
	if err != nil {
		return err
	}
	return r.write(name, packaged)
}

// image packs the OCI image layout that `make image` made, and says what the operator in it is made of.
func (r *release) image(ctx context.Context) error {
	layout := os.DirFS(filepath.Join("bin", "image"))
	names, err := files(layout)
	if err != nil {
		return fmt.Errorf("run make image first: %w", err)
	}
	var members []member
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("bin", "image", name))
		if err != nil {
			return err
		}
		if name == "index.json" {
			if data, err = r.named(data); err != nil {
				return fmt.Errorf("index.json of the image: %w", err)
			}
		}
		members = append(members, member{name: name, data: data})
	}
	packed, err := tarball(members, r.at)
	if err != nil {
		return err
	}
	if err := r.write("batchrun-image.tar", packed); err != nil {
		return err
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		binary := filepath.Join("bin", "ko", "bin", "github.com", "batchrun", "batchrun", "cmd", "manager", "linux", architecture, "out")
		if err := r.bill(ctx, "batchrun-operator-linux-"+architecture, binary); err != nil {
			return err
		}
	}
	return nil
}

// named puts the image's name into the index of its layout, for what reads it from there, such as containerd and podman.
func (r *release) named(index []byte) ([]byte, error) {
	var whole map[string]any
	if err := json.Unmarshal(index, &whole); err != nil {
		return nil, err
	}
	manifests, _ := whole["manifests"].([]any)
	if len(manifests) != 1 {
		return nil, fmt.Errorf("%d images; one is expected", len(manifests))
	}
	manifest, _ := manifests[0].(map[string]any)
	manifest["annotations"] = map[string]string{
		"io.containerd.image.name":          image + ":" + r.version,
		"org.opencontainers.image.ref.name": r.version,
	}
	return json.Marshal(whole)
}

// plugins are the kubectl plugin for each platform, packed as Krew takes it.
func (r *release) plugins(ctx context.Context) error {
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	completion, err := os.ReadFile(filepath.Join("cmd", plugin, "kubectl_complete-batchrun"))
	if err != nil {
		return err
	}
	for _, p := range r.platforms {
		name := p.program()
		binary := filepath.Join(r.scratch, name)
		env := []string{"GOOS=" + p.system, "GOARCH=" + p.architecture, "CGO_ENABLED=0",
			// What else would make a difference.
			"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0"}
		err := run(ctx, env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X "+cli+".version="+r.version,
			"-o", binary, "./cmd/"+plugin)
		if err != nil {
			return err
		}
		program, err := os.ReadFile(binary)
		if err != nil {
			return err
		}
		if err := r.bill(ctx, name, binary); err != nil {
			return err
		}
		var packed []byte
		if p.system == "windows" {
			packed, err = zipped([]member{{name: plugin + ".exe", data: program}, {name: "LICENSE", data: license}}, r.at)
		} else {
			packed, err = tarGz([]member{{name: plugin, data: program, program: true}, {name: "LICENSE", data: license},
				{name: "kubectl_complete-batchrun", data: completion, program: true}}, r.at)
		}
		if err != nil {
			return err
		}
		if err := r.write(p.archive(), packed); err != nil {
			return err
		}
	}
	return nil
}

// bill writes the bill of materials of a program, from what its build noted in it.
func (r *release) bill(ctx context.Context, name, binary string) error {
	named := filepath.Join(r.scratch, "bill", name) // the bill has the name of the file
	if err := os.MkdirAll(filepath.Dir(named), 0o755); err != nil {
		return err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if err := os.WriteFile(named, program, 0o755); err != nil {
		return err
	}
	err = tool(ctx, "sbom", "cyclonedx-gomod", "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", r.version,
		"-output", named+".cdx.json", named)
	if err != nil {
		return err
	}
	bill, err := os.ReadFile(named + ".cdx.json")
	if err != nil {
		return err
	}
	if bill, err = withoutToolHashes(bill); err != nil {
		return fmt.Errorf("%s.cdx.json: %w", name, err)
	}
	return r.write(name+".cdx.json", bill)
}

// withoutToolHashes takes the hashes of the tool that wrote a bill out of it: they are others on another machine.
func withoutToolHashes(bill []byte) ([]byte, error) {
	var whole map[string]any
	if err := json.Unmarshal(bill, &whole); err != nil {
		return nil, err
	}
	metadata, _ := whole["metadata"].(map[string]any)
	tools, _ := metadata["tools"].([]any)
	if len(tools) == 0 {
		return nil, errors.New("it does not say which tool wrote it")
	}
	for _, each := range tools {
		if fields, ok := each.(map[string]any); ok {
			delete(fields, "hashes")
		}
	}
	return json.MarshalIndent(whole, "", "  ")
}

// krew fills in the manifest by which Krew installs the plugin, for the platforms that were built.
func (r *release) krew(context.Context) error {
	template, err := os.ReadFile(filepath.Join("config", "krew", "batchrun.yaml"))
	if err != nil {
		return err
	}
	_, text, _ := strings.Cut(string(template), "\n") // what the first line says is about the template
	parts := strings.SplitAfter(strings.ReplaceAll(text, "VERSION", r.version), "platforms:\n")
	if len(parts) != 2 {
		return errors.New("config/krew/batchrun.yaml has no platforms")
	}
	const start = "  - selector:"
	entries := strings.Split(parts[1], start)
	var manifest strings.Builder
	manifest.WriteString(parts[0])
	for _, p := range r.platforms {
		place := strings.ToUpper("SHA256_" + p.system + "_" + p.architecture)
		i := slices.IndexFunc(entries, func(entry string) bool { return strings.Contains(entry, place) })
		if i < 0 {
			return fmt.Errorf("config/krew/batchrun.yaml has no %s", place)
		}
		manifest.WriteString(start + strings.ReplaceAll(entries[i], place, checksum(r.built[p.archive()])))
	}
	return r.write("krew.yaml", []byte(manifest.String()))
}

// checksums are those of all the rest, for sha256sum -c.
func (r *release) checksums(context.Context) error {
	var lines []string
	for name, data := range r.built {
		lines = append(lines, checksum(data)+"  "+name+"\n")
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	return r.write(sums, []byte(strings.Join(lines, "")))
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
