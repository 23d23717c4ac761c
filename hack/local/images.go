package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"
)

// refAnnotation is where an OCI image layout keeps an image's full name.
const refAnnotation = "org.opencontainers.image.ref.name"

const pauseImage = "batchrun.local/pause:1"

// imagesDir is an OCI image layout with every image made here.
func imagesDir(home string) string { return filepath.Join(home, ".local", "images") }

func imageCommand() *cobra.Command {
	var cluster, binary string
	var entrypoint []string
	cmd := &cobra.Command{
		Use:   "image IMAGE --binary FILE | image perl",
		Short: "Make an image of one static binary, or `perl` from Debian packages",
		Long: `Make an image of one static binary, or the image "perl" from Debian packages,
which is made only where docker.io is out of reach.

Every cluster finds the images made here when it pulls them. With --name the
image is also imported, for pods with imagePullPolicy Never.`,
		Example: `  local image docker.io/batchrun/batchrun:dev --binary bin/manager --entrypoint /manager --name dev
  local image perl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := findHome()
			if err != nil {
				return err
			}
			ref, err := name.ParseReference(args[0])
			if err != nil {
				return err
			}
			switch {
			case binary != "":
				err = makeBinaryImage(home, ref, binary, entrypoint)
			case args[0] == "perl":
				err = makePerlImage(cmd.Context(), home, ref)
			default:
				err = errors.New("--binary is missing: the file to make the image from")
			}
			if err != nil || !cmd.Flags().Changed("name") {
				return err
			}
			c, err := openCluster(cluster)
			if err != nil {
				return err
			}
			return c.importImage(cmd.Context(), ref)
		},
	}
	nameFlag(cmd, &cluster)
	cmd.Flags().StringVar(&binary, "binary", "", "static binary to put into the image")
	cmd.Flags().StringSliceVar(&entrypoint, "entrypoint", nil, "command of the image (default: the binary, at /<its name>)")
	return cmd
}

// makeBinaryImage makes an image that holds one file. The same file always
// gives the same image.
func makeBinaryImage(home string, ref name.Reference, binary string, entrypoint []string) error {
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	path := filepath.Base(binary)
	if len(entrypoint) == 0 {
		entrypoint = []string{"/" + path}
	}
	path = strings.TrimPrefix(entrypoint[0], "/")
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	// Many programs want a place for temporary files.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	img, err := layerImage(buf.Bytes(), v1.Config{Entrypoint: entrypoint, User: "65532:65532", WorkingDir: "/"})
	if err != nil {
		return err
	}
	return storeImage(home, ref, img)
}

// layerImage makes an image of one uncompressed layer.
func layerImage(layer []byte, config v1.Config) (v1.Image, error) {
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	if img, err = mutate.AppendLayers(img, l); err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, withConfig(img, config))
}

func withConfig(img v1.Image, config v1.Config) *v1.ConfigFile {
	file, err := img.ConfigFile()
	if err != nil { // the image is in memory
		panic(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	file.Config = config
	return file
}

func openStore(home string) (layout.Path, error) {
	dir := imagesDir(home)
	p, err := layout.FromPath(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return layout.Write(dir, empty.Index)
	}
	return p, err
}

// storeImage keeps an image under its name, in place of the one of that name.
func storeImage(home string, ref name.Reference, img v1.Image) error {
	unlock, err := lockFile(filepath.Join(home, ".local", "locks", ".images"))
	if err != nil {
		return err
	}
	defer unlock()
	store, err := openStore(home)
	if err != nil {
		return err
	}
	annotations := map[string]string{refAnnotation: ref.Name()}
	err = store.ReplaceImage(img, match.Annotation(refAnnotation, ref.Name()), layout.WithAnnotations(annotations))
	if err != nil {
		return fmt.Errorf("store image %s: %w", ref, err)
	}
	unused, err := store.GarbageCollect()
	if err != nil {
		return err
	}
	for _, hash := range unused {
		if err := store.RemoveBlob(hash); err != nil {
			return err
		}
	}
	return giveTreeToSudoUser(imagesDir(home))
}

// findImage returns the stored image of that name, nil if there is none.
func findImage(home string, ref name.Reference) (v1.Image, error) {
	store, err := layout.FromPath(imagesDir(home))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := store.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if d.Annotations[refAnnotation] == ref.Name() {
			return store.Image(d.Digest)
		}
	}
	return nil, nil
}

// importImage copies a stored image into the node's containerd.
func (c *Cluster) importImage(ctx context.Context, ref name.Reference) error {
	img, err := findImage(c.home, ref)
	if err != nil || img == nil {
		return errors.Join(err, fmt.Errorf("image %s was not made here", ref))
	}
	read, write := io.Pipe()
	go func() { write.CloseWithError(tarball.Write(ref, img, write)) }()
	defer read.Close()
	if err := c.ctr(ctx, read, "--namespace=k8s.io", "images", "import", "-"); err != nil {
		return fmt.Errorf("import image %s: %w", ref, err)
	}
	return nil
}

// ctr runs containerd's command line client against the cluster's node.
func (c *Cluster) ctr(ctx context.Context, stdin io.Reader, args ...string) error {
	socket, err := c.containerdSocket()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.bin("ctr"), append([]string{"--address", socket, "--connect-timeout=5s"}, args...)...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, lastLines(string(out), 3))
	}
	return nil
}

// buildPause makes the image that every pod's sandbox runs.
func buildPause(ctx context.Context, home string) error {
	ref, err := name.ParseReference(pauseImage)
	if err != nil {
		return err
	}
	binary := filepath.Join(binDir(home), "pause")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./pause")
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build pause: %w\n%s", err, out)
	}
	return makeBinaryImage(home, ref, binary, nil)
}

func (c *Cluster) importPause(ctx context.Context) error {
	ref, err := name.ParseReference(pauseImage)
	if err != nil {
		return err
	}
	return c.importImage(ctx, ref)
}
