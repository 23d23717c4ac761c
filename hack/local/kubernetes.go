package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/modfile"
)

// kubernetesVersion is what clusters run unless --kubernetes says otherwise. parts/kubernetes pins it.
const kubernetesVersion = "1.37.2"

// olderKubernetes are the releases that can be chosen instead.
var olderKubernetes = map[string]string{"1.34": "1.34.4", "1.35": "1.35.4", "1.36": "1.36.3"}

// kubernetesEnv chooses where the flag does not, such as for the commands that tests call.
const kubernetesEnv = "BATCHRUN_KUBERNETES"

// kubernetesFlag adds the flag that chooses, set from the environment if it is chosen there.
func kubernetesFlag(cmd *cobra.Command, choice *Kubernetes) {
	cmd.Flags().Var(choice, "kubernetes", "version of Kubernetes; "+kubernetesEnv+" in the environment chooses it too")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		chosen := os.Getenv(kubernetesEnv)
		if chosen == "" || cmd.Flags().Changed("kubernetes") {
			return nil
		}
		if err := cmd.Flags().Set("kubernetes", chosen); err != nil {
			return fmt.Errorf("%s=%s: %w", kubernetesEnv, chosen, choice.Set(chosen))
		}
		return nil
	}
}

// Kubernetes is a choice of Kubernetes' version: the minor version, or nothing for that of parts/kubernetes.
type Kubernetes string

// String, Set and Type make it a flag.
func (k *Kubernetes) String() string { return cmp.Or(string(*k), minor(kubernetesVersion)) }
func (k *Kubernetes) Type() string   { return strings.Join(kubernetesChoices(), "|") }
func (k *Kubernetes) Set(s string) error {
	if !slices.Contains(kubernetesChoices(), s) {
		return fmt.Errorf("must be one of %s", strings.Join(kubernetesChoices(), ", "))
	}
	*k = Kubernetes(s)
	if s == minor(kubernetesVersion) {
		*k = ""
	}
	return nil
}

func kubernetesChoices() []string {
	return append(slices.Sorted(maps.Keys(olderKubernetes)), minor(kubernetesVersion))
}

func minor(version string) string { return version[:strings.LastIndex(version, ".")] }

// version is the release.
func (k Kubernetes) version() string { return cmp.Or(olderKubernetes[string(k)], kubernetesVersion) }

// module is the folder of the Go module of which its parts are built.
func (k Kubernetes) module(home string) string {
	if k == "" {
		return filepath.Join(home, "parts", "kubernetes")
	}
	return filepath.Join(home, ".local", "parts", "kubernetes-"+k.version())
}

// program is where one of its programs is.
func (k Kubernetes) program(home, name string) string {
	return filepath.Join(binDir(home), string(k), name)
}

// prepare makes that module for an older release, from the release's own go.mod: it requires what Kubernetes was tested
// with, and takes Kubernetes' own libraries, which are folders of its repository there, as the modules that they are
// published as. Go's checksum database vouches for what is downloaded.
func (k Kubernetes) prepare(ctx context.Context, home string) error {
	if k == "" {
		return nil
	}
	folder := k.module(home)
	if _, err := os.Stat(filepath.Join(folder, "go.mod")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes@v"+k.version())
	cmd.Dir = home
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("download Kubernetes %s: %w: %s", k.version(), err, out)
	}
	var downloaded struct{ GoMod string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		return err
	}
	theirs, err := os.ReadFile(downloaded.GoMod)
	if err != nil {
		return err
	}
	ours, err := k.goMod(downloaded.GoMod, theirs)
	if err != nil {
		return err
	}
	etcd, err := os.ReadFile(filepath.Join(home, "parts", "kubernetes", "etcd", "main.go"))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(folder, "etcd", "main.go"), etcd, 0o644); err != nil {
		return err
	}
	return writeFile(filepath.Join(folder, "go.mod"), ours, 0o644)
}

// goMod turns the go.mod of Kubernetes into that of a module which builds its programs.
func (k Kubernetes) goMod(path string, theirs []byte) ([]byte, error) {
	file, err := modfile.Parse(path, theirs, nil)
	if err != nil {
		return nil, err
	}
	libraries := "v0" + strings.TrimPrefix(k.version(), "1")
	for _, replace := range slices.Clone(file.Replace) {
		if strings.HasPrefix(replace.New.Path, "./staging/") {
			if err := file.AddReplace(replace.Old.Path, replace.Old.Version, replace.Old.Path, libraries); err != nil {
				return nil, err
			}
		}
	}
	if err := file.AddModuleStmt("github.com/batchrun/batchrun/hack/local/parts/kubernetes"); err != nil {
		return nil, err
	}
	if err := file.AddRequire("k8s.io/kubernetes", "v"+k.version()); err != nil {
		return nil, err
	}
	file.Cleanup()
	return file.Format()
}
