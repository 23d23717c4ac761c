// Command base makes the image that the operator's is based on, an empty one for each platform, and puts it where ko
// looks for images that it has pulled already: img/ in the folder that KOCACHE names. It prints the image's reference.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: base KOCACHE OS/ARCH...")
		os.Exit(2)
	}
	digest, err := write(filepath.Join(os.Args[1], "img"), os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("scratch@%s\n", digest)
}

// write makes an OCI image layout in the folder, with the images of all platforms and an index of them.
func write(folder string, platforms []string) (v1.Hash, error) {
	if err := os.RemoveAll(folder); err != nil {
		return v1.Hash{}, err
	}
	store, err := layout.Write(folder, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range platforms {
		system, architecture, found := strings.Cut(platform, "/")
		if !found {
			return v1.Hash{}, fmt.Errorf("%q is no OS/ARCH", platform)
		}
		image, err := mutate.ConfigFile(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1),
			&v1.ConfigFile{OS: system, Architecture: architecture, RootFS: v1.RootFS{Type: "layers"}})
		if err != nil {
			return v1.Hash{}, err
		}
		of := layout.WithPlatform(v1.Platform{OS: system, Architecture: architecture})
		if err := store.AppendImage(image, of); err != nil { // ko looks for it here too
			return v1.Hash{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: architecture}}})
	}
	if err := store.AppendIndex(index); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}
