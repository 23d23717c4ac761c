package main

import (
	"archive/tar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func mustRef(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func storeTestImage(t *testing.T, home, ref, content string) v1.Hash {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(binary, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeBinaryImage(home, mustRef(t, ref), binary, nil); err != nil {
		t.Fatal(err)
	}
	img, err := findImage(home, mustRef(t, ref))
	if err != nil || img == nil {
		t.Fatalf("stored image: %v, %v", img, err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestTheSameBinaryGivesTheSameImage(t *testing.T) {
	home := t.TempDir()
	first := storeTestImage(t, home, "app:1", "one")
	if again := storeTestImage(t, t.TempDir(), "app:1", "one"); again != first {
		t.Errorf("digest %s, then %s", first, again)
	}
	if other := storeTestImage(t, home, "app:1", "two"); other == first {
		t.Error("another binary gave the same image")
	}
	blobs, err := filepath.Glob(filepath.Join(imagesDir(home), "blobs", "sha256", "*"))
	if err != nil || len(blobs) != 3 {
		t.Errorf("the replaced image is still there: %d files, %v", len(blobs), err)
	}
	img, _ := findImage(home, mustRef(t, "docker.io/library/app:1"))
	if img == nil {
		t.Fatal("not found by its full name")
	}
	config, err := img.ConfigFile()
	if err != nil || config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/app" {
		t.Errorf("config %+v, %v", config, err)
	}
}

func TestRegistryServesAPull(t *testing.T) {
	home := t.TempDir()
	want := storeTestImage(t, home, "registry.example/team/app:1", "one")
	server := httptest.NewServer(registryHandler(imagesDir(home)))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")

	// A plain client names the registry as part of the repository.
	img, err := remote.Image(mustRef(t, host+"/registry.example/team/app:1"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers %v, %v", layers, err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if h, err := tar.NewReader(content).Next(); err != nil || h.Name != "tmp/" {
		t.Errorf("first file %+v, %v", h, err)
	}
	// containerd asks a mirror like this.
	for path, code := range map[string]int{
		"/v2/": 200,
		"/v2/team/app/manifests/1?ns=registry.example":                     200,
		"/v2/team/app/manifests/" + want.String() + "?ns=registry.example": 200,
		"/v2/team/app/manifests/1?ns=docker.io":                            404,
		"/v2/team/app/manifests/2?ns=registry.example":                     404,
		"/v2/team/app/blobs/sha256:../../index.json":                       400,
		"/other": 404,
	} {
		resp, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != code {
			t.Errorf("%s: got %d, want %d", path, resp.StatusCode, code)
		}
	}
}

func TestRegistriesAreAskedInOrder(t *testing.T) {
	const mirror = "http://127.0.0.1:1"
	online := registryFiles(false, mirror)["docker.io"]
	if hub, local := strings.Index(online, "https://registry-1.docker.io"), strings.Index(online, mirror); hub < 0 || local < hub {
		t.Errorf("docker.io must come first and the images made here second:\n%s", online)
	}
	offline := registryFiles(true, mirror)
	if len(offline) != 1 || !strings.HasPrefix(offline["_default"], `server = "`+mirror+`"`) {
		t.Errorf("out of reach, nothing but the images made here may be asked: %v", offline)
	}
}

func TestMergedUsr(t *testing.T) {
	for file, want := range map[string]string{
		"bin/sh": "usr/bin/sh", "lib64/ld.so": "usr/lib64/ld.so", "lib": "lib", "usr/bin/perl": "usr/bin/perl", "library/x": "library/x",
	} {
		if got := mergedUsr(file); got != want {
			t.Errorf("mergedUsr(%q) = %q, want %q", file, got, want)
		}
	}
}
