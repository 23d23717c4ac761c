package main

import (
	"strings"
	"testing"
)

func TestKubernetes(t *testing.T) {
	for flag, want := range map[string]string{"1.34": olderKubernetes["1.34"], "1.37": kubernetesVersion} {
		var k Kubernetes
		if err := k.Set(flag); err != nil || k.version() != want || k.String() != flag {
			t.Errorf("--kubernetes %s: %v, %s, shown as %s", flag, err, k.version(), &k)
		}
	}
	for _, wrong := range []string{"", "1.3", "v1.34", "1.34.4"} {
		var k Kubernetes
		if err := k.Set(wrong); err == nil {
			t.Errorf("--kubernetes %q is taken", wrong)
		}
	}
}

func TestGoModOfKubernetes(t *testing.T) {
	const theirs = `module k8s.io/kubernetes

go 1.24.0

godebug default=go1.24

require (
	go.etcd.io/etcd/client/v3 v3.6.4
	k8s.io/api v0.0.0
)

replace k8s.io/api => ./staging/src/k8s.io/api
`
	const want = `module github.com/batchrun/batchrun/hack/local/parts/kubernetes

go 1.24.0

godebug default=go1.24

require (
	go.etcd.io/etcd/client/v3 v3.6.4
	k8s.io/api v0.0.0
	k8s.io/kubernetes v1.34.4
)

replace k8s.io/api => k8s.io/api v0.34.4
`
	ours, err := Kubernetes("1.34").goMod("go.mod", []byte(theirs))
	if err != nil || string(ours) != want {
		t.Errorf("%v\n%s", err, ours)
	}
}

func TestPathsOfParts(t *testing.T) {
	c := testCluster(t, "x")
	c.Kubernetes = "1.34"
	for part, end := range map[string]string{"kube-apiserver": "/bin/1.34/kube-apiserver", "etcd": "/bin/1.34/etcd", "containerd": "/bin/containerd"} {
		if path := c.bin(part); !strings.HasSuffix(path, end) {
			t.Errorf("%s is %s", part, path)
		}
	}
}
