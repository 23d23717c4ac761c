package main

import (
	"net/netip"
	"testing"
)

func TestChoosePorts(t *testing.T) {
	all := func(int) bool { return true }
	first, err := choosePorts("a", nil, all)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := choosePorts("a", nil, all); again != first {
		t.Errorf("the same cluster got %+v, then %+v", first, again)
	}
	if other, _ := choosePorts("a", map[int]bool{first.API: true}, all); other.API == first.API {
		t.Errorf("ports of another cluster were given again: %+v", other)
	}
	busy := first.API + 3
	if other, _ := choosePorts("a", nil, func(p int) bool { return p != busy }); other.API == first.API {
		t.Errorf("a block with the busy port %d was given: %+v", busy, other)
	}
	if _, err := choosePorts("a", nil, func(int) bool { return false }); err == nil {
		t.Error("no error though no port is free")
	}
	if first.API < firstPort || first.Fake > lastPort {
		t.Errorf("ports out of range: %+v", first)
	}
}

func TestChooseSubnet(t *testing.T) {
	first, err := chooseSubnet("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := chooseSubnet("a", []netip.Prefix{first})
	if err != nil || second.Overlaps(first) {
		t.Errorf("second subnet %v overlaps %v (%v)", second, first, err)
	}
	if _, err := chooseSubnet("a", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); err == nil {
		t.Error("no error though everything is taken")
	}
}

// As read from a machine with a default route, a network and a pod.
const routeTable = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
veth1	0504D40A	00000000	0005	0	0	0	FFFFFFFF	0	0	0
`

func TestRoutes(t *testing.T) {
	got := routes(routeTable)
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.212.4.5/32")}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Fatalf("got %v, want %v", got, want)
	}
	for subnet, want := range map[string]bool{"10.212.4.0/24": true, "10.212.5.0/24": false, "": false} {
		if got := overlapsRoutes(subnet, got); got != want {
			t.Errorf("overlapsRoutes(%q) = %v", subnet, got)
		}
	}
	if overlapsRoutes("10.212.4.0/24", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}) {
		t.Error("a wider route is not the cluster's")
	}
}
