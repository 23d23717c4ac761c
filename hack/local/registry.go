package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Every node has a read-only registry with the images that were made here, as
// its mirror of all registries. So a pod with imagePullPolicy Always, which is
// the default for `image: perl`, starts where no registry is in reach.

func serveRegistry(dir, address string) error {
	server := &http.Server{Addr: address, Handler: registryHandler(dir), ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// registryHandler serves an OCI image layout by the two requests of the OCI
// distribution protocol that a pull needs.
func registryHandler(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "this registry is read-only", http.StatusMethodNotAllowed)
			return
		}
		path := strings.TrimPrefix(r.URL.Path, "/v2/")
		if path == "" {
			return // the client asks whether this is a registry
		}
		if _, digest, ok := cutLast(path, "/blobs/"); ok {
			serveBlob(w, r, dir, digest, "application/octet-stream")
			return
		}
		repository, tag, ok := cutLast(path, "/manifests/")
		if !ok {
			http.NotFound(w, r)
			return
		}
		// A client of a mirror says which registry it means.
		if ns := r.URL.Query().Get("ns"); ns != "" {
			repository = ns + "/" + repository
		}
		if d, ok := findManifest(dir, repository, tag); ok {
			serveBlob(w, r, dir, d.Digest.String(), string(d.MediaType))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such image was made here"}]}`)
	})
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// findManifest looks up a manifest by tag or digest. It reads the index every
// time, so that an image can be pulled as soon as it is made.
func findManifest(dir, repository, tag string) (v1.Descriptor, bool) {
	store, err := layout.FromPath(dir)
	if err != nil {
		return v1.Descriptor{}, false
	}
	index, err := store.ImageIndex()
	if err != nil {
		return v1.Descriptor{}, false
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, false
	}
	wanted := ""
	if ref, err := name.ParseReference(repository + ":" + tag); err == nil {
		wanted = ref.Name()
	}
	for _, d := range manifest.Manifests {
		if d.Digest.String() == tag || wanted != "" && d.Annotations[refAnnotation] == wanted {
			return d, true
		}
	}
	return v1.Descriptor{}, false
}

func serveBlob(w http.ResponseWriter, r *http.Request, dir, digest, mediaType string) {
	hash, err := v1.NewHash(digest) // refuses anything that could leave the folder
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f, err := os.Open(filepath.Join(dir, "blobs", hash.Algorithm, hash.Hex))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// writeRegistryConfig tells containerd where to pull from. Where docker.io
// answers, it comes first and the images made here stand in for what it lacks.
// Where nothing answers, only they are asked, so that a wrong name is "not
// found" at once and does not wait for a connection.
func (c *Cluster) writeRegistryConfig(ctx context.Context) error {
	c.OfflineImages = !dockerHubAnswers(ctx)
	if err := c.save(); err != nil {
		return err
	}
	for registry, content := range registryFiles(c.OfflineImages, loopback("http", c.Ports.Registry)) {
		if err := writeFile(c.path("node", "registries", registry, "hosts.toml"), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// registryFiles gives the hosts.toml for each registry. containerd asks the
// hosts in their order, and the server last: by default the registry itself.
func registryFiles(offline bool, mirror string) map[string]string {
	host := func(url string) string {
		return fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", url)
	}
	if offline {
		return map[string]string{"_default": fmt.Sprintf("server = %q\n", mirror) + host(mirror)}
	}
	return map[string]string{
		"_default":  host(mirror),
		"docker.io": host("https://registry-1.docker.io") + host(mirror),
	}
}

// dockerHubAnswers tells whether images can be pulled from the usual place.
func dockerHubAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://registry-1.docker.io/v2/", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	// It asks everybody to log in first. A proxy that forbids it says 403.
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized
}
