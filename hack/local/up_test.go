package main

import (
	"strings"
	"testing"
)

func TestConfigure(t *testing.T) {
	flags := func(names ...string) func(string) bool {
		return func(f string) bool { return strings.Contains(" "+strings.Join(names, " ")+" ", " "+f+" ") }
	}
	made := Options{Node: NodeFake, Nodes: 2, Audit: true}
	for _, tc := range []struct {
		name  string
		opts  Options
		given func(string) bool
		want  Options
		err   string
	}{
		{name: "no flag: as it was made", opts: Options{Nodes: 1}, given: flags(), want: made},
		{name: "the same again", opts: Options{Node: NodeFake, Nodes: 2}, given: flags("node", "nodes"), want: made},
		{name: "more fake nodes", opts: Options{Nodes: 5}, given: flags("nodes"), want: Options{Node: NodeFake, Nodes: 5, Audit: true}},
		{name: "fewer fake nodes", opts: Options{Nodes: 1}, given: flags("nodes"), err: "--nodes"},
		{name: "another node", opts: Options{Node: NodeNone}, given: flags("node"), err: "--node;"},
		{name: "another Kubernetes", opts: Options{Kubernetes: "1.34"}, given: flags("kubernetes"), err: "--kubernetes"},
		{name: "two others", opts: Options{Node: NodeReal, EtcdFsync: true}, given: flags("node", "etcd-fsync"), err: "--node, --etcd-fsync"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := testCluster(t, "x")
			c.Options = made
			if err := c.save(); err != nil {
				t.Fatal(err)
			}
			err := c.configure(tc.opts, tc.given)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil || c.Options != tc.want {
				t.Errorf("got %+v, %v; want %+v", c.Options, err, tc.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for name, valid := range map[string]bool{"dev": true, "a": true, "e2e-1": true, "": false, "A": false, "../x": false, "a/b": false, "-a": false, strings.Repeat("a", 21): false} {
		if _, err := newCluster("/h", name); (err == nil) != valid {
			t.Errorf("name %q: %v", name, err)
		}
	}
}
